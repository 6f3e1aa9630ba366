package main

import (
	"context"
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemento.cloud/cluster-api-provider-elemento/e2e/inventory"
	"elemento.cloud/cluster-api-provider-elemento/e2e/suite"
)

// workers are those of a cluster of one control plane, which Clastix orders.
type workers struct {
	*suite.Cluster
	clastix client.Client
	// before is what there was on AtomOS.
	before  inventory.Inventory
	ordered int
	// manifest is that of the cluster without workers, and more how many further
	// MachineDeployments there are.
	manifest []unstructured.Unstructured
	more     int
	// leaving are other clusters, which are being deleted.
	leaving []client.ObjectKey
}

// workers makes a cluster without any, where no part has made it yet.
func (b *bench) workers(ctx context.Context) *workers {
	GinkgoHelper()
	if b.ordered != nil {
		return b.ordered
	}
	before, err := b.site.Hosts.Take(ctx)
	Expect(err).NotTo(HaveOccurred())
	w := &workers{Cluster: b.site.NewCluster(ctx, "orders", 1), clastix: b.site.Clastix(ctx), before: before}
	b.ordered = w
	w.manifest = w.Generate(ctx, 0)
	Expect(suite.Apply(ctx, w.clastix, suite.Clastix, w.manifest)).To(Succeed())
	w.Await(ctx, 0)
	return w
}

// leave has the cluster deleted, and does not wait for it.
func (w *workers) leave(ctx context.Context) error {
	of := &clusterv1.Cluster{ObjectMeta: metav1.ObjectMeta{Namespace: w.Key.Namespace, Name: w.Key.Name}}
	return client.IgnoreNotFound(w.Site.Admin.Delete(ctx, of))
}

// endWorkers deletes that cluster, of which nothing may be left on AtomOS then, and waits
// until those that are being deleted are gone too.
func (b *bench) endWorkers(ctx SpecContext) {
	w := b.ordered
	if w == nil {
		return
	}
	b.ordered = nil
	b.site.Report.Step("the cluster deleted, and nothing left on AtomOS", func() {
		w.Delete(ctx, b.site.Admin)
		for _, key := range w.leaving {
			other := &suite.Cluster{Site: b.site, Key: key}
			Eventually(other.Gone, suite.Long, suite.Often).WithContext(ctx).WithArguments(ctx).Should(Succeed())
		}
		b.site.Unchanged(ctx, w.before)
	})
}

// deployment is the name of a cluster's n-th MachineDeployment; the shipped templates
// have one, which is 0.
func deployment(cluster client.ObjectKey, n int) client.ObjectKey {
	return client.ObjectKey{Namespace: cluster.Namespace, Name: fmt.Sprintf("%s-md-%d", cluster.Name, n)}
}

// scale has Clastix ask a MachineDeployment for so many workers, and returns how long
// that took.
func scale(ctx context.Context, clastix client.Client, deployment client.ObjectKey, workers int) (span, error) {
	patch := client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, workers))
	of := &clusterv1.MachineDeployment{ObjectMeta: metav1.ObjectMeta{Namespace: deployment.Namespace, Name: deployment.Name}}
	sent := time.Now()
	err := clastix.Patch(ctx, of, patch, client.FieldOwner(suite.Clastix))
	return span{sent, time.Now()}, err
}

// order has Clastix ask for so many workers.
func (w *workers) order(ctx context.Context, workers int) (order, span, error) {
	o := order{w.ordered, workers}
	s, err := scale(ctx, w.clastix, deployment(w.Key, 0), workers)
	if err == nil {
		w.ordered = workers
	}
	return o, s, err
}

// another has Clastix ask for another MachineDeployment like the first one.
func (w *workers) another(ctx context.Context) client.ObjectKey {
	GinkgoHelper()
	w.more++
	key := deployment(w.Key, w.more)
	for _, o := range w.manifest {
		if o.GetKind() == "MachineDeployment" {
			next := o.DeepCopy()
			next.SetName(key.Name)
			Expect(suite.Apply(ctx, w.clastix, suite.Clastix, []unstructured.Unstructured{*next})).To(Succeed())
		}
	}
	return key
}
