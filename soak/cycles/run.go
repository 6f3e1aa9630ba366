package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemento.cloud/cluster-api-provider-elemento/e2e/suite"
	"elemento.cloud/cluster-api-provider-elemento/e2e/world"
	fakehistory "elemento.cloud/cluster-api-provider-elemento/fakeatomos/history"
	"elemento.cloud/cluster-api-provider-elemento/reports"
	"elemento.cloud/cluster-api-provider-elemento/soak/history"
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
	stop := r.record(ctx)
	defer stop()
	r3.Step("what there is before the first cluster", func() { r.begin(ctx) })
	for first := 1; first <= r.cycles; first += r.atATime {
		last := min(first+r.atATime-1, r.cycles)
		r3.Step(fmt.Sprintf("cycles %d to %d", first, last), func() { r.round(ctx, first, last) })
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

// validate has the validators judge the history.
func (r *run) validate(r3 *reports.Examination) {
	results, err := validate.Run(r.site.Dir, validate.All(validate.Limits{})...)
	Expect(err).NotTo(HaveOccurred())
	r3.Validator(watch.ForReport(results)...)
}

// tidy removes what a round that failed has left.
func (r *run) tidy(ctx SpecContext) {
	for _, c := range r.going {
		c.Delete(ctx, r.site.Admin)
	}
}
