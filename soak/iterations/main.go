// Iterations lives the life of a VM many times over, through our provider and
// through a daemon, and counts what succeeds: criterion R2. It does so without
// faults and then with a background of transient ones (faults.yaml), during which
// calls may be repeated but no work may be lost.
//
//	go run ./soak/iterations --out out/iterations --iterations 100 --vms 3
//
// The life of a VM is a Machine with bootstrap data of its own that is applied and
// in the end deleted, and in between what an operator asks of a daemon; see life.go.
// The VMs of an iteration live at the same time, and so do a few iterations. Every
// operation has a deadline and a terminal outcome, and is a line of operations.jsonl.
package main

import (
	"cmp"
	"context"
	_ "embed"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/sync/errgroup"
	"k8s.io/utils/ptr"

	"elemento.cloud/cluster-api-provider-elemento/e2e/inventory"
	"elemento.cloud/cluster-api-provider-elemento/e2e/suite"
	"elemento.cloud/cluster-api-provider-elemento/e2e/world"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos"
	fakehistory "elemento.cloud/cluster-api-provider-elemento/fakeatomos/history"
	"elemento.cloud/cluster-api-provider-elemento/reports"
	"elemento.cloud/cluster-api-provider-elemento/soak/history"
	"elemento.cloud/cluster-api-provider-elemento/soak/validate"
	"elemento.cloud/cluster-api-provider-elemento/soak/watch"
)

//go:embed faults.yaml
var background []byte

// target is the share of operations that must succeed, in percent.
const target = 99.9

func main() {
	i := &iterations{}
	suite.Program{
		Name: "iterations", Title: "Iterations of the VM life cycle", AtomOS: atomOS(), NeedsFake: true, OwnWorld: true, Recorded: true,
		Flags: func(flags *flag.FlagSet) {
			flags.IntVar(&i.number, "iterations", 100, "`number` of iterations, without faults and with faults")
			flags.IntVar(&i.vms, "vms", 3, "`number` of VMs that live at the same time in an iteration")
			flags.IntVar(&i.atATime, "at-a-time", 3, "`number` of iterations that go on at the same time")
			flags.StringVar(&i.file, "faults", "", "`file` of the faults in the background instead of the one in soak/iterations")
			flags.Int64Var(&i.seed, "seed", 0, "`seed` of the faults instead of the one in their file")
		},
		Prepare: i.prepare,
		Describe: func(site *suite.Site) {
			i.site = site
			Describe("The life of a VM", Ordered, func() {
				site.Criterion("R2", i.examine)
				AfterAll(i.tidy)
			})
		},
	}.Main()
}

// atomOS has VMs that take a moment to start and to stop, and room for them.
func atomOS() world.AtomOS {
	a := suite.Instant()
	a.BootTime, a.StopTime = 100*time.Millisecond, 100*time.Millisecond
	return a
}

type iterations struct {
	site        *suite.Site
	number, vms int // of iterations, and of VMs in each
	atATime     int // iterations
	file        string
	seed        int64
	faults      []fakeatomos.Fault

	daemon  *daemon
	cluster *cluster
	log     *operationLog
	before  inventory.Inventory
}

func (i *iterations) prepare(o *suite.Options) error {
	if i.number < 1 || i.vms < 1 || i.atATime < 1 {
		return fmt.Errorf("--iterations %d --vms %d --at-a-time %d: at least one of each", i.number, i.vms, i.atATime)
	}
	text := background
	if i.file != "" {
		var err error
		if text, err = os.ReadFile(i.file); err != nil {
			return fmt.Errorf("--faults: %w", err)
		}
	}
	var err error
	if i.faults, err = seeded(text, i.seed); err != nil {
		return fmt.Errorf("--faults: %w", err)
	}
	// What is counted is what succeeds; how long it takes at Cluster API's own pace
	// is told by make bench.
	o.World.QuickReconciles = true
	o.Lasts = 30*time.Minute + time.Duration(i.number)*time.Minute
	return nil
}

// seeded reads a file of faults; another seed than 0 takes the place of its own.
func seeded(text []byte, seed int64) ([]fakeatomos.Fault, error) {
	faults, err := fakeatomos.ParseFaults(text)
	if seed != 0 {
		for n := range faults {
			faults[n].Seed = seed + int64(n)
		}
	}
	return faults, err
}

func (i *iterations) examine(ctx context.Context, r2 *reports.Examination) {
	i.site.Report.Seed(strconv.FormatInt(i.faults[0].Seed, 10))
	var err error
	i.before, err = i.site.Hosts.Take(ctx)
	Expect(err).NotTo(HaveOccurred())
	i.log, err = openLog(i.site.Artifact(operationsFile))
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func() { Expect(i.log.Close()).To(Succeed()) })
	r2.Evidence(reports.Evidence{Title: "every operation: its begin, end, attempts and outcome", Path: filepath.Join(suite.Artifacts, operationsFile)})
	i.daemon, err = dial(i.site.World)
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func() { Expect(i.daemon.Close()).To(Succeed()) })
	r2.Step("a cluster of Machines that we make ourselves", func() {
		i.cluster = newCluster(i.site, i.site.Namespace(ctx, "iterations"))
		Expect(i.cluster.create(ctx)).To(Succeed())
	})

	watched, err := watch.Begin(ctx, i.site, validate.Limits{}, nil)
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func() error { _, err := watched.End(); return err })

	without := i.run(ctx, r2, "without faults")
	if loops, known := i.site.Reconciles(ctx); known {
		r2.Figure(reports.Figure{Name: reports.FailedReconciles + ", without faults", Value: float64(loops.Failed), AtMost: ptr.To(0.0)})
	}
	before := i.calls(ctx)
	i.setFaults(ctx)
	with := i.run(ctx, r2, "with faults")
	Expect(i.site.Fake.RemoveFaults(ctx, "")).To(Succeed())
	r2.Figure(
		reports.Figure{Name: reports.FaultsSet, Value: float64(len(i.faults))},
		reports.Figure{Name: "C4 calls, with faults", Value: float64(i.calls(ctx) - before)},
		reports.Figure{Name: "of these befallen by a fault", Value: float64(i.befallen()), AtLeast: ptr.To(1.0)},
	)
	r2.Step("the cluster deleted, and nothing left on AtomOS", func() { i.remove(ctx) })
	r2.Step("the history judged", func() {
		results, err := watched.End()
		Expect(err).NotTo(HaveOccurred())
		r2.Validator(watch.ForReport(results)...)
	})

	all := append(slices.Clone(without), with...)
	succeeded := reports.Share(reports.SucceededOperations, count(all, succeededOutcome), len(all))
	succeeded.AtLeast = ptr.To(target)
	r2.Figure(
		reports.Figure{Name: reports.Iterations, Value: float64(i.number)},
		reports.Figure{Name: "VMs in an iteration", Value: float64(i.vms)},
		reports.Figure{Name: "iterations at a time", Value: float64(i.atATime)},
		reports.Figure{Name: "operations", Value: float64(len(all))},
		succeeded,
	)
}

// run lives all iterations and returns their operations.
func (i *iterations) run(ctx context.Context, r2 *reports.Examination, name string) (done []operation) {
	r2.Step(fmt.Sprintf("%d iterations of %d VMs %s", i.number, i.vms, name), func() {
		each := make([][]operation, i.number)
		group, running := errgroup.WithContext(ctx)
		group.SetLimit(i.atATime)
		for n := range each {
			group.Go(func() (err error) {
				each[n], err = i.iteration(running, name, n+1)
				return err
			})
		}
		Expect(group.Wait()).To(Succeed())
		done = slices.Concat(each...)
	})
	repeated := 0
	for _, o := range done {
		repeated += max(0, o.Attempts-1)
		if o.Outcome != succeededOutcome {
			fmt.Fprintf(GinkgoWriter, "%s, iteration %d, VM %d: %s: %s: %s\n", name, o.Iteration, o.VM, o.Operation, o.Outcome, o.Detail)
		}
	}
	share := reports.Share(reports.SucceededOperations+", "+name, count(done, succeededOutcome), len(done))
	share.AtLeast = ptr.To(target)
	r2.Figure(
		reports.Figure{Name: "operations, " + name, Value: float64(len(done))},
		share,
		reports.Figure{Name: "operations that were said to be done and were not, " + name, Value: float64(count(done, lostOutcome)), AtMost: ptr.To(0.0)},
		reports.Figure{Name: "calls that were repeated, " + name, Value: float64(repeated)},
	)
	for _, kind := range kinds {
		var took []time.Duration
		for _, o := range done {
			if o.Operation == kind && o.Outcome == succeededOutcome {
				took = append(took, o.End.Sub(o.Begin))
			}
		}
		r2.Latency(reports.Measure(string(kind)+", "+name, took))
	}
	return done
}

// iteration lives the lives of its VMs. It is an error when nothing succeeds: the
// rest can be left out then.
func (i *iterations) iteration(ctx context.Context, run string, number int) (done []operation, err error) {
	lives := make([]*life, i.vms)
	var alive sync.WaitGroup
	for v := range lives {
		lives[v] = &life{iterations: i, run: run, number: number, vm: v + 1}
		alive.Go(func() { lives[v].live(ctx) })
	}
	alive.Wait()
	if err := cmp.Or(ctx.Err(), i.site.World.Err()); err != nil {
		return nil, err
	}
	for _, l := range lives {
		done = append(done, l.done...)
	}
	if count(done, succeededOutcome) == 0 {
		last := done[len(done)-1]
		return nil, fmt.Errorf("nothing has succeeded in iteration %d, the rest is left out; %s: %s", number, last.Operation, last.Detail)
	}
	return done, nil
}

func count(all []operation, outcome string) (n int) {
	for _, o := range all {
		if o.Outcome == outcome {
			n++
		}
	}
	return n
}

func (i *iterations) setFaults(ctx context.Context) {
	for _, f := range i.faults {
		_, err := i.site.Fake.AddFault(ctx, f)
		Expect(err).NotTo(HaveOccurred())
	}
}

// calls are the C4 calls that there have been so far.
func (i *iterations) calls(ctx context.Context) (calls int64) {
	counts, err := i.site.Fake.Calls(ctx)
	Expect(err).NotTo(HaveOccurred())
	for _, host := range counts {
		for _, n := range host {
			calls += n
		}
	}
	return calls
}

// befallen counts what the faults have done, as the fake has told.
func (i *iterations) befallen() (n int) {
	_, err := fakehistory.Read(filepath.Join(i.site.Dir, history.Dir, history.AtomOS), 0, func(e fakehistory.Event) error {
		if e.Kind == fakehistory.Fault && e.Event == "fired" {
			n++
		}
		return nil
	})
	Expect(err).NotTo(HaveOccurred())
	return n
}

// remove deletes what the lives have in common, and demands that AtomOS has what it
// had before.
func (i *iterations) remove(ctx context.Context) {
	cluster := i.cluster
	i.cluster = nil
	Expect(cluster.delete(ctx)).To(Succeed())
	Expect(i.daemon.deleteNetwork(ctx, i.site.World.Domains())).To(Succeed())
	i.site.Unchanged(ctx, i.before)
}

// tidy does so where the examination did not come so far.
func (i *iterations) tidy(ctx SpecContext) {
	if i.cluster == nil {
		return
	}
	Expect(i.site.Fake.RemoveFaults(ctx, "")).To(Succeed())
	i.remove(ctx)
}
