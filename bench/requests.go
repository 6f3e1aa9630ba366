package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemento.cloud/cluster-api-provider-elemento/e2e/life"
	"elemento.cloud/cluster-api-provider-elemento/e2e/suite"
	"elemento.cloud/cluster-api-provider-elemento/reports"
)

const (
	// hold is how long Machines are held in flight, at most, while requests are
	// measured, and holding how often it is looked how many they are.
	hold    = 90 * time.Second
	holding = 250 * time.Millisecond
	// upBy is by how many workers Clastix scales at rest, and ups how often.
	upBy = 10
	ups  = 3
)

// requests answers P1: how long the API takes to answer Clastix, at rest and while many
// Machines are being made. Clastix makes no Machine, but has them made; they are there
// when Cluster API has stored them.
func (b *bench) requests(ctx context.Context, p1 *reports.Examination) {
	var w *workers
	p1.Step("a cluster of one control plane", func() { w = b.workers(ctx, "requests") })
	watching, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	c, err := dynamic.NewForConfig(b.site.World.Config())
	Expect(err).NotTo(HaveOccurred())
	lives, wait, err := life.Watch(watching, c, w.Key.Namespace)
	Expect(err).NotTo(HaveOccurred())
	// count tells how many workers' Machines are there, and how many of them are Running.
	count := func() (there, running int) {
		for _, l := range lives.Lives() {
			if l.ControlPlane || l.At[life.Created].IsZero() {
				continue
			}
			there++
			if !l.At[life.Running].IsZero() {
				running++
			}
		}
		return there, running
	}
	r := b.newAsking(ctx, w)

	p1.Step("requests at rest", func() {
		for range b.sizes.requests {
			Expect(r.ask(ctx)).To(Succeed())
		}
	})
	atRest := r.take()
	p1.Step("the clusters that were asked for deleted", func() { r.remove(ctx) })
	var toMachine []time.Duration
	p1.Step(fmt.Sprintf("%d workers more, %d times", upBy, ups), func() {
		for range ups {
			toMachine = append(toMachine, b.untilMachines(ctx, w, lives, w.ordered+upBy)...)
			w.Await(ctx, w.ordered)
		}
	})

	load := &load{workers: w, want: b.sizes.inFlight}
	var toMachineUnderLoad []time.Duration
	p1.Step(fmt.Sprintf("requests while %d Machines are in flight", load.want), func() {
		Expect(load.begin(ctx)).To(Succeed())
		limit := time.Now().Add(hold)
		for n := 0; n < (b.sizes.requests+1)/2 && time.Now().Before(limit); n++ {
			Expect(load.keep(ctx, load.look(count()))).To(Succeed())
			Expect(r.ask(ctx)).To(Succeed())
		}
		load.look(count())
	})
	p1.Step("the Machines of the first order under load are there", func() {
		Eventually(func() []time.Duration {
			toMachineUnderLoad = load.untilMachines(lives)
			return toMachineUnderLoad
		}, suite.Long, holding).WithContext(ctx).Should(HaveLen(load.first), "new Machines")
	})
	underLoad := r.take()
	p1.Step("all that was asked for under load deleted", func() {
		_, _, err := w.order(ctx, 0)
		Expect(err).NotTo(HaveOccurred())
		r.remove(ctx)
	})
	cancel()
	Expect(wait()).To(Succeed())

	tell := func(when string, of answers, toMachine []time.Duration) {
		b.latency(p1, fmt.Sprintf("Clastix applies a cluster, all %d objects%s", of.objects, when), "", of.applied)
		b.latency(p1, "Clastix applies the Cluster alone"+when, "", of.cluster)
		b.latency(p1, "Clastix scales a MachineDeployment"+when, "", of.scaled)
		b.latency(p1, "Clastix scales up → a worker's Machine is there"+when, "", toMachine)
	}
	tell("", atRest, toMachine)
	tell(", under load", underLoad, toMachineUnderLoad)
	b.figure(p1,
		reports.Figure{Name: "requests measured under load", Value: float64(len(underLoad.scaled))},
		reports.Figure{Name: "Machines asked for and not Running meanwhile, least", Value: float64(slices.Min(load.flying))},
		reports.Figure{Name: "of these there, most", Value: float64(slices.Max(load.there))},
	)
}

// untilMachines has Clastix ask for so many workers, and returns how long it took until
// each of the new Machines was there.
func (b *bench) untilMachines(ctx context.Context, w *workers, lives *life.Recorder, to int) (took []time.Duration) {
	had := map[string]bool{}
	for _, l := range lives.Lives() {
		had[l.Machine] = true
	}
	more := to - w.ordered
	_, s, err := w.order(ctx, to)
	Expect(err).NotTo(HaveOccurred())
	Eventually(func() []time.Duration {
		took = nil
		for _, l := range lives.Lives() {
			if at, there := l.At[life.Created]; there && !had[l.Machine] {
				took = append(took, at.Sub(s.from))
			}
		}
		return took
	}, suite.Long, holding).WithContext(ctx).Should(HaveLen(more), "new Machines")
	return took
}

// load keeps many Machines in flight: asked for and not Running. It orders as many more
// as have come to run.
type load struct {
	*workers
	want int
	// first are the workers of the first order, which was sent at the moment sent.
	first int
	sent  time.Time
	// flying and there are how many were in flight whenever it was looked, and how many of
	// them were there.
	flying, there []int
}

// begin orders the Machines, and some more, which may come to run.
func (l *load) begin(ctx context.Context) error {
	l.first = l.want + l.want/5
	_, s, err := l.order(ctx, l.ordered+l.first)
	l.sent = s.from
	return err
}

// look takes down how many are in flight.
func (l *load) look(there, running int) (flying int) {
	flying = l.ordered - running
	l.flying, l.there = append(l.flying, flying), append(l.there, there-running)
	return flying
}

// keep orders more before those that are in flight are too few.
func (l *load) keep(ctx context.Context, flying int) error {
	if enough := l.want + l.want/10; flying < enough {
		_, _, err := l.order(ctx, l.ordered+enough-flying+l.want/20)
		return err
	}
	return nil
}

// untilMachines is how long it took until each of the Machines of the first order was
// there: those that came first.
func (l *load) untilMachines(lives *life.Recorder) (took []time.Duration) {
	for _, one := range lives.Lives() {
		if at := one.At[life.Created]; at.After(l.sent) {
			took = append(took, at.Sub(l.sent))
		}
	}
	slices.Sort(took)
	return took[:min(len(took), l.first)]
}

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
	s, err := scale(ctx, a.clastix, key, 2)
	a.scaled = append(a.scaled, s.to.Sub(s.from))
	return err
}

func (a *asking) objectsOf(key client.ObjectKey) (objects []unstructured.Unstructured, err error) {
	return objects, json.Unmarshal(bytes.ReplaceAll(a.manifest, []byte(pattern), []byte(key.Name)), &objects)
}

// take returns the answers so far, and begins anew.
func (a *asking) take() (taken answers) {
	taken, a.answers = a.answers, answers{}
	return taken
}

// remove deletes the clusters, and waits until none is there. Cluster API lets one go
// that it no longer leaves alone.
func (a *asking) remove(ctx context.Context) {
	GinkgoHelper()
	for _, key := range a.made {
		objects, err := a.objectsOf(key)
		Expect(err).NotTo(HaveOccurred())
		for _, o := range objects {
			Expect(client.IgnoreNotFound(a.Site.Admin.Delete(ctx, &o))).To(Succeed())
			if o.GetKind() == "Cluster" {
				unpause := client.RawPatch(types.MergePatchType, []byte(`{"spec":{"paused":false}}`))
				Expect(client.IgnoreNotFound(a.Site.Admin.Patch(ctx, &o, unpause))).To(Succeed())
			}
		}
	}
	for _, key := range a.made {
		of := &suite.Cluster{Site: a.Site, Key: key}
		Eventually(of.Gone, suite.Long, suite.Often).WithContext(ctx).WithArguments(ctx).Should(Succeed())
	}
	a.made = nil
}
