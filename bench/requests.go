package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemento.cloud/cluster-api-provider-elemento/e2e/life"
	"elemento.cloud/cluster-api-provider-elemento/e2e/suite"
	"elemento.cloud/cluster-api-provider-elemento/reports"
)

const (
	// turns are the MachineDeployments that are scaled by one, by turns: each of them has
	// been left alone for a while, and has its Machine. loads are those by which Machines
	// are in flight; more of them make more Machines at the same time.
	turns, loads = 6, 4
	// pace is that of the scaling by one, and of the requests under load, which are so
	// spread over the time in which the Machines come to be. Rising is for how long these
	// are waited for first at most, hold for how long requests are measured at most, and
	// late for how long the last Machines are waited for.
	pace, rising, hold, late = time.Second, 2 * time.Minute, 40 * time.Second, 20 * time.Second
	// slowBoot is that of the VMs of Machines that are to be in flight: they would run as
	// fast as Cluster API makes them, and there would never be many.
	slowBoot = 75 * time.Second
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
	load := &load{clastix: w.clastix, want: b.sizes.inFlight, lives: lives, replicas: make([]int, loads)}
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
	// The workers are deleted with their cluster.
	p1.Step("what was asked for is to be deleted", func() { Expect(r.remove(ctx)).To(Succeed()) })
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
	Expect(load.begin(ctx, b.sizes.orders)).To(Succeed())
	Expect(load.rise(ctx)).To(Succeed())
	turn := time.NewTicker(pace)
	defer turn.Stop()
	end := time.Now().Add(hold)
	for n := 0; n < (b.sizes.requests+1)/2 && time.Now().Before(end); n++ {
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
	b.latency(p1, "Clastix applies the Cluster alone"+when, "", of.cluster)
	b.latency(p1, "Clastix scales a MachineDeployment"+when, "", of.scaled)
	b.latency(p1, "Clastix scales up by one → its Machine is there"+when, "", of.machines)
}

// oneByOne orders workers of a MachineDeployment, one more each time.
type oneByOne struct {
	clastix    client.Client
	deployment client.ObjectKey
	lives      *life.Recorder
	// sent are the moments of the orders, and told how many of them take has told of.
	sent []time.Time
	told int
}

func (o *oneByOne) order(ctx context.Context) error {
	s, err := scale(ctx, o.clastix, o.deployment, len(o.sent)+1)
	o.sent = append(o.sent, s.from)
	return err
}

// there are the moments at which the Machines were, in order, without those that Cluster
// API has made too many, and deleted.
func (o *oneByOne) there() (moments []time.Time) {
	for _, l := range o.lives.Lives() {
		at, is := l.At[life.Created]
		if _, leaves := l.At[life.Deleted]; is && !leaves && strings.HasPrefix(l.Machine, o.deployment.Name+"-") {
			moments = append(moments, at)
		}
	}
	slices.SortFunc(moments, time.Time.Compare)
	return moments
}

// await waits until all Machines that were ordered are there.
func (o *oneByOne) await(ctx context.Context) {
	GinkgoHelper()
	Eventually(func() int { return len(o.there()) }, suite.Long, seeing).WithContext(ctx).Should(BeNumerically(">=", len(o.sent)), "Machines of %s", o.deployment.Name)
}

// take is how long it took from each order since the last take to its Machine, and how
// many of these Machines are not there.
func (o *oneByOne) take() (took []time.Duration, missing int) {
	there := o.there()
	for n := o.told; n < min(len(o.sent), len(there)); n++ {
		took = append(took, there[n].Sub(o.sent[n]))
	}
	missing = len(o.sent) - o.told - len(took)
	o.told = len(o.sent)
	return took, missing
}

// load keeps many Machines in flight: asked for and not Running. It orders as many more
// as have come to run.
type load struct {
	clastix client.Client
	want    int
	lives   *life.Recorder
	// deployments are asked for so many replicas each, next is the next to be asked for
	// more, and others were asked of others before.
	deployments []client.ObjectKey
	replicas    []int
	next        int
	others      int
	// flying and there are how many were in flight whenever it was looked, and how many of
	// them were there.
	flying, there []int
}

// more has Clastix ask the next MachineDeployment for so many workers more.
func (l *load) more(ctx context.Context, workers int) error {
	n := l.next % len(l.deployments)
	l.next++
	l.replicas[n] += workers
	_, err := scale(ctx, l.clastix, l.deployments[n], l.replicas[n])
	return err
}

// begin orders the Machines, and some more, which may run before the others are there.
// Others were ordered of others.
func (l *load) begin(ctx context.Context, others int) error {
	l.others = others
	for range l.deployments {
		if err := l.more(ctx, l.most()/len(l.deployments)+1); err != nil {
			return err
		}
	}
	return nil
}

// rise waits a while until as many are there as are wanted in flight. What it has seen is
// forgotten.
func (l *load) rise(ctx context.Context) error {
	turn := time.NewTicker(pace)
	defer turn.Stop()
	end := time.Now().Add(rising)
	for there, running := l.count(); there-running < l.want && time.Now().Before(end); there, running = l.count() {
		select {
		case <-turn.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := l.keep(ctx); err != nil {
			return err
		}
	}
	l.flying, l.there = nil, nil
	return nil
}

// linger waits a while for the last Machines that were ordered one by one.
func (l *load) linger(ctx context.Context, singles []*oneByOne) {
	ctx, cancel := context.WithTimeout(ctx, late)
	defer cancel()
	turn := time.NewTicker(pace)
	defer turn.Stop()
	for slices.ContainsFunc(singles, func(o *oneByOne) bool { return len(o.there()) < len(o.sent) }) {
		select {
		case <-turn.C:
		case <-ctx.Done():
			return
		}
	}
}

func (l *load) count() (there, running int) { return count(l.lives.Lives()) }

// count counts the workers that are there, and those of them that run. One that is deleted
// is neither: Cluster API may make one too many, and delete it before it runs.
func count(lives []life.Life) (there, running int) {
	for _, one := range lives {
		_, leaves := one.At[life.Deleted]
		if one.ControlPlane || leaves || one.At[life.Created].IsZero() {
			continue
		}
		there++
		if !one.At[life.Running].IsZero() {
			running++
		}
	}
	return there, running
}

// look takes down how many are in flight.
func (l *load) look() (flying int) {
	there, running := l.count()
	flying = l.others - running
	for _, n := range l.replicas {
		flying += n
	}
	l.flying, l.there = append(l.flying, flying), append(l.there, there-running)
	return flying
}

// keep orders more before those that are in flight are too few.
func (l *load) keep(ctx context.Context) error {
	if flying := l.look(); flying < l.want+l.want/3 {
		return l.more(ctx, l.most()-flying)
	}
	return nil
}

// most are those that are asked for at most: so many more than are wanted in flight that
// enough of them are there, while others are yet to be made.
func (l *load) most() int { return l.want + 2*l.want/5 }

// asking asks the API what Clastix asks: for clusters that Cluster API leaves alone, so
// that it is the API that is measured, and nothing is made of what is asked.
type asking struct {
	*workers
	// manifest is that of a cluster called pattern.
	manifest []byte
	asked    int
	made     []client.ObjectKey
	answers
}

// answers are how long the API took over requests.
type answers struct {
	objects                  int
	applied, cluster, scaled []time.Duration
	// machines are how long it took until a Machine was there, and missing how many were
	// not there in time.
	machines []time.Duration
	missing  int
}

// pattern is in the place of a cluster's name.
const pattern = "pattern-of-a-name"

func (b *bench) newAsking(ctx context.Context, w *workers) *asking {
	GinkgoHelper()
	of := &suite.Cluster{Site: b.site, ControlPlanes: 1, Key: client.ObjectKey{Namespace: w.Key.Namespace, Name: pattern}}
	objects := of.Generate(ctx, 1)
	for _, o := range objects {
		if o.GetKind() == "Cluster" {
			Expect(unstructured.SetNestedField(o.Object, true, "spec", "paused")).To(Succeed())
		}
	}
	manifest, err := json.Marshal(objects)
	Expect(err).NotTo(HaveOccurred())
	return &asking{workers: w, manifest: manifest}
}

// ask asks for one more cluster, object by object, and then for other numbers of its
// workers.
func (a *asking) ask(ctx context.Context) error {
	a.asked++
	key := client.ObjectKey{Namespace: a.Key.Namespace, Name: fmt.Sprintf("asked-%d", a.asked)}
	a.made = append(a.made, key)
	objects, err := a.objectsOf(key)
	if err != nil {
		return err
	}
	began := time.Now()
	for i := range objects {
		one := time.Now()
		if err := suite.Apply(ctx, a.clastix, suite.Clastix, objects[i:i+1]); err != nil {
			return err
		}
		if objects[i].GetKind() == "Cluster" {
			a.cluster = append(a.cluster, time.Since(one))
		}
	}
	a.applied, a.answers.objects = append(a.applied, time.Since(began)), len(objects)
	s, err := scale(ctx, a.clastix, deployment(key, 0), 2)
	a.scaled = append(a.scaled, s.to.Sub(s.from))
	return err
}

func (a *asking) objectsOf(key client.ObjectKey) (objects []unstructured.Unstructured, err error) {
	return objects, json.Unmarshal(bytes.ReplaceAll(a.manifest, []byte(pattern), []byte(key.Name)), &objects)
}

// take returns the answers so far, with those about Machines that were ordered one by
// one, and begins anew.
func (a *asking) take(singles []*oneByOne) (taken answers) {
	taken, a.answers = a.answers, answers{}
	for _, one := range singles {
		took, missing := one.take()
		taken.machines = append(taken.machines, took...)
		taken.missing += missing
	}
	return taken
}

// remove has the clusters deleted, several at a time, since the API is slow while Machines
// are in flight. Cluster API lets one go that it no longer leaves alone.
func (a *asking) remove(ctx context.Context) error {
	const together = 8
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(together)
	for _, key := range a.made {
		group.Go(func() error {
			objects, err := a.objectsOf(key)
			if err != nil {
				return err
			}
			for _, o := range objects {
				if err := client.IgnoreNotFound(a.Site.Admin.Delete(ctx, &o)); err != nil {
					return err
				}
				if o.GetKind() != "Cluster" {
					continue
				}
				unpause := client.RawPatch(types.MergePatchType, []byte(`{"spec":{"paused":false}}`))
				if err := client.IgnoreNotFound(a.Site.Admin.Patch(ctx, &o, unpause)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	a.leaving = append(a.leaving, a.made...)
	a.made = nil
	return group.Wait()
}
