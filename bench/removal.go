package main

import (
	"context"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"elemento.cloud/cluster-api-provider-elemento/e2e/life"
	"elemento.cloud/cluster-api-provider-elemento/e2e/suite"
	"elemento.cloud/cluster-api-provider-elemento/e2e/world"
	"elemento.cloud/cluster-api-provider-elemento/reports"
)

const timeForRemoval = "time for each Machine that is deleted"

// removal measures what it takes to delete all that the growth has made, all clusters
// at the same time.
func (b *bench) removal(ctx SpecContext) {
	g, report := b.grown, b.site.Report
	if g == nil {
		Skip("there is nothing to delete: the growth has not begun")
	}
	b.setDaemons(ctx, func(s *world.DaemonSettings) { s.Interval, s.ClientUIDs = 0, nil })
	before := b.cost(ctx)
	machines := 0
	report.Step(several(len(g.clusters), "cluster")+" deleted", func() {
		machines = b.deleteAll(ctx)
	})
	used := b.cost(ctx).less(before)
	report.Step("nothing is left on AtomOS", func() { b.site.Unchanged(ctx, g.before) })
	lives := g.lives.Lives()
	Expect(b.endGrowth()).To(Succeed())
	each := float64(max(machines, 1))
	b.figure(report,
		reports.Figure{Name: "all deleted after", Value: used.took.Seconds(), Unit: "s"},
		reports.Figure{Name: timeForRemoval, Value: used.took.Seconds() / each, Unit: "s"},
		reports.Figure{Name: "API requests of our manager for each Machine that is deleted", Value: used.ours / each},
		reports.Figure{Name: "C4 calls for each Machine that is deleted, without those that are repeated", Value: used.calls.once() / each},
		reports.Figure{Name: "processor time of manager and daemons for each Machine that is deleted", Value: 1000 * used.elemento / each, Unit: "ms"},
	)
	b.latency(report, "ElementoMachine deleted → gone, verified, all clusters at once", "", life.Took(lives, life.Deleted, life.Gone))
}

// deleteAll deletes the clusters of the growth, and returns how many Machines they had.
func (b *bench) deleteAll(ctx context.Context) (machines int) {
	g := b.grown
	for _, n := range g.in {
		machines += n
	}
	for _, c := range g.clusters {
		Expect(c.AskDeletion(ctx)).To(Succeed())
	}
	for _, c := range g.clusters {
		Eventually(c.Gone, b.patience, suite.Often).WithContext(ctx).Should(Succeed())
	}
	for _, c := range g.clusters {
		c.Delete(ctx, b.site.Admin) // what it was made from
	}
	return machines
}

// endGrowth forgets what the growth has made, which is gone.
func (b *bench) endGrowth() error {
	g := b.grown
	b.grown = nil
	return g.end()
}
