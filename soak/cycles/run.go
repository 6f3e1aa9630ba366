package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemento.cloud/cluster-api-provider-elemento/e2e/inventory"
	"elemento.cloud/cluster-api-provider-elemento/e2e/suite"
	"elemento.cloud/cluster-api-provider-elemento/e2e/world"
	fakehistory "elemento.cloud/cluster-api-provider-elemento/fakeatomos/history"
	"elemento.cloud/cluster-api-provider-elemento/reports"
	"elemento.cloud/cluster-api-provider-elemento/soak/history"
	"elemento.cloud/cluster-api-provider-elemento/soak/validate"
)

// run is one run of the program.
type run struct {
	site           *suite.Site
	cycles, warmUp int

	namespace string
	processes []string
	// baseline is what there was before the first cluster, and what has been found
	// to be left since: it is told once.
	baseline state
	// cluster is the one of the cycle that goes on.
	cluster          *suite.Cluster
	created, deleted []time.Duration
	samples          []sample
	leaked           []string
}

// state is what there is while there is no cluster.
type state struct {
	atomOS    inventory.Inventory
	objects   []string
	listening map[string][]string
}

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

// settled is how long after a cluster something of it may be there that nothing
// waits for, such as objects that Kubernetes collects when it gets to it.
const settled = 30 * time.Second

func (r *run) examine(ctx context.Context, r3 *reports.Examination) {
	stop := r.record(ctx)
	defer stop()
	r3.Step("what there is before the first cluster", func() { r.begin(ctx) })
	for n := 1; n <= r.cycles; n++ {
		s := shapeOf(n)
		r3.Step(fmt.Sprintf("cycle %d: %d control planes and %d workers", n, s.controlPlanes, s.workers), func() {
			r.cycle(ctx, n, s)
		})
	}
	r3.Step("the namespace can go: no finalizer is left", func() { r.removeNamespace(ctx) })
	stop()
	r.judge(r3)
	r3.Step("the history judged", func() { r.validate(r3) })
}

// record writes down the changes of all objects until the returned function is
// called.
func (r *run) record(ctx context.Context) (stop func()) {
	objects, err := fakehistory.Open(filepath.Join(r.site.Dir, history.Dir, history.Objects))
	Expect(err).NotTo(HaveOccurred())
	recording, cancel := context.WithCancel(context.WithoutCancel(ctx))
	wait, err := history.Record(recording, r.site.World.Config(), objects)
	if err != nil {
		cancel()
	}
	Expect(err).NotTo(HaveOccurred())
	stopped := false
	return func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		wait()
		Expect(objects.Close()).To(Succeed())
	}
}

func (r *run) begin(ctx context.Context) {
	r.processes = []string{world.ElementoProvider, world.FakeProcess}
	for n := range r.site.World.Endpoints() {
		r.processes = append(r.processes, world.DaemonProcess(n+1))
	}
	r.namespace = r.site.Namespace(ctx, "cycles")
	r.sample(ctx, 0)
	var err error
	r.baseline, err = r.look(ctx)
	Expect(err).NotTo(HaveOccurred())
}

// cycle makes a cluster, deletes it, and looks for what is left.
func (r *run) cycle(ctx context.Context, n int, s shape) {
	name := fmt.Sprintf("cycle-%d", n)
	r.cluster = &suite.Cluster{
		Site: r.site, ControlPlanes: s.controlPlanes, Key: client.ObjectKey{Namespace: r.namespace, Name: name},
	}
	r.created = append(r.created, r.step(name+": create", func() {
		Expect(suite.Apply(ctx, r.site.Admin, "cycles", r.cluster.Generate(ctx, s.workers))).To(Succeed())
		r.cluster.Await(ctx, s.workers)
	}))
	r.deleted = append(r.deleted, r.step(name+": delete", func() { r.cluster.Delete(ctx, r.site.Admin) }))
	r.leaked = append(r.leaked, r.left(ctx, name)...)
	r.sample(ctx, n)
	// All manifests are alike; that of a cycle that fails stays.
	Expect(os.Remove(filepath.Join(r.site.Dir, r.cluster.Manifest(s.workers)))).To(Succeed())
	r.cluster = nil
}

// step takes down in the history when something was done, and returns how long it
// took.
func (r *run) step(name string, do func()) time.Duration {
	to := r.site.World.History()
	start := time.Now()
	to.Add(fakehistory.Event{Kind: fakehistory.Step, Event: "begin", Name: name})
	event := "failed"
	defer func() { to.Add(fakehistory.Event{Kind: fakehistory.Step, Event: event, Name: name}) }()
	do()
	event = "end"
	return time.Since(start)
}

func (r *run) sample(ctx context.Context, cycle int) {
	for _, process := range r.processes {
		s, err := r.take(ctx, process, cycle)
		Expect(err).NotTo(HaveOccurred())
		r.samples = append(r.samples, s)
	}
}

func (r *run) look(ctx context.Context) (state, error) {
	s := state{objects: slices.Sorted(maps.Keys(r.site.Objects(ctx, r.namespace))), listening: map[string][]string{}}
	var err error
	if s.atomOS, err = r.site.Hosts.Take(ctx); err != nil {
		return s, err
	}
	for _, process := range r.processes {
		resources, err := r.site.World.Process(process).Resources()
		if err != nil {
			return s, err
		}
		s.listening[process] = resources.Listening
	}
	return s, nil
}

// left waits until all is as it was, and returns what is not by then.
func (r *run) left(ctx context.Context, of string) []string {
	ctx, cancel := context.WithTimeout(ctx, settled)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		now, err := r.look(context.WithoutCancel(ctx))
		Expect(err).NotTo(HaveOccurred())
		differences := now.differs(r.baseline)
		if len(differences) == 0 {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			r.baseline = now
			for i := range differences {
				differences[i] = of + ": " + differences[i]
			}
			return differences
		}
	}
}

// differs says what is there on one side only.
func (s state) differs(before state) []string {
	var found []string
	for _, resource := range s.atomOS.Without(before.atomOS) {
		found = append(found, "left on AtomOS: "+resource.String())
	}
	for _, resource := range before.atomOS.Without(s.atomOS) {
		found = append(found, "gone from AtomOS: "+resource.String())
	}
	for _, object := range s.objects {
		if !slices.Contains(before.objects, object) {
			found = append(found, "left in Kubernetes: "+object)
		}
	}
	for _, object := range before.objects {
		if !slices.Contains(s.objects, object) {
			found = append(found, "gone from Kubernetes: "+object)
		}
	}
	for _, process := range slices.Sorted(maps.Keys(s.listening)) {
		for _, address := range s.listening[process] {
			if !slices.Contains(before.listening[process], address) {
				found = append(found, process+" still listens on "+address)
			}
		}
	}
	return found
}

func (r *run) removeNamespace(ctx context.Context) {
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: r.namespace}}
	Expect(r.site.Admin.Delete(ctx, namespace)).To(Succeed())
	Eventually(func() error {
		return r.site.Admin.Get(ctx, client.ObjectKeyFromObject(namespace), namespace)
	}, suite.Long, suite.Often).WithContext(ctx).Should(MatchError(apierrors.IsNotFound, "IsNotFound"))
	r.namespace = ""
}

// validate has the validators judge the history.
func (r *run) validate(r3 *reports.Examination) {
	results, err := validate.Run(r.site.Dir, validate.All(validate.Limits{})...)
	Expect(err).NotTo(HaveOccurred())
	for _, result := range results {
		var violations []string
		for _, v := range result.Violations {
			violations = append(violations, v.String())
		}
		r3.Validator(reports.Validator{
			Name: result.Validator, Rule: result.Explanation, Checked: result.Judged, Violations: violations, Verdict: result.Verdict,
		})
	}
}

// tidy removes what a cycle that failed has left.
func (r *run) tidy(ctx SpecContext) {
	if r.cluster != nil {
		r.cluster.Delete(ctx, r.site.Admin)
	}
}
