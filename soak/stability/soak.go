package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/utils/ptr"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemento.cloud/cluster-api-provider-elemento/e2e/inventory"
	"elemento.cloud/cluster-api-provider-elemento/e2e/suite"
	"elemento.cloud/cluster-api-provider-elemento/e2e/world"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos/history"
	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
	"elemento.cloud/cluster-api-provider-elemento/reports"
	"elemento.cloud/cluster-api-provider-elemento/soak/faults"
	"elemento.cloud/cluster-api-provider-elemento/soak/validate"
	"elemento.cloud/cluster-api-provider-elemento/soak/watch"
)

// The cluster that stands beside those that come and go.
const (
	steadyControlPlanes = 3
	steadyWorkers       = 3
)

// soak is a part of a run, that of this process.
type soak struct {
	duration time.Duration
	// seed is that of this part.
	seed           int64
	lanes          int
	plan           *faults.Plan
	metricsAddress string
	checkpoint     *checkpoint

	site      *suite.Site
	history   *history.Writer
	namespace string
	before    inventory.Inventory
	// stopped is closed when the run is to end before its time.
	stopped chan struct{}
	turns   atomic.Int64

	mu sync.Mutex
	// spans are how long steps took, by kind.
	spans map[string][]time.Duration
	// failed are the failed loops of our manager since its start; sampled tells that
	// it was asked.
	failed  float64
	sampled bool
	// events is how often each action of the plan has come.
	events  map[faults.Action]int
	failure error
}

// outcome is what is left when the workload has ended.
type outcome struct {
	results []validate.Result
	err     error
}

// examine is the run without faults.
func (s *soak) examine(ctx context.Context, r1 *reports.Examination) {
	var o outcome
	r1.Step(s.workload(), func() { o = s.run(ctx) })
	r1.Figure(s.figures()...)
	if s.sampled {
		r1.Figure(reports.Figure{Name: reports.FailedReconciles, Value: s.failed, Command: "controller_runtime_reconcile_errors_total"})
	}
	r1.Latency(s.latencies()...)
	watch.Tell(r1, o.results)
	s.tellParts()
	if o.err != nil {
		Fail(o.err.Error())
	}
}

// endure is the run with faults. It answers no criterion: R1 asks for none.
func (s *soak) endure(ctx SpecContext) {
	var o outcome
	s.site.Report.Step(fmt.Sprintf("%s, with %d faults in the background and %d kinds of events", s.workload(), s.background(), len(s.plan.Events)),
		func() { o = s.run(ctx) })
	s.site.Report.Figure(s.figures()...)
	s.site.Report.Figure(s.eventFigures()...)
	s.site.Report.Validator(watch.ForReport(o.results)...)
	s.tellParts()
	if o.err != nil {
		Fail(o.err.Error())
	}
}

func (s *soak) workload() string {
	return fmt.Sprintf("the workload, for %s", s.checkpoint.left().Round(time.Second))
}

// figures are those of a run with faults or without.
func (s *soak) figures() []reports.Figure {
	all := []reports.Figure{
		{Name: reports.Hours, Value: s.checkpoint.now().lasted().Hours(), Unit: "h"},
		{Name: reports.FaultsSet, Value: float64(s.faultsSet() + s.background())},
		{Name: "clusters that came and went", Value: float64(s.turns.Load())},
	}
	if len(s.checkpoint.parts()) > 1 {
		all = append(all, reports.Figure{Name: "hours of all processes together", Value: s.checkpoint.elapsed().Hours(), Unit: "h"})
	}
	return all
}

// eventFigures are how often each action of the plan has come. One that was due by
// its timetable must have: otherwise the run has not shown what it is for.
func (s *soak) eventFigures() []reports.Figure {
	s.mu.Lock()
	defer s.mu.Unlock()
	due := s.planOfPart().Due(s.checkpoint.now().lasted() - faults.Late)
	var all []reports.Figure
	seen := map[faults.Action]bool{}
	for _, e := range s.plan.Events {
		if seen[e.Do] {
			continue
		}
		seen[e.Do] = true
		f := reports.Figure{Name: "events: " + string(e.Do), Value: float64(s.events[e.Do])}
		if due[e.Do] > 0 {
			f.AtLeast = ptr.To(1.0)
		}
		all = append(all, f)
	}
	return all
}

// planOfPart is the plan with the seed of this part.
func (s *soak) planOfPart() faults.Plan {
	plan := *s.plan
	plan.Seed = s.seed
	return plan
}

// faultsSet counts the events that have come.
func (s *soak) faultsSet() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, times := range s.events {
		n += times
	}
	return n
}

// background is how many faults there are all the while.
func (s *soak) background() int {
	if s.plan == nil {
		return 0
	}
	return len(s.plan.Background)
}

// tellParts tells the report which processes the run was made of, and how it went.
func (s *soak) tellParts() {
	s.site.Report.Parts(s.checkpoint.parts()...)
	for n := range len(s.checkpoint.Parts) - 1 {
		dir := filepath.Base(s.checkpoint.partDir(n + 1))
		s.site.Report.Evidence(reports.Evidence{Title: "what was left when the run was cut short", Path: dir})
	}
	line, err := s.checkpoint.timeLine()
	Expect(err).NotTo(HaveOccurred())
	s.site.Report.TimeLine(line)
}

// run runs the workload until its time is over, something is wrong, or ctx ends,
// and has the history judged. Where all is well it takes all down first that the
// workload has made; otherwise it is left as it is, for the evidence.
func (s *soak) run(ctx context.Context) (o outcome) {
	s.history, s.stopped, s.spans = s.site.World.History(), make(chan struct{}), map[string][]time.Duration{}
	s.events = map[faults.Action]int{}
	var err error
	s.before, err = s.site.Hosts.Take(ctx)
	Expect(err).NotTo(HaveOccurred())
	s.namespace = s.site.Namespace(ctx, "soak")
	w, err := watch.Begin(ctx, s.site, validate.Limits{}, s.sample)
	Expect(err).NotTo(HaveOccurred())
	tell, err := serveProgress(s.metricsAddress)
	Expect(err).NotTo(HaveOccurred())
	defer tell.close()
	Expect(s.site.World.Scrape("elemento-soak", tell.address)).To(Succeed())

	var running sync.WaitGroup
	ended := make(chan struct{})
	running.Go(func() { s.supervise(ctx, w, ended) })
	o.err = s.live(ctx, tell, w)
	close(ended)
	running.Wait()
	if o.err != nil || s.failure != nil {
		s.keep(ctx)
	}
	var judged error
	o.results, judged = w.End()
	o.err = errors.Join(o.err, s.failure, judged)
	if ctx.Err() == nil {
		o.err = errors.Join(o.err, s.checkpoint.end())
	}
	return o
}

// live is the life of all clusters: that of the one that stays, and meanwhile those
// of the others.
func (s *soak) live(ctx context.Context, tell *progress, w *watch.Watch) error {
	steady := s.cluster("steady", 0, steadyControlPlanes)
	if err := s.do(ctx, steady, step{"create the cluster that stays", func(ctx context.Context) error { return steady.apply(ctx, steadyWorkers) }, steady.Has(steadyWorkers)}); err != nil {
		return ignoreStopped(err)
	}
	if err := s.work(ctx, tell, w); err != nil {
		return err
	}
	// From here on nothing goes wrong any more, and what there is comes to rest.
	return ignoreStopped(s.do(ctx, steady,
		step{"the cluster that stays is whole", func(context.Context) error { return nil }, steady.Has(steadyWorkers)},
		step{"delete the cluster that stays", steady.AskDeletion, steady.Gone},
		step{"nothing is left", func(context.Context) error { return nil }, s.empty},
	))
}

// work has the lanes work, and things go wrong meanwhile, until the time is over.
func (s *soak) work(ctx context.Context, tell *progress, w *watch.Watch) error {
	if err := s.checkpoint.mark(); err != nil {
		return err
	}
	working, stop := context.WithTimeout(ctx, s.checkpoint.left())
	defer stop()
	var lanes, injecting sync.WaitGroup
	for n := range s.lanes {
		l := &lane{name: fmt.Sprintf("lane-%d", n+1), number: n + 1, soak: s, rand: rand.New(rand.NewPCG(uint64(s.seed), uint64(n)))}
		lanes.Go(func() {
			defer GinkgoRecover()
			s.halt(l.run(working))
		})
	}
	breaking, mend := context.WithCancel(ctx)
	defer mend()
	if s.plan != nil {
		injector := &faults.Injector{World: s.site.World, Workers: s.joinedWorkers, Told: s.fault}
		injecting.Go(func() { s.halt(injector.Run(breaking, s.planOfPart())) })
	}
	err := s.count(working, tell, w)
	mend()
	injecting.Wait()
	lanes.Wait() // each ends its turn, in peace
	return err
}

// count writes down how far the run has come, and tells it, until its time is over
// or it is stopped.
func (s *soak) count(ctx context.Context, tell *progress, w *watch.Watch) error {
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	for {
		tell.update(s, len(w.Violations()))
		select {
		case <-tick.C:
		case <-s.stopped:
			return nil
		case <-ctx.Done():
			return s.checkpoint.mark()
		}
		if err := s.checkpoint.mark(); err != nil {
			return err
		}
	}
}

// supervise stops the run where something is wrong, or it is interrupted, until it
// has ended.
func (s *soak) supervise(ctx context.Context, w *watch.Watch, ended <-chan struct{}) {
	select {
	case <-ended:
	case <-s.stopped:
	case <-ctx.Done():
		s.halt(context.Cause(ctx))
	case <-w.Violated():
		s.halt(fmt.Errorf("an invariant is broken, and the run was stopped: %s", w.Violations()[0]))
	case <-s.site.World.Failed():
		s.halt(s.site.World.Err())
	}
}

// halt stops the run because of an error; the first one counts.
func (s *soak) halt(err error) {
	if err == nil || errors.Is(err, errStopped) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failure == nil {
		s.failure = err
		close(s.stopped)
	}
}

// keep keeps what AtomOS has when the run is stopped. The rest of the evidence is
// there: the history and the logs.
func (s *soak) keep(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	const name = "atomos.json"
	path := s.site.Artifact(name)
	there, err := s.site.Fake.Inventory(ctx)
	if err == nil {
		var content []byte
		if content, err = json.MarshalIndent(there, "", "  "); err == nil {
			err = errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, content, 0o644))
		}
	}
	if err != nil {
		s.site.Report.Explain("what AtomOS had when the run was stopped is not known: " + err.Error())
		return
	}
	s.site.Report.Evidence(reports.Evidence{Title: "what AtomOS had when the run was stopped", Path: filepath.Join(suite.Artifacts, name)})
}

// empty holds when there is no cluster and no record, and AtomOS is as it was.
func (s *soak) empty(ctx context.Context) error {
	clusters, cleanups := &clusterv1.ClusterList{}, &infrav1.ElementoCleanupList{}
	if err := errors.Join(s.site.Admin.List(ctx, clusters), s.site.Admin.List(ctx, cleanups)); err != nil {
		return err
	}
	if len(clusters.Items)+len(cleanups.Items) > 0 {
		return fmt.Errorf("%d Clusters and %d ElementoCleanups are still there", len(clusters.Items), len(cleanups.Items))
	}
	after, err := s.site.Hosts.Take(ctx)
	if err != nil {
		return err
	}
	if left := after.Without(s.before); len(left) > 0 {
		return fmt.Errorf("left on AtomOS:\n%s", left)
	}
	return nil
}

// cluster is one of a name, in the n-th network. One with several control planes
// has an address that they hold in turn, and others a forward.
func (s *soak) cluster(name string, network, controlPlanes int) *cluster {
	c := &cluster{Cluster: suite.Cluster{
		Site: s.site, ControlPlanes: controlPlanes, Offline: true,
		Key:       client.ObjectKey{Namespace: s.namespace, Name: name},
		Variables: s.site.Network(network),
	}}
	if controlPlanes > 1 {
		c.Flavor = "vip"
	}
	return c
}

// sample is told of each sample of a process.
func (s *soak) sample(sample watch.Sample) {
	if sample.Process != world.ElementoProvider || sample.Errors == nil {
		return
	}
	sum := 0.0
	for _, n := range sample.Errors {
		sum += n
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed, s.sampled = sum, true
}

// fault is told of each fault.
func (s *soak) fault(do faults.Action, what string) {
	s.mu.Lock()
	s.events[do]++
	s.mu.Unlock()
	fmt.Fprintf(GinkgoWriter, "%s fault: %s\n", time.Now().Format(time.TimeOnly), what)
}

// joinedWorkers are the VMs of workers whose nodes have joined and that nobody
// deletes; none while the management plane is away.
func (s *soak) joinedWorkers(ctx context.Context) (names []string) {
	machines, objects := &clusterv1.MachineList{}, &infrav1.ElementoMachineList{}
	if err := errors.Join(s.site.Admin.List(ctx, machines, client.InNamespace(s.namespace)), s.site.Admin.List(ctx, objects, client.InNamespace(s.namespace))); err != nil {
		return nil
	}
	joined := map[string]bool{}
	for _, m := range machines.Items {
		_, controlPlane := m.Labels[clusterv1.MachineControlPlaneLabel]
		joined[m.Spec.InfrastructureRef.Name] = !controlPlane && m.Status.NodeRef.Name != "" && m.DeletionTimestamp == nil
	}
	for _, o := range objects.Items {
		if joined[o.Name] {
			names = append(names, o.Spec.VMName)
		}
	}
	slices.Sort(names)
	return names
}

// took takes down how long a step took.
func (s *soak) took(name string, span time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.spans[name] = append(s.spans[name], span)
}

func (s *soak) latencies() []reports.Latency {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []reports.Latency
	for _, name := range []string{createStep, scaleUpStep, rollStep, scaleDownStep, deleteStep} {
		if len(s.spans[name]) > 0 {
			all = append(all, reports.Measure(name, s.spans[name]))
		}
	}
	return all
}
