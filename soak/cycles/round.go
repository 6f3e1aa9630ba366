package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	. "github.com/onsi/gomega"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemento.cloud/cluster-api-provider-elemento/e2e/suite"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos/history"
)

// shape is how many Machines a cluster has.
type shape struct{ controlPlanes, workers int }

// largeEvery is how often a cluster is a large one, for the first time in the
// second cycle: what processes keep in reserve is that of the largest.
const largeEvery = 12

func shapeOf(cycle int) shape {
	if cycle%largeEvery == 2 {
		return shape{3, 3}
	}
	return shape{1, 2}
}

// cluster is one that comes and goes.
type cluster struct {
	suite.Cluster
	shape shape
	// since is when it was asked for, or asked to go; took is how long that took, and
	// zero until it is over.
	since time.Time
	took  time.Duration
}

// round makes clusters, deletes them, and looks for what is left.
func (r *run) round(ctx context.Context, first, last int) {
	for n := first; n <= last; n++ {
		r.going = append(r.going, r.cluster(n, n-first))
	}
	r.each(ctx, "create", func(c *cluster) {
		Expect(suite.Apply(ctx, r.site.Admin, "cycles", c.Generate(ctx, c.shape.workers))).To(Succeed())
	}, func(c *cluster) error { return c.Has(c.shape.workers)(ctx) })
	for _, c := range r.going {
		r.created = append(r.created, c.took)
	}
	r.each(ctx, "delete", func(c *cluster) { Expect(c.AskDeletion(ctx)).To(Succeed()) }, func(c *cluster) error { return c.Gone(ctx) })
	for _, c := range r.going {
		r.deleted = append(r.deleted, c.took)
		c.Delete(ctx, r.site.Admin) // what it was made from
		// All manifests are alike; those of a round that fails stay.
		Expect(os.Remove(filepath.Join(r.site.Dir, c.Manifest(c.shape.workers)))).To(Succeed())
	}
	r.going = nil
	r.leaked = append(r.leaked, r.left(ctx, fmt.Sprintf("cycles %d to %d", first, last))...)
	r.sample(ctx, last)
}

// cluster is the one of a cycle, with one of the networks for its own.
func (r *run) cluster(cycle, network int) *cluster {
	s := shapeOf(cycle)
	return &cluster{shape: s, Cluster: suite.Cluster{
		Site: r.site, ControlPlanes: s.controlPlanes,
		Key:       client.ObjectKey{Namespace: r.namespace, Name: fmt.Sprintf("cycle-%d", cycle)},
		Variables: r.site.Network(network),
	}}
}

// each asks something of all clusters that are going, waits until it is done, and
// takes both down in the history.
func (r *run) each(ctx context.Context, what string, ask func(*cluster), done func(*cluster) error) {
	tell := func(event string, c *cluster) {
		r.site.World.History().Add(history.Event{Kind: history.Step, Event: event, Name: c.Key.Name + ": " + what})
	}
	for _, c := range r.going {
		c.since, c.took = time.Now(), 0
		tell("begin", c)
		ask(c)
	}
	Eventually(func(g Gomega) {
		g.Expect(r.site.World.Err()).NotTo(HaveOccurred())
		var missing []string
		for _, c := range r.going {
			if c.took > 0 {
				continue
			}
			if err := done(c); err != nil {
				missing = append(missing, c.Key.Name+": "+err.Error())
				continue
			}
			c.took = time.Since(c.since)
			tell("end", c)
		}
		g.Expect(missing).To(BeEmpty())
	}, suite.Long, suite.Often).WithContext(ctx).Should(Succeed())
}
