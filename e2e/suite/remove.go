package suite

import (
	"context"
	"maps"
	"slices"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemento.cloud/cluster-api-provider-elemento/e2e/inventory"
	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
	"elemento.cloud/cluster-api-provider-elemento/reports"
)

// NewCluster is a cluster to be, in a namespace of its own in which Clastix has the
// shipped role. What there is by now, on AtomOS and in that namespace, is all that
// [Cluster.Remove] may leave.
func (s *Site) NewCluster(ctx context.Context, name string, controlPlanes int) *Cluster {
	GinkgoHelper()
	before, err := s.Hosts.Take(ctx)
	succeeded(err)
	namespace := s.Namespace(ctx, name)
	return &Cluster{
		Site: s, ControlPlanes: controlPlanes,
		Key:    client.ObjectKey{Namespace: namespace, Name: name},
		before: before, objectsBefore: s.objectNames(ctx, namespace),
	}
}

// objectNames are the objects in a namespace that anyone would miss.
func (s *Site) objectNames(ctx context.Context, namespace string) []string {
	return slices.Sorted(maps.Keys(s.Objects(ctx, namespace)))
}

// Remove has who asks delete a cluster of [Site.NewCluster], and demands that nothing is
// left of it on AtomOS and in Kubernetes.
func (c *Cluster) Remove(ctx context.Context, f4 *reports.Examination, as client.Client) {
	GinkgoHelper()
	full, err := c.Site.Hosts.Take(ctx)
	succeeded(err)
	f4.Step("the manifest's objects deleted as Clastix, the cluster first", func() { c.Delete(ctx, as) })
	f4.Step("nothing is left on AtomOS", func() {
		after := c.Site.Unchanged(ctx, c.before)
		f4.Figure(
			reports.Figure{Name: "resources on AtomOS before", Value: float64(len(c.before)), Command: "C4, each host"},
			reports.Figure{Name: "resources on AtomOS with the cluster", Value: float64(len(full)), Command: "C4, each host"},
			reports.Figure{Name: "resources on AtomOS after", Value: float64(after), AtMost: ptr.To(float64(len(c.before))), Command: "C4, each host"},
		)
	})
	f4.Step("nothing is left in Kubernetes", func() {
		Eventually(c.Site.objectNames, Long, Often).WithContext(ctx).WithArguments(ctx, c.Key.Namespace).Should(Equal(c.objectsBefore))
		cleanups := &infrav1.ElementoCleanupList{}
		Expect(c.Site.Admin.List(ctx, cleanups, client.InNamespace(c.Key.Namespace))).To(Succeed())
		f4.Figure(reports.Figure{Name: "ElementoCleanups", Value: float64(len(cleanups.Items)), AtMost: ptr.To(0.0), Command: "kubectl get elementocleanups"})
		Expect(cleanups.Items).To(BeEmpty())
	})
}

// VMs are those that AtomOS has of a cluster of [Site.NewCluster].
func (c *Cluster) VMs(ctx context.Context) inventory.Inventory {
	GinkgoHelper()
	found, err := c.Site.Hosts.Take(ctx)
	succeeded(err)
	return found.Without(c.before).Of(inventory.VM)
}
