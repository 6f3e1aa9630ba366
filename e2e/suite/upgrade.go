package suite

import (
	"context"
	"fmt"
	"slices"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// The kinds that have a version of Kubernetes.
const (
	controlPlaneKind = "KubeadmControlPlane"
	workersKind      = "MachineDeployment"
	templateKind     = "ElementoMachineTemplate"
)

// UpgradeControlPlane has who asks give the control plane another version of Kubernetes,
// with the boot image that belongs to it. The version that the cluster was made with
// takes it back to what it was.
func (c *Cluster) UpgradeControlPlane(ctx context.Context, as client.Client, version string, workers int) {
	GinkgoHelper()
	c.upgrade(ctx, as, controlPlaneKind, version, workers)
}

// UpgradeWorkers does so with the workers.
func (c *Cluster) UpgradeWorkers(ctx context.Context, as client.Client, version string, workers int) {
	GinkgoHelper()
	c.upgrade(ctx, as, workersKind, version, workers)
}

func (c *Cluster) upgrade(ctx context.Context, as client.Client, kind, version string, workers int) {
	GinkgoHelper()
	was := c.Version
	c.Version = version
	objects := c.Generate(ctx, workers)
	c.Version = was
	objects, err := versioned(objects, kind, version, version != c.version())
	Expect(err).NotTo(HaveOccurred())
	c.remember(objects)
	Expect(Apply(ctx, as, Clastix, objects)).To(Succeed())
}

// versioned are, of a manifest with a version, the object of that kind and the machine
// template that it names. Templates do not change: one with another version than the
// cluster was made with is another one.
func versioned(objects []unstructured.Unstructured, kind, version string, other bool) ([]unstructured.Unstructured, error) {
	path := map[string][]string{
		controlPlaneKind: {"spec", "machineTemplate", "spec", "infrastructureRef", "name"},
		workersKind:      {"spec", "template", "spec", "infrastructureRef", "name"},
	}[kind]
	find := func(kind, name string) (*unstructured.Unstructured, error) {
		i := slices.IndexFunc(objects, func(o unstructured.Unstructured) bool {
			return o.GetKind() == kind && (name == "" || o.GetName() == name)
		})
		if i < 0 {
			return nil, fmt.Errorf("the manifest has no %s %s", kind, name)
		}
		return objects[i].DeepCopy(), nil
	}
	owner, err := find(kind, "")
	if err != nil {
		return nil, err
	}
	name, _, err := unstructured.NestedString(owner.Object, path...)
	if err != nil {
		return nil, err
	}
	template, err := find(templateKind, name)
	if err != nil {
		return nil, err
	}
	if other {
		name += "-" + strings.ReplaceAll(version, ".", "-")
		template.SetName(name)
		if err := unstructured.SetNestedField(owner.Object, name, path...); err != nil {
			return nil, err
		}
	}
	return []unstructured.Unstructured{*template, *owner}, nil
}

// AwaitVersions waits until all Machines of the cluster are Ready and none is being
// deleted, the control planes with one version and so many workers with another.
func (c *Cluster) AwaitVersions(ctx context.Context, controlPlane, worker string, workers int) {
	GinkgoHelper()
	Eventually(func(g Gomega) {
		c.Site.stands()
		machines, err := c.ListMachines(ctx, c.Site.Admin)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(otherwise(machines.ControlPlane, controlPlane)).To(BeEmpty(), "control planes that are not %s", controlPlane)
		g.Expect(otherwise(machines.Workers, worker)).To(BeEmpty(), "workers that are not %s", worker)
		g.Expect(machines.Missing(c.ControlPlanes, workers)).To(BeEmpty())
	}, c.patience(), Often).WithContext(ctx).Should(Succeed())
}

// otherwise are the names of Machines that have another version.
func otherwise(machines []clusterv1.Machine, version string) (names []string) {
	for _, m := range machines {
		if m.Spec.Version != version {
			names = append(names, m.Name)
		}
	}
	return names
}
