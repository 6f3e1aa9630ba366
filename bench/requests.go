package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/client-go/dynamic"

	"elemento.cloud/cluster-api-provider-elemento/e2e/life"
	"elemento.cloud/cluster-api-provider-elemento/reports"
)

const (
	// turns are the MachineDeployments that are scaled by one, by turns: each of them has
	// been left alone for a while, and has its Machine. loads are those by which Machines
	// are in flight; more of them make more Machines at the same time.
	turns, loads = 6, 8
	// pace is that of the scaling by one, and of the requests under load, which are so
	// spread over the time in which the Machines come to be. Rising is for how long these
	// are waited for first at most, hold for how long requests are measured, or longest for
	// how long at most where they were fewer than few by then, and late for how long the
	// last Machines are waited for.
	pace, rising, hold, longest, late = time.Second, 2 * time.Minute, time.Minute, 90 * time.Second, 20 * time.Second
	// few are the fewest requests of each kind that tell nine of ten apart.
	few = 10
	// slowBoot is that of the VMs of Machines that are to be in flight, and longer than
	// these are waited for and measured: they would run as fast as Cluster API makes them,
	// and there would never be many.
	slowBoot = 4 * time.Minute
	// seeing is how often it is looked what there is.
	seeing = 100 * time.Millisecond
)

// requests answers P1: how long the API takes to answer Clastix, at rest and while many
// Machines are being made. Clastix makes no Machine, but has them made; they are there
// when Cluster API has stored them.
func (b *bench) requests(ctx context.Context, p1 *reports.Examination) {
	var w *workers
	p1.Step("a cluster of one control plane", func() { w = b.workers(ctx) })
	watching, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	c, err := dynamic.NewForConfig(b.site.World.Config())
	Expect(err).NotTo(HaveOccurred())
	lives, wait, err := life.Watch(watching, c, w.Key.Namespace)
	Expect(err).NotTo(HaveOccurred())
	r := b.newAsking(ctx, w)
	load := &load{clastix: w.clastix, want: b.sizes.inFlight, lives: lives, replicas: make([]int, loads), others: b.sizes.orders}
	var singles []*oneByOne
	p1.Step("more MachineDeployments, without workers", func() {
		for range turns {
			singles = append(singles, &oneByOne{clastix: w.clastix, deployment: w.another(ctx), lives: lives})
		}
		for range loads {
			load.deployments = append(load.deployments, w.another(ctx))
		}
	})

	p1.Step("requests at rest", func() {
		for range b.sizes.requests {
			Expect(r.ask(ctx)).To(Succeed())
		}
	})
	p1.Step("workers, one by one", func() { inTurn(ctx, singles, b.sizes.orders) })
	atRest := r.take(singles)
	p1.Step(fmt.Sprintf("requests while %d Machines are in flight", load.want), func() { b.underLoad(ctx, r, load, singles) })
	underLoad := r.take(singles)
	// First the workers, with their cluster: nothing more becomes of those in flight.
	p1.Step("the cluster is to be deleted, and what was asked for where it would stay", func() {
		Expect(w.leave(ctx)).To(Succeed())
		if !b.passing { // Cluster API leaves them alone: they cost the parts that follow nothing
			Expect(r.remove(ctx)).To(Succeed())
		}
	})
	cancel()
	Expect(wait()).To(Succeed())

	b.tellRequests(p1, "", atRest)
	b.tellRequests(p1, ", under load", underLoad)
	slices.Sort(load.flying)
	slices.Sort(load.there)
	b.figure(p1,
		reports.Figure{Name: "Machines ordered one by one that were not there " + late.String() + " after the last order", Value: float64(underLoad.missing)},
		reports.Figure{Name: "requests of each kind under load", Value: float64(len(underLoad.scaled))},
		reports.Figure{Name: "Machines asked for and not Running meanwhile, least", Value: float64(load.flying[0])},
		reports.Figure{Name: "of these there, least", Value: float64(load.there[0])},
		reports.Figure{Name: "of these there, median", Value: float64(load.there[len(load.there)/2])},
		reports.Figure{Name: "of these there, most", Value: float64(load.there[len(load.there)-1])},
	)
}

// inTurn orders so many workers, one by one, each of the MachineDeployment that was left
// alone for longest, and waits until they are there.
func inTurn(ctx context.Context, singles []*oneByOne, orders int) {
	GinkgoHelper()
	turn := time.NewTicker(pace)
	defer turn.Stop()
	for n := range orders {
		one := singles[n%len(singles)]
		one.await(ctx) // the one before
		Expect(one.order(ctx)).To(Succeed())
		select {
		case <-turn.C:
		case <-ctx.Done():
			return
		}
	}
	for _, one := range singles {
		one.await(ctx)
	}
}

// underLoad asks, and orders workers one by one, while many Machines are in flight.
func (b *bench) underLoad(ctx context.Context, r *asking, load *load, singles []*oneByOne) {
	GinkgoHelper()
	b.setBootTime(ctx, slowBoot)
	defer b.setBootTime(ctx, b.bootTime)
	Expect(load.rise(ctx)).To(Succeed())
	defer b.profile(ctx, "load", profileTime)()
	turn := time.NewTicker(pace)
	defer turn.Stop()
	began := time.Now()
	for n := 0; n < (b.sizes.requests+1)/2; n++ {
		if took := time.Since(began); took > longest || took > hold && n >= few {
			break
		}
		select {
		case <-turn.C:
		case <-ctx.Done():
			return
		}
		Expect(load.keep(ctx)).To(Succeed())
		Expect(singles[n%len(singles)].order(ctx)).To(Succeed())
		Expect(r.ask(ctx)).To(Succeed())
	}
	load.look()
	load.linger(ctx, singles)
}

// tellRequests tells how long the API took at some time.
func (b *bench) tellRequests(p1 *reports.Examination, when string, of answers) {
	b.latency(p1, fmt.Sprintf("Clastix applies a cluster, all %d objects%s", of.objects, when), "", of.applied)
	b.latency(p1, reports.ClusterApplied+when, "", of.cluster)
	b.latency(p1, reports.DeploymentScaled+when, "", of.scaled)
	b.latency(p1, reports.MachineCreated+when, "", of.machines)
}
