package main

import (
	"context"
	"fmt"
	"iter"
	"net/http"
	"slices"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/rest"

	"elemento.cloud/cluster-api-provider-elemento/e2e/binaries"
	"elemento.cloud/cluster-api-provider-elemento/e2e/world"
	"elemento.cloud/cluster-api-provider-elemento/reports"
)

// harness is this process among the others.
const harness = "the bench itself"

// calls are all C4 calls, and repeated those of them by which daemons look again and again
// how hosts and VMs are.
type calls struct{ all, repeated float64 }

// once are those that are not repeated.
func (c calls) once() float64 { return c.all - c.repeated }

// cost is what has been used and asked for until a moment.
type cost struct {
	at time.Time
	// took is since when, where it is that of a span.
	took  time.Duration
	calls calls
	// requests are those that the API server has answered, and ours those of our
	// manager among them.
	requests, ours float64
	// grpc are the calls that the daemons have answered, and messages those that
	// their streams have sent.
	grpc, messages float64
	// loops are those of our manager.
	loops float64
	// processes have used so much processor time, in seconds, and elemento is that of our
	// manager and the daemons together.
	processes map[string]float64
	elemento  float64
	// machine is what the processors of this machine have done.
	machine world.Processors
}

// less is what has been used and asked for since.
func (c cost) less(before cost) cost {
	c.took = c.at.Sub(before.at)
	c.calls.all -= before.calls.all
	c.calls.repeated -= before.calls.repeated
	c.requests -= before.requests
	c.ours -= before.ours
	c.grpc -= before.grpc
	c.messages -= before.messages
	c.loops -= before.loops
	c.elemento -= before.elemento
	c.machine = c.machine.Since(before.machine)
	used := map[string]float64{}
	for name, seconds := range c.processes {
		used[name] = seconds - before.processes[name]
	}
	c.processes = used
	return c
}

// rate is so much, used in the span, a second.
func (c cost) rate(used float64) float64 { return used / c.took.Seconds() }

// memory is what a process has in memory, in bytes.
type memory struct {
	resident float64
	// heap is what is live in it, as the last collection of garbage has left it; 0
	// for a process that does not tell.
	heap float64
}

// daemons are the names of their processes.
func (b *bench) daemons() []string {
	var all []string
	for n := range b.site.World.Endpoints() {
		all = append(all, world.DaemonProcess(n+1))
	}
	return all
}

// processes are those of the world, as far as they can be measured: ours first.
func (b *bench) processes() []string {
	all := append([]string{world.ElementoProvider}, b.daemons()...)
	all = append(all, world.FakeProcess, binaries.ClusterAPICore, binaries.KubeadmBootstrap, binaries.KubeadmControlPlane,
		world.KubeAPIServer, world.Etcd, world.KubeControllerManager)
	return slices.DeleteFunc(all, func(name string) bool {
		return b.site.World.Process(name) == nil && b.site.World.Manager(name) == nil
	})
}

// called is a process as people call it.
func called(process string) string {
	if process == world.ElementoProvider {
		return "our manager"
	}
	return process
}

// inOrder are the processes with what is of them, in their order.
func (b *bench) inOrder(of map[string]memory) iter.Seq2[string, memory] {
	return func(yield func(string, memory) bool) {
		for _, name := range b.processes() {
			if !yield(name, of[name]) {
				return
			}
		}
	}
}

// tells says whether a process tells metrics that we can read.
func (b *bench) tells(name string) bool {
	return name == world.FakeProcess || b.site.World.Manager(name) != nil || slices.Contains(b.daemons(), name)
}

// cost is what has been used and asked for so far.
func (b *bench) cost(ctx context.Context) cost {
	GinkgoHelper()
	c := cost{processes: map[string]float64{}}
	var err error
	c.calls, c.at, err = b.calls(ctx) // at is of what is counted fastest
	Expect(err).NotTo(HaveOccurred())
	for _, name := range b.processes() {
		if !b.tells(name) {
			usage, err := b.site.World.Process(name).Usage()
			Expect(err).NotTo(HaveOccurred())
			c.processes[name] = usage.CPU.Seconds()
			continue
		}
		families, err := b.site.World.Metrics(ctx, name)
		Expect(err).NotTo(HaveOccurred())
		c.processes[name] = sum(families["process_cpu_seconds_total"])
		switch {
		case name == world.ElementoProvider:
			c.ours, c.loops = sum(families["rest_client_requests_total"]), sum(families["controller_runtime_reconcile_total"])
		case slices.Contains(b.daemons(), name):
			c.grpc += sum(families["elemento_daemon_grpc_duration_seconds"])
			c.messages += sum(families["elemento_daemon_watch_messages_total"])
		}
	}
	c.requests = b.answered(ctx)
	for _, name := range append(b.daemons(), world.ElementoProvider) {
		c.elemento += c.processes[name]
	}
	own, err := world.OwnUsage()
	Expect(err).NotTo(HaveOccurred())
	c.processes[harness] = own.CPU.Seconds()
	c.machine, err = world.ThisProcessors()
	Expect(err).NotTo(HaveOccurred())
	return c
}

// calls counts the C4 calls that the fake has had, and tells when that was.
func (b *bench) calls(ctx context.Context) (c calls, at time.Time, err error) {
	counts, err := b.site.Fake.Calls(ctx)
	at = time.Now()
	for _, of := range counts {
		for call, n := range of {
			c.all += float64(n)
			if call == "GET matcher/running" || call == "GET matcher/statusjson" {
				c.repeated += float64(n)
			}
		}
	}
	return c, at, err
}

// callRate counts the C4 calls for so long from now on. What it returns waits for that, and
// tells how many there were a second, by the slope: daemons ask all their hosts at one
// moment, of which there may be one more or one fewer between two counts.
func (b *bench) callRate(ctx context.Context, d time.Duration) (rate func() float64) {
	const every = 200 * time.Millisecond
	group, ctx := errgroup.WithContext(ctx)
	var counted []reports.XY
	group.Go(func() error {
		turn := time.NewTicker(every)
		defer turn.Stop()
		for begin := time.Now(); time.Since(begin) < d; {
			c, at, err := b.calls(ctx)
			if err != nil {
				return err
			}
			counted = append(counted, reports.XY{X: at.Sub(begin).Seconds(), Y: c.all})
			select {
			case <-turn.C:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	return func() float64 {
		GinkgoHelper()
		Expect(group.Wait()).To(Succeed())
		slope, _, known := reports.Slope(counted)
		Expect(known).To(BeTrue(), "C4 calls were counted only %d times in %s", len(counted), d)
		return slope
	}
}

// answered counts the requests that the API server has answered.
func (b *bench) answered(ctx context.Context) float64 {
	GinkgoHelper()
	config := b.site.World.Config()
	client, err := rest.HTTPClientFor(config)
	Expect(err).NotTo(HaveOccurred())
	defer client.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, config.Host+"/metrics", nil)
	Expect(err).NotTo(HaveOccurred())
	response, err := client.Do(request)
	Expect(err).NotTo(HaveOccurred())
	defer response.Body.Close()
	Expect(response.StatusCode).To(Equal(http.StatusOK), "the metrics of the API server")
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(response.Body)
	Expect(err).NotTo(HaveOccurred())
	return sum(families["apiserver_request_total"])
}

// sum adds the values of all series of a metric; of a histogram how often it was.
func sum(of *dto.MetricFamily) float64 {
	all := 0.0
	for _, m := range of.GetMetric() {
		all += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
	}
	return all
}

// looks are how often garbage is collected to know what is live in the heap of one of ours.
// What is made during a collection counts as live, and what is kept to be used again goes
// with the second one, so that the least is nearest to it.
const looks = 5

// memory is what each process has in memory. Ours and Cluster API's collect their garbage
// before.
func (b *bench) memory(ctx context.Context) map[string]memory {
	GinkgoHelper()
	all := map[string]memory{}
	for _, name := range b.processes() {
		switch {
		case !b.tells(name):
			r, err := b.site.World.Process(name).Resources()
			Expect(err).NotTo(HaveOccurred())
			all[name] = memory{resident: float64(r.ResidentMemory)}
		case name == world.ElementoProvider || slices.Contains(b.daemons(), name):
			all[name] = least(looks, func() memory { return b.collected(ctx, name) })
		default:
			all[name] = b.collected(ctx, name)
		}
	}
	return all
}

// least is the look with the least heap.
func least(looks int, look func() memory) memory {
	found := look()
	for range looks - 1 {
		if m := look(); m.heap < found.heap {
			found = m
		}
	}
	return found
}

// collected is what a process that tells has in memory after it has collected its garbage,
// as far as it does so when it is asked to.
func (b *bench) collected(ctx context.Context, name string) memory {
	GinkgoHelper()
	if name != world.FakeProcess {
		_, err := b.site.World.Profile(ctx, name, "heap", 0)
		Expect(err).NotTo(HaveOccurred())
	}
	families, err := b.site.World.Metrics(ctx, name)
	Expect(err).NotTo(HaveOccurred())
	m := memory{
		resident: sum(families["process_resident_memory_bytes"]),
		// So many percent more than is live is let into a heap before garbage is collected.
		heap: sum(families["go_memstats_next_gc_bytes"]) / (1 + sum(families["go_gc_gogc_percent"])/100),
	}
	Expect(m.resident).To(BeNumerically(">", 0), "%s does not tell its memory", name)
	return m
}

// during does nothing for so long, and returns what the world has used meanwhile.
func (b *bench) during(ctx context.Context, d time.Duration) cost {
	GinkgoHelper()
	before := b.cost(ctx)
	b.site.Pass(ctx, d)
	return b.cost(ctx).less(before)
}

// quiet waits until our manager has worked on nothing for a while.
func (b *bench) quiet(ctx context.Context) {
	GinkgoHelper()
	const still, patience = 5 * time.Second, 2 * time.Minute
	loops := func() float64 {
		families, err := b.site.World.Metrics(ctx, world.ElementoProvider)
		Expect(err).NotTo(HaveOccurred())
		return sum(families["controller_runtime_reconcile_total"])
	}
	for begin := time.Now(); time.Since(begin) < patience; {
		before := loops()
		b.site.Pass(ctx, still)
		if loops() == before {
			return
		}
	}
	Fail(fmt.Sprintf("our manager has not been at rest for %s within %s, although nothing is asked of it", still, patience))
}
