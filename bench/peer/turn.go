package main

import (
	"context"
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemento.cloud/cluster-api-provider-elemento/e2e/life"
	"elemento.cloud/cluster-api-provider-elemento/e2e/suite"
)

// owner is who applies the manifests.
const owner = "bench-peer"

// turn is what one side does of a plan, in a namespace of its own.
type turn struct {
	*comparison
	round   int
	side    side
	cluster *suite.Cluster
	lives   *life.Recorder
	samples []sample
}

// turn has one side do what is planned, and returns what it took. Nothing is left of the
// cluster then.
func (c *comparison) turn(ctx context.Context, round int, s side, p plan) []sample {
	GinkgoHelper()
	atomOS, err := c.site.Hosts.Take(ctx)
	Expect(err).NotTo(HaveOccurred())
	t := &turn{comparison: c, round: round, side: s, cluster: &suite.Cluster{
		Site: c.site, ControlPlanes: p.controlPlanes,
		Key: client.ObjectKey{Namespace: c.site.Namespace(ctx, "bench"), Name: p.name},
	}}
	watching, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	lives, wait, err := life.WatchInfrastructure(watching, c.watches, t.cluster.Key.Namespace, s.machines)
	Expect(err).NotTo(HaveOccurred())
	t.lives = lives

	var objects []unstructured.Unstructured
	for i, workers := range p.workers {
		name, counts, of := fmt.Sprintf("create %d+%d", p.controlPlanes, workers), p.whole, making
		if i > 0 {
			name, counts = fmt.Sprintf("%d → %d workers", p.workers[i-1], workers), true
			if workers < p.workers[i-1] {
				of = unmaking
			}
		}
		objects = t.cluster.Generate(ctx, workers)
		Expect(s.manifest(objects)).To(Succeed())
		t.phase(ctx, name, counts, of, func() error {
			return suite.Apply(ctx, c.site.Admin, owner, objects)
		}, func() (time.Time, bool) {
			return settled(lives.Lives(), p.controlPlanes, workers)
		})
	}
	t.phase(ctx, fmt.Sprintf("delete %d+%d", p.controlPlanes, p.workers[len(p.workers)-1]), p.whole, unmaking, func() error {
		there := &clusterv1.Cluster{}
		there.Namespace, there.Name = t.cluster.Key.Namespace, t.cluster.Key.Name
		return c.site.Admin.Delete(ctx, there)
	}, func() (time.Time, bool) {
		err := c.site.Admin.Get(ctx, t.cluster.Key, &clusterv1.Cluster{})
		return time.Now(), apierrors.IsNotFound(err)
	})
	for _, o := range objects {
		Expect(client.IgnoreNotFound(c.site.Admin.Delete(ctx, &o))).To(Succeed())
	}
	cancel()
	Expect(wait()).To(Succeed())
	c.site.Unchanged(ctx, atomOS)
	return t.samples
}

// phase does something and waits until it has ended, which ended tells, and when. If it
// counts, it takes down how long it took, and a stage of the Machines of which that began in
// it.
func (t *turn) phase(ctx context.Context, name string, counts bool, of stage, do func() error, ended func() (time.Time, bool)) {
	GinkgoHelper()
	start := time.Now()
	Expect(do()).To(Succeed(), "%s, %s", name, t.side.name)
	var end time.Time
	Eventually(func(g Gomega) {
		if err := t.site.World.Err(); err != nil {
			StopTrying("a process of the world ended by itself").Wrap(err).Now()
		}
		var yes bool
		end, yes = ended()
		g.Expect(yes).To(BeTrue())
	}, t.patience, "50ms").WithContext(ctx).Should(Succeed(), "%s, %s", name, t.side.name)
	if !counts {
		return
	}
	for _, took := range append([]sample{{took: end.Sub(start)}}, taken(t.lives.Lives(), of, start)...) {
		took.round, took.side, took.phase = t.round, t.side.name, name
		t.samples = append(t.samples, took)
	}
	fmt.Fprintf(t.site.Progress(), "%s: %.1f s\n", name, end.Sub(start).Seconds())
}

// settled tells whether there are so many Machines, all of them Running and none being
// deleted, and since when.
func settled(lives []life.Life, controlPlanes, workers int) (since time.Time, yes bool) {
	for _, l := range lives {
		last, gone := l.At[life.MachineGone]
		if l.Machine == "" {
			// Cluster API makes the infrastructure first, and deletes it where it cannot make
			// the Machine.
			last, gone = l.At[life.Gone]
		}
		if !gone {
			running, is := l.At[life.Running]
			if _, leaves := l.At[life.Deleted]; !is || leaves {
				return time.Time{}, false
			}
			if last = running; l.ControlPlane {
				controlPlanes--
			} else {
				workers--
			}
		}
		if last.After(since) {
			since = last
		}
	}
	return since, controlPlanes == 0 && workers == 0
}

// stage is what the infrastructure provider does for a Machine.
type stage struct {
	name     string
	from, to life.Stage
}

// making is looked at where Machines are made, and unmaking where they are deleted. Cluster
// API makes one too many at times, and deletes it; that is no part of either.
var (
	making   = stage{"bootstrap data ready → provisioned", life.BootstrapReady, life.Provisioned}
	unmaking = stage{"infrastructure deleted → gone", life.Deleted, life.Gone}
)

// taken is a stage of all Machines of which it began since start.
func taken(lives []life.Life, of stage, start time.Time) []sample {
	var samples []sample
	for _, l := range lives {
		if took, yes := l.Took(of.from, of.to); yes && l.Machine != "" && !l.At[of.from].Before(start) {
			samples = append(samples, sample{machine: l.Machine, stage: of.name, took: took})
		}
	}
	return samples
}
