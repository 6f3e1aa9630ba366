package main

import (
	"context"
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemento.cloud/cluster-api-provider-elemento/e2e/suite"
	"elemento.cloud/cluster-api-provider-elemento/reports"
	"elemento.cloud/cluster-api-provider-elemento/soak/validate"
	"elemento.cloud/cluster-api-provider-elemento/soak/watch"
)

// run is one run of the program.
type run struct {
	site                    *suite.Site
	cycles, atATime, warmUp int

	namespace string
	processes []string
	// baseline is what there was before the first cluster, and what has been found
	// to be left since: it is told once.
	baseline state
	// going are the clusters of the round that goes on.
	going            []*cluster
	created, deleted []time.Duration
	samples          []sample
	leaked           []string
}

func (r *run) examine(ctx context.Context, r3 *reports.Examination) {
	watched, err := watch.Begin(ctx, r.site, validate.Limits{}, nil)
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func() error { _, err := watched.End(); return err })
	r3.Step("what there is before the first cluster", func() { r.begin(ctx) })
	for first := 1; first <= r.cycles; first += r.atATime {
		last := min(first+r.atATime-1, r.cycles)
		r3.Step(fmt.Sprintf("cycles %d to %d", first, last), func() { r.round(ctx, first, last) })
	}
	r3.Step("the namespace can go: no finalizer is left", func() { r.removeNamespace(ctx) })
	r.judge(r3)
	r3.Step("the history judged", func() {
		results, err := watched.End()
		Expect(err).NotTo(HaveOccurred())
		watch.Tell(r3, results)
	})
}

func (r *run) begin(ctx context.Context) {
	r.processes = watch.Processes(r.site.World)
	r.namespace = r.site.Namespace(ctx, "cycles")
	r.sample(ctx, 0)
	var err error
	r.baseline, err = r.look(ctx)
	Expect(err).NotTo(HaveOccurred())
}

func (r *run) sample(ctx context.Context, cycle int) {
	for _, process := range r.processes {
		s, err := r.take(ctx, process, cycle)
		Expect(err).NotTo(HaveOccurred())
		r.samples = append(r.samples, s)
	}
}

func (r *run) removeNamespace(ctx context.Context) {
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: r.namespace}}
	Expect(r.site.Admin.Delete(ctx, namespace)).To(Succeed())
	Eventually(func() error {
		return r.site.Admin.Get(ctx, client.ObjectKeyFromObject(namespace), namespace)
	}, suite.Long, suite.Often).WithContext(ctx).Should(MatchError(apierrors.IsNotFound, "IsNotFound"))
	r.namespace = ""
}

// tidy removes what a round that failed has left.
func (r *run) tidy(ctx SpecContext) {
	for _, c := range r.going {
		c.Delete(ctx, r.site.Admin)
	}
}
