package main

import (
	"context"
	"fmt"
	"time"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemento.cloud/cluster-api-provider-elemento/e2e/suite"
	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
)

// cluster names a standing cluster, which is made when a scenario first needs it.
type cluster string

// The standing clusters. Each scenario leaves them as it found them.
const (
	// none is for scenarios that make what they need.
	none cluster = ""
	// small has one control plane and two workers behind a forward.
	small cluster = "small"
	// wide has three control planes and three workers over three domains, behind a
	// forward.
	wide cluster = "wide"
	// virtual has three control planes, which hold a virtual address, and two
	// workers.
	virtual cluster = "virtual"
)

// shapes are what each of them is made of.
var shapes = map[cluster]struct {
	flavor                 string
	controlPlanes, workers int
}{
	small:   {controlPlanes: 1, workers: 2},
	wide:    {controlPlanes: 3, workers: 3},
	virtual: {flavor: "vip", controlPlanes: 3, workers: 2},
}

// standing is a cluster that stands while scenarios come and go.
type standing struct {
	suite.Cluster
	workers int
}

// stand returns the standing cluster of that name, in the shape that it was made
// in.
func (t *troupe) stand(ctx context.Context, name cluster) *standing {
	if c := t.standing[name]; c != nil {
		return c
	}
	t.made++
	shape := shapes[name]
	c := t.cluster(fmt.Sprintf("%s-%d", name, t.made), shape.flavor, shape.controlPlanes, shape.workers)
	t.standing[name] = c
	c.make(ctx)
	return c
}

// settle waits until all standing clusters are whole: what befell a host has befallen
// more of them than the one that the scenario looked at, and what is still made and
// removed for one would meet what the next scenario breaks for another. A cluster that
// does not come to rest by itself is removed, and made anew when it is wanted.
func (t *troupe) settle(ctx context.Context) {
	for name, c := range t.standing {
		if !c.rests(ctx) {
			c.Delete(ctx, t.site.Admin)
			delete(t.standing, name)
		}
	}
}

// rests tells whether the cluster is whole, or is so soon.
func (c *standing) rests(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	whole := c.whole(&stage{Site: c.Site})
	for whole(ctx) != nil {
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
	}
	return true
}

// cluster is one of a name, with a network of its own.
func (t *troupe) cluster(name, flavor string, controlPlanes, workers int) *standing {
	t.networks++
	return &standing{workers: workers, Cluster: suite.Cluster{
		Site: t.site, Flavor: flavor, ControlPlanes: controlPlanes,
		Key:       client.ObjectKey{Namespace: t.namespace, Name: name},
		Variables: t.site.Network(t.networks % suite.Networks),
	}}
}

// ask asks for the cluster, with health checks that do not wait for minutes.
func (c *standing) ask(ctx context.Context) error {
	objects := c.Generate(ctx, c.workers)
	for i := range objects {
		if err := hurry(&objects[i]); err != nil {
			return err
		}
	}
	return suite.Apply(ctx, c.Site.Admin, "scenarios", objects)
}

// make makes the cluster and waits until it is whole.
func (c *standing) make(ctx context.Context) {
	Expect(c.ask(ctx)).To(Succeed())
	c.Await(ctx, c.workers)
	Eventually(c.whole(&stage{Site: c.Site}), suite.Long, suite.Often).WithContext(ctx).Should(Succeed())
}

// The patience of the clusters here, in seconds, where templates have minutes.
const (
	unhealthyAfter = 10
	drainFor       = 5
)

// hurry shortens the waits that are for people.
func hurry(o *unstructured.Unstructured) error {
	deletion := map[string]any{
		"nodeDrainTimeoutSeconds": int64(drainFor), "nodeVolumeDetachTimeoutSeconds": int64(drainFor), "nodeDeletionTimeoutSeconds": int64(drainFor),
	}
	switch o.GetKind() {
	case "KubeadmControlPlane":
		return unstructured.SetNestedMap(o.Object, deletion, "spec", "machineTemplate", "spec", "deletion")
	case "MachineDeployment":
		return unstructured.SetNestedMap(o.Object, deletion, "spec", "template", "spec", "deletion")
	case "MachineHealthCheck":
		checks, _, err := unstructured.NestedSlice(o.Object, "spec", "checks", "unhealthyNodeConditions")
		if err != nil {
			return err
		}
		for _, c := range checks {
			c.(map[string]any)["timeoutSeconds"] = int64(unhealthyAfter)
		}
		return unstructured.SetNestedSlice(o.Object, checks, "spec", "checks", "unhealthyNodeConditions")
	}
	return nil
}

// whole holds when the cluster has the Machines that it was made with, all Ready,
// each with its VM running on AtomOS, and nothing else of it is anywhere.
func (c *standing) whole(s *stage) check {
	return func(ctx context.Context) error {
		return each(c.Has(c.workers), s.consistent(c), s.noCleanups())(ctx)
	}
}

// vms are the cluster's ElementoMachines.
func (c *standing) vms(ctx context.Context) ([]infrav1.ElementoMachine, error) {
	list := &infrav1.ElementoMachineList{}
	err := c.Site.Admin.List(ctx, list, client.InNamespace(c.Key.Namespace), client.MatchingLabels{clusterv1.ClusterNameLabel: c.Key.Name})
	return list.Items, err
}
