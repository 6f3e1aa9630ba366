// Latency measures our share of a Machine's life: from bootstrap data to the
// request that makes the VM, from the VM that runs to the Machine that may know
// it, and from deletion to the proof that nothing is left. VMs of the fake start
// and stop in no time, and a few Machines are made at a time, as clusters are
// scaled.
//
//	go run ./e2e/latency --out out/latency
package main

import (
	"context"
	"flag"
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemento.cloud/cluster-api-provider-elemento/e2e/inventory"
	"elemento.cloud/cluster-api-provider-elemento/e2e/life"
	"elemento.cloud/cluster-api-provider-elemento/e2e/suite"
	"elemento.cloud/cluster-api-provider-elemento/reports"
)

// The medians that our share must keep.
const (
	registerWithin  = 100 * time.Millisecond
	provisionWithin = 300 * time.Millisecond
	goneWithin      = 500 * time.Millisecond
)

func main() {
	m := &measurement{}
	suite.Program{
		Name: "latency", Title: "Latency", AtomOS: suite.Instant(), NeedsFake: true,
		Flags: func(flags *flag.FlagSet) {
			flags.IntVar(&m.machines, "machines", 30, "`number` of Machines to measure")
			flags.IntVar(&m.atATime, "at-a-time", 3, "`number` of Machines to make and delete at a time")
		},
		Prepare: func(*suite.Options) error {
			if m.atATime < 1 || m.machines < m.atATime {
				return fmt.Errorf("--machines %d --at-a-time %d: at least one round of at least one Machine", m.machines, m.atATime)
			}
			return nil
		},
		Describe: func(site *suite.Site) {
			m.site = site
			Describe("Our share of a Machine's life", Ordered, func() {
				site.Criterion("P2", m.measure)
				AfterAll(m.tidy)
			})
		},
	}.Main()
}

type measurement struct {
	site              *suite.Site
	machines, atATime int
	cluster           *suite.Cluster
	before            inventory.Inventory
}

func (m *measurement) measure(ctx context.Context, p2 *reports.Examination) {
	var err error
	m.before, err = m.site.Hosts.Take(ctx)
	Expect(err).NotTo(HaveOccurred())
	m.cluster = &suite.Cluster{Site: m.site, ControlPlanes: 1, Key: client.ObjectKey{Namespace: m.site.Namespace(ctx, "latency"), Name: "latency"}}
	scale := func(workers int) {
		Expect(suite.Apply(ctx, m.site.Admin, "latency", m.cluster.Generate(ctx, workers))).To(Succeed())
		m.cluster.Await(ctx, workers)
	}
	p2.Step("a cluster of one control plane", func() { scale(0) })

	c, err := dynamic.NewForConfig(m.site.World.Config())
	Expect(err).NotTo(HaveOccurred())
	watching, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	recorder, wait, err := life.Watch(watching, c, m.cluster.Key.Namespace)
	Expect(err).NotTo(HaveOccurred())

	workers := 0
	p2.Step(fmt.Sprintf("%d workers, %d at a time", m.machines, m.atATime), func() {
		for workers < m.machines {
			workers = min(workers+m.atATime, m.machines)
			scale(workers)
		}
		m.site.SeeAtomOS(ctx, recorder)
	})
	p2.Step(fmt.Sprintf("no worker, %d at a time", m.atATime), func() {
		for workers > 0 {
			workers = max(workers-m.atATime, 0)
			scale(workers)
		}
	})
	cancel()
	Expect(wait()).To(Succeed())

	// The control plane's Machine was there before the watch.
	var lives []life.Life
	for _, l := range recorder.Lives() {
		if !l.ControlPlane {
			lives = append(lives, l)
		}
	}
	const whole = "Machine created → Machine Running"
	p2.Latency(
		reports.Measure(whole, life.Took(lives, life.Created, life.Running)),
		reports.Measure("Machine created → bootstrap data ready (Cluster API)", life.Took(lives, life.Created, life.BootstrapReady)).Stage(whole),
		reports.Measure("bootstrap data ready → register arrives", life.Took(lives, life.BootstrapReady, life.RegisterArrived)).Limited(registerWithin).Stage(whole),
		reports.Measure("register arrives → VM running (AtomOS)", life.Took(lives, life.RegisterArrived, life.VMRunning)).Stage(whole),
		reports.Measure("VM running → provisioned", life.Took(lives, life.VMRunning, life.Provisioned)).Limited(provisionWithin).Stage(whole),
		reports.Measure("provisioned → Machine Running (guest and Cluster API)", life.Took(lives, life.Provisioned, life.Running)).Stage(whole),
		reports.Measure("Machine created → VM running", life.Took(lives, life.Created, life.VMRunning)),
		reports.Measure("ElementoMachine deleted → gone, verified", life.Took(lives, life.Deleted, life.Gone)).Limited(goneWithin),
	)
	if !m.site.Comparable() {
		p2.Doubt("--quick lifts Cluster API's pace: these figures are not comparable")
	}
	for _, stages := range [][2]life.Stage{{life.BootstrapReady, life.RegisterArrived}, {life.VMRunning, life.Provisioned}, {life.Deleted, life.Gone}} {
		Expect(life.Took(lives, stages[0], stages[1])).To(HaveLen(m.machines), "lives with %s and %s", stages[0], stages[1])
	}
}

// tidy removes the cluster and demands that nothing of it stays on AtomOS.
func (m *measurement) tidy(ctx SpecContext) {
	if m.cluster == nil {
		return
	}
	m.cluster.Delete(ctx, m.site.Admin)
	m.site.Unchanged(ctx, m.before)
}
