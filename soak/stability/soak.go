package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
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
	duration       time.Duration
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
	// spans are how long steps took, by kind; errors the failed loops of our manager.
	spans     map[string][]time.Duration
	errors    float64
	faultsSet int
	failure   error
}

// outcome is what is left when the workload has ended.
type outcome struct {
	results []validate.Result
	err     error
}

// examine is the run without faults.
func (s *soak) examine(ctx context.Context, r1 *reports.Examination) {
	var o outcome
	r1.Step(fmt.Sprintf("the workload, for %s", s.checkpoint.left().Round(time.Second)), func() { o = s.run(ctx) })
	hours := 0.0
	if p := s.checkpoint.now(); !p.Begun.IsZero() {
		hours = p.lasted().Hours()
	}
	r1.Figure(
		reports.Figure{Name: reports.Hours, Value: hours, Unit: "h"},
		reports.Figure{Name: reports.FaultsSet, Value: 0},
		reports.Figure{Name: reports.FailedReconciles, Value: s.errors, Command: "controller_runtime_reconcile_errors_total"},
		reports.Figure{Name: "clusters that came and went", Value: float64(s.turns.Load())},
	)
	r1.Latency(s.latencies()...)
	r1.Validator(watch.ForReport(o.results)...)
	s.tellParts()
	Expect(o.err).NotTo(HaveOccurred())
}

// endure is the run with faults. It answers no criterion: R1 asks for none.
func (s *soak) endure(ctx SpecContext) {
	var o outcome
	s.site.Report.Step(fmt.Sprintf("the workload and %d kinds of faults, for %s", len(s.plan.Background)+len(s.plan.Events), s.checkpoint.left().Round(time.Second)),
		func() { o = s.run(ctx) })
	s.site.Report.Figure(
		reports.Figure{Name: reports.Hours, Value: s.checkpoint.now().lasted().Hours(), Unit: "h"},
		reports.Figure{Name: reports.FaultsSet, Value: float64(s.faultsSet)},
		reports.Figure{Name: "clusters that came and went", Value: float64(s.turns.Load())},
	)
	s.site.Report.Validator(watch.ForReport(o.results)...)
	s.tellParts()
	Expect(o.err).NotTo(HaveOccurred())
}

// tellParts tells the report which processes the run was made of, and how it went.
func (s *soak) tellParts() {
	s.site.Report.Parts(s.checkpoint.parts()...)
	line, err := s.checkpoint.timeLine()
	Expect(err).NotTo(HaveOccurred())
	s.site.Report.TimeLine(line)
}

// run runs the workload until its time is over, something is wrong, or ctx ends;
// then it takes all down that the workload has made, and has the history judged.
func (s *soak) run(ctx context.Context) (o outcome) {
	seed := s.seed + int64(len(s.checkpoint.Parts)) - 1 // another part does other things
	s.site.Report.Seed(fmt.Sprint(seed))
	s.history, s.stopped, s.spans = s.site.World.History(), make(chan struct{}), map[string][]time.Duration{}
	var err error
	s.before, err = s.site.Hosts.Take(ctx)
	Expect(err).NotTo(HaveOccurred())
	s.namespace = s.site.Namespace(ctx, "soak")
	w, err := watch.Begin(ctx, s.site, validate.Limits{}, s.sampled)
	Expect(err).NotTo(HaveOccurred())
	tell, err := serveProgress(s.metricsAddress)
	Expect(err).NotTo(HaveOccurred())
	defer tell.close()

	steady := s.cluster("steady", 0, steadyControlPlanes)
	o.err = s.do(ctx, steady, step{"create the cluster that stays", func(ctx context.Context) error { return steady.apply(ctx, steadyWorkers) }, steady.has(steadyWorkers)})
	if o.err == nil {
		o.err = s.work(ctx, w, tell, seed)
	}
	// From here on nothing goes wrong any more: what is there must come to rest.
	ending := context.WithoutCancel(ctx)
	o.err = errors.Join(o.err, s.end(ending))
	var judged error
	o.results, judged = w.End()
	o.err = errors.Join(o.err, judged)
	if ctx.Err() == nil {
		s.checkpoint.now().Ended = true
		o.err = errors.Join(o.err, s.checkpoint.save())
	}
	return o
}

// work has the lanes work, and something go wrong meanwhile, until the time is over.
func (s *soak) work(ctx context.Context, w *watch.Watch, tell *progress, seed int64) error {
	Expect(s.checkpoint.mark()).To(Succeed())
	working, stop := context.WithTimeout(ctx, s.checkpoint.left())
	defer stop()
	var doing sync.WaitGroup
	for n := range s.lanes {
		l := &lane{name: fmt.Sprintf("lane-%d", n+1), number: n + 1, soak: s, rand: rand.New(rand.NewPCG(uint64(seed), uint64(n)))}
		doing.Go(func() {
			defer GinkgoRecover()
			s.fail(l.run(working))
		})
	}
	breaking, mend := context.WithCancel(context.WithoutCancel(ctx))
	var injecting sync.WaitGroup
	if s.plan != nil {
		injector := &faults.Injector{World: s.site.World, Workers: s.joinedWorkers, Told: s.fault}
		plan := *s.plan
		plan.Seed += seed - s.seed
		injecting.Go(func() { s.fail(injector.Run(breaking, plan)) })
	}
	err := s.supervise(working, w, tell)
	stop()
	doing.Wait() // each lane ends its turn, with the faults that there are
	mend()
	injecting.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return errors.Join(err, s.failure)
}

// supervise marks how far the run has come, tells it, and ends it where something
// is wrong.
func (s *soak) supervise(ctx context.Context, w *watch.Watch, tell *progress) error {
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return s.checkpoint.mark()
		case <-w.Violated():
			s.halt(nil)
			return fmt.Errorf("an invariant is broken, the run was stopped: %v", w.Violations())
		case <-s.stopped:
			return nil // whoever stopped it says why
		case <-s.site.World.Failed():
			s.halt(nil)
			return s.site.World.Err()
		case <-tick.C:
			if err := s.checkpoint.mark(); err != nil {
				return err
			}
			tell.update(s, len(w.Violations()))
			if s.plan == nil && s.failedLoops() > 0 {
				s.halt(nil)
				return fmt.Errorf("%v reconcile loops of our manager have failed although nothing was broken, the run was stopped; logs and history tell which", s.failedLoops())
			}
		}
	}
}

// fail stops the run because of an error.
func (s *soak) fail(err error) {
	if err != nil {
		s.halt(err)
	}
}

func (s *soak) halt(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failure = errors.Join(s.failure, err)
	select {
	case <-s.stopped:
	default:
		close(s.stopped)
	}
}

// end deletes what is still there and demands that nothing of it stays.
func (s *soak) end(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := s.site.Admin.DeleteAllOf(ctx, &clusterv1.Cluster{}, client.InNamespace(s.namespace)); err != nil {
		return fmt.Errorf("deleting the clusters: %w", err)
	}
	s.stopped = nil // from here on nobody stops
	none := func(context.Context) error { return nil }
	if err := s.await(ctx, none, s.empty); err != nil {
		return fmt.Errorf("deleting the clusters: %w", err)
	}
	return nil
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

// cluster is one of a name, in the n-th network.
func (s *soak) cluster(name string, network, controlPlanes int) *cluster {
	return &cluster{Cluster: suite.Cluster{
		Site: s.site, ControlPlanes: controlPlanes, Key: client.ObjectKey{Namespace: s.namespace, Name: name},
		Variables: map[string]string{"ELEMENTO_NETWORK_CIDR": subnet(s.site.World.GuestNetwork(), network)},
	}}
}

// subnet is the n-th /24 of a network.
func subnet(network string, n int) string {
	first := netip.MustParsePrefix(network).Addr().As4()
	first[2] += byte(n)
	return netip.PrefixFrom(netip.AddrFrom4(first), 24).String()
}

// sampled is told of each sample of a process.
func (s *soak) sampled(sample watch.Sample) {
	if sample.Process != world.ElementoProvider {
		return
	}
	sum := 0.0
	for _, n := range sample.Errors {
		sum += n
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.errors = sum
}

func (s *soak) failedLoops() float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.errors
}

// fault is told of each fault.
func (s *soak) fault(what string, begins bool) {
	if !begins {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faultsSet++
	fmt.Fprintf(GinkgoWriter, "%s fault: %s\n", time.Now().Format(time.TimeOnly), what)
}

// joinedWorkers are the VMs of workers whose nodes have joined and that nobody
// deletes.
func (s *soak) joinedWorkers(ctx context.Context) ([]string, error) {
	machines, objects := &clusterv1.MachineList{}, &infrav1.ElementoMachineList{}
	if err := errors.Join(s.site.Admin.List(ctx, machines, client.InNamespace(s.namespace)), s.site.Admin.List(ctx, objects, client.InNamespace(s.namespace))); err != nil {
		return nil, err
	}
	joined := map[string]bool{}
	for _, m := range machines.Items {
		_, controlPlane := m.Labels[clusterv1.MachineControlPlaneLabel]
		joined[m.Spec.InfrastructureRef.Name] = !controlPlane && m.Status.NodeRef.Name != "" && m.DeletionTimestamp == nil
	}
	var names []string
	for _, o := range objects.Items {
		if joined[o.Name] {
			names = append(names, o.Spec.VMName)
		}
	}
	slices.Sort(names)
	return names, nil
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
