// Bench makes a great many workers in one cluster, deletes them, and tells what
// that took: time, processor time and memory of each process, and how often
// AtomOS was asked.
//
//	go run ./bench --machines 300 --out out/bench
package main

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/client-go/dynamic"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemento.cloud/cluster-api-provider-elemento/e2e/inventory"
	"elemento.cloud/cluster-api-provider-elemento/e2e/life"
	"elemento.cloud/cluster-api-provider-elemento/e2e/suite"
	"elemento.cloud/cluster-api-provider-elemento/e2e/world"
	"elemento.cloud/cluster-api-provider-elemento/reports"
)

// limitMachines workers must be Running within limitTime, on 2 processors.
const (
	limitMachines = 300
	limitTime     = 6 * time.Minute
)

func main() {
	b := &bench{}
	suite.Program{
		Name: "bench", Title: "Many workers in one cluster", AtomOS: suite.Instant(),
		Variables: map[string]string{"machines": "MACHINES"},
		Flags: func(flags *flag.FlagSet) {
			flags.IntVar(&b.machines, "machines", limitMachines, "`number` of workers")
			flags.DurationVar(&b.patience, "patience", 20*time.Minute, "give up when the workers are not Running, or not gone, by then")
		},
		Prepare: func(*suite.Options) error {
			if b.machines < 1 {
				return fmt.Errorf("--machines %d: at least one", b.machines)
			}
			return nil
		},
		Describe: func(site *suite.Site) {
			b.site = site
			Describe("Many workers", Ordered, func() {
				It("are made and deleted", b.makeAndDelete)
				AfterAll(b.tidy)
			})
		},
	}.Main()
}

type bench struct {
	site     *suite.Site
	machines int
	patience time.Duration
	cluster  *suite.Cluster
	before   inventory.Inventory
}

func (b *bench) makeAndDelete(ctx SpecContext) {
	report := b.site.Report
	var err error
	b.before, err = b.site.Hosts.Take(ctx)
	Expect(err).NotTo(HaveOccurred())
	b.cluster = &suite.Cluster{Site: b.site, ControlPlanes: 1, Key: client.ObjectKey{Namespace: b.site.Namespace(ctx, "bench"), Name: "bench"}}
	apply := func(workers int) {
		Expect(suite.Apply(ctx, b.site.Admin, "bench", b.cluster.Generate(ctx, workers))).To(Succeed())
	}
	report.Step("a cluster of one control plane", func() {
		apply(0)
		b.cluster.Await(ctx, 0)
	})

	c, err := dynamic.NewForConfig(b.site.World.Config())
	Expect(err).NotTo(HaveOccurred())
	watching, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	recorder, wait, err := life.Watch(watching, c, b.cluster.Key.Namespace)
	Expect(err).NotTo(HaveOccurred())
	reached := func(stage life.Stage) func(Gomega) int {
		return func(g Gomega) int {
			g.Expect(b.site.World.Err()).NotTo(HaveOccurred())
			n := 0
			for _, l := range recorder.Lives() {
				if _, yes := l.At[stage]; yes && !l.ControlPlane {
					n++
				}
			}
			return n
		}
	}

	before := b.cost(ctx)
	start := time.Now()
	var running, gone time.Duration
	report.Step(fmt.Sprintf("%d workers Running", b.machines), func() {
		apply(b.machines)
		Eventually(reached(life.Running), b.patience, "500ms").WithContext(ctx).Should(Equal(b.machines))
		running = time.Since(start)
		b.site.SeeAtomOS(ctx, recorder)
	})
	made := b.cost(ctx)
	report.Step("all of them deleted", func() {
		start = time.Now()
		apply(0)
		Eventually(reached(life.Gone), b.patience, "500ms").WithContext(ctx).Should(Equal(b.machines))
		gone = time.Since(start)
	})
	deleted := b.cost(ctx)
	cancel()
	Expect(wait()).To(Succeed())

	limit := (*float64)(nil)
	if b.machines <= limitMachines && b.site.Comparable() {
		limit = ptr.To(limitTime.Seconds())
	}
	report.Figure(
		reports.Figure{Name: "workers", Value: float64(b.machines)},
		reports.Figure{Name: "all Running after", Value: running.Seconds(), Unit: "s", AtMost: limit},
		reports.Figure{Name: "all gone after", Value: gone.Seconds(), Unit: "s"},
	)
	if b.site.Fake != nil {
		report.Figure(
			reports.Figure{Name: "C4 calls while they were made", Value: float64(made.calls - before.calls)},
			reports.Figure{Name: "C4 calls while they were deleted", Value: float64(deleted.calls - made.calls)},
		)
	}
	for i, p := range deleted.processes {
		report.Figure(
			reports.Figure{Name: p.name + ": processor time", Value: (p.CPU - before.processes[i].CPU).Seconds(), Unit: "s"},
			reports.Figure{Name: p.name + ": peak memory", Value: float64(p.PeakMemory >> 20), Unit: "MiB"},
		)
	}
	b.shares(recorder)
	if loops, known := b.site.Reconciles(ctx); known {
		report.Figure(
			reports.Figure{Name: "reconcile loops of our manager", Value: float64(loops.All)},
			reports.Figure{Name: "of these failed", Value: float64(loops.Failed), AtMost: ptr.To(0.0)},
		)
	}
	report.Step("the cluster deleted, and nothing left on AtomOS", func() { b.remove(ctx) })
}

// shares tells our share of the workers' lives.
func (b *bench) shares(recorder *life.Recorder) {
	workers := slices.DeleteFunc(recorder.Lives(), func(l life.Life) bool { return l.ControlPlane })
	Expect(workers).To(HaveLen(b.machines), "lives of workers")
	for _, share := range []struct {
		name     string
		from, to life.Stage
		// atomOS says that it takes the times of VMs, which only a fake tells.
		atomOS bool
	}{
		{"bootstrap data ready → register arrives", life.BootstrapReady, life.RegisterArrived, true},
		{"VM running → provisioned", life.VMRunning, life.Provisioned, true},
		{"ElementoMachine deleted → gone, verified", life.Deleted, life.Gone, false},
	} {
		if share.atomOS && b.site.Fake == nil {
			continue
		}
		took := life.Took(workers, share.from, share.to)
		Expect(took).To(HaveLen(b.machines), "times of %s", share.name)
		l := reports.Measure(share.name, took)
		b.site.Report.Figure(
			reports.Figure{Name: l.Name + ", median", Value: l.P50, Unit: "ms"},
			reports.Figure{Name: l.Name + ", 90 %", Value: l.P90, Unit: "ms"},
		)
	}
}

// cost is what has been used so far.
type cost struct {
	calls     int64
	processes []processCost
}

type processCost struct {
	name string
	world.Usage
}

func (b *bench) cost(ctx context.Context) cost {
	var c cost
	if b.site.Fake != nil {
		counts, err := b.site.Fake.Calls(ctx)
		Expect(err).NotTo(HaveOccurred())
		for _, calls := range counts {
			for _, n := range calls {
				c.calls += n
			}
		}
	}
	names := []string{world.ElementoProvider}
	for n := range b.site.World.Endpoints() {
		names = append(names, world.DaemonProcess(n+1))
	}
	for _, name := range append(names, world.FakeProcess, world.KubeAPIServer, world.Etcd) {
		p := b.site.World.Process(name)
		if p == nil {
			continue // not of this world
		}
		usage, err := p.Usage()
		Expect(err).NotTo(HaveOccurred())
		c.processes = append(c.processes, processCost{name, usage})
	}
	return c
}

// remove deletes the cluster and demands that nothing of it stays on AtomOS.
func (b *bench) remove(ctx context.Context) {
	b.cluster.Delete(ctx, b.site.Admin)
	b.site.Unchanged(ctx, b.before)
}

// tidy removes the cluster where the bench did not come so far.
func (b *bench) tidy(ctx SpecContext) {
	if b.cluster != nil {
		b.remove(ctx)
	}
}
