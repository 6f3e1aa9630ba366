package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemento.cloud/cluster-api-provider-elemento/e2e/inventory"
	"elemento.cloud/cluster-api-provider-elemento/e2e/life"
	"elemento.cloud/cluster-api-provider-elemento/e2e/suite"
	"elemento.cloud/cluster-api-provider-elemento/e2e/world"
	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
	"elemento.cloud/cluster-api-provider-elemento/reports"
)

// How long nothing happens at each size while C4 calls are counted, and how often it is
// looked at memory meanwhile.
const (
	window   = 6 * time.Second
	memories = 2
)

// telling are the Machines from which on a heap tells of them: those of few are lost in
// what a process has in memory anyway. What so many more cost tells what 1,000 more would.
const telling = 300

// The names of figures that thresholds are for.
const (
	callsAtRest      = "C4 calls at rest, for each host, client UUID and daemon"
	moreCallsAtRest  = callsAtRest + ": more with 1,000 VMs more"
	timeForMachine   = "time for each Machine, at the last size"
	ourRequests      = "API requests of our manager for each Machine, at the last size"
	callsForMachine  = "C4 calls for each Machine, without those that are repeated, at the last size"
	ourTimeOfMachine = "processor time of manager and daemons for each Machine, at the last size"
	heapOfMachine    = "live heap of manager and daemons at rest for each Machine"
	steeperHeap      = "live heap of manager and daemons at rest for each Machine: how much more of it at last, while hosts stay as many"
)

// grown is what the growth has made, and what it has measured on the way.
type grown struct {
	// before is what there was on AtomOS.
	before    inventory.Inventory
	namespace string
	clusters  []*suite.Cluster
	networks  []string
	// in are the Machines of each cluster.
	in []int

	lives *life.Recorder
	// end ends the watch of the lives, and says what went wrong with it.
	end func() error
	// whole says that it has come to its end.
	whole bool
	// counted are the Machines whose lives were told at a size.
	counted map[string]bool

	time, share, processor, withheld, resident, heap, asked, calls, even reports.Chart
	// callsAtRest are the C4 calls a second for each host, client UUID and daemon, and
	// heaps and bodies the live heap and the memory of each process in KiB: by the
	// number of Machines. callRate is that of all C4 calls at the last size.
	callsAtRest   []reports.XY
	callRate      float64
	heaps, bodies map[string][]reports.XY
}

// prepareGrowth takes the plan, and has the fake have the hosts that it needs, of which
// the daemons know as many at first as --hosts says.
func (b *bench) prepareGrowth(o *suite.Options) error {
	if b.plan == nil {
		b.plan, _ = parsePlan(thePlan) // a test has seen that it is one
	}
	if b.resting <= 0 || b.patience <= 0 {
		return fmt.Errorf("--rest %s --patience %s: both take time", b.resting, b.patience)
	}
	most := 0
	var in []int
	for _, s := range b.plan {
		in, _ = spread(in, s) // as it was parsed
		most = max(most, slices.Max(in))
	}
	b.crowd = most
	if err := room(guestBits, b.plan.last().clusters, most); err != nil {
		return fmt.Errorf("--growth: %w", err)
	}
	e := o.World.Elemento
	b.settings = world.DaemonSettings{Hosts: e.Hosts, Profiled: true}
	e.DaemonSettings = b.settings
	if e.Domains == e.Hosts {
		e.Domains = 0 // as many as there are
	}
	if len(e.Existing) == 0 {
		e.Hosts = max(e.Hosts, b.plan.last().hosts)
	}
	return nil
}

// growth measures what a Machine costs as there are more of them.
func (b *bench) growth(ctx SpecContext) {
	g := &grown{
		counted: map[string]bool{}, heaps: map[string][]reports.XY{}, bodies: map[string][]reports.XY{},
		time:      reports.Chart{Name: "Time for each new Machine", X: "Machines", Unit: "ms"},
		share:     reports.Chart{Name: "Of each new Machine's life, the median and p90", X: "Machines", Unit: "s"},
		processor: reports.Chart{Name: "Processor time for each new Machine", X: "Machines", Unit: "ms"},
		withheld:  reports.Chart{Name: "Of the time with work, what the hypervisor withheld from this machine's processors", X: "Machines", Unit: "%"},
		resident:  reports.Chart{Name: "Memory at rest", X: "Machines", Unit: "MiB"},
		heap:      reports.Chart{Name: "Live heap at rest", X: "Machines", Unit: "MiB"},
		asked:     reports.Chart{Name: "Requests for each new Machine", X: "Machines"},
		calls:     reports.Chart{Name: "C4 calls at rest", X: "hosts × client UUIDs × daemons", Unit: "1/s"},
		even:      reports.Chart{Name: callsAtRest, X: "Machines", Unit: "1/s"},
	}
	b.grown = g
	var err error
	g.before, err = b.site.Hosts.Take(ctx)
	Expect(err).NotTo(HaveOccurred())
	g.namespace = b.site.Namespace(ctx, "growth")
	g.networks, err = networks(b.site.World.GuestNetwork(), b.plan.last().clusters, b.crowd)
	Expect(err).NotTo(HaveOccurred())

	c, err := dynamic.NewForConfig(b.site.World.Config())
	Expect(err).NotTo(HaveOccurred())
	watching, cancel := context.WithCancel(context.WithoutCancel(ctx))
	lives, wait, err := life.Watch(watching, c, g.namespace)
	if err != nil {
		cancel()
	}
	Expect(err).NotTo(HaveOccurred())
	g.lives, g.end = lives, func() error { cancel(); return wait() }

	for i, s := range b.plan {
		b.grow(ctx, s, i == len(b.plan)-1)
		b.atRest(ctx, s)
	}
	b.moreClients(ctx, b.plan.last())
	b.fewerDaemons(ctx, b.plan.last())
	b.tellGrowth()
	g.whole = true
}

// grow makes the next size of what there is.
func (b *bench) grow(ctx context.Context, s size, last bool) {
	g, report := b.grown, b.site.Report
	report.Step("the daemons know "+several(s.hosts, "host"), func() { b.know(ctx, s.hosts) })
	had := 0
	for _, n := range g.in {
		had += n
	}
	in, err := spread(g.in, s)
	Expect(err).NotTo(HaveOccurred())
	// What clusterctl takes to write manifests is no part of it.
	var manifests [][]unstructured.Unstructured
	for i := len(g.clusters); i < s.clusters; i++ {
		name := fmt.Sprintf("growth-%d", i+1)
		cluster := &suite.Cluster{
			Site: b.site, ControlPlanes: 1, Key: client.ObjectKey{Namespace: g.namespace, Name: name},
			Variables: map[string]string{"ELEMENTO_NETWORK_CIDR": g.networks[i]}, Patience: b.patience.String(),
		}
		manifests = append(manifests, cluster.Generate(ctx, in[i]-1))
		g.clusters = append(g.clusters, cluster)
	}
	old := len(g.clusters) - len(manifests)
	profiles := func() {}
	if last {
		profiles = b.profile(ctx, "growth", profileTime)
	}
	before := b.cost(ctx)
	report.Step(s.String()+", all Running", func() {
		for i, cluster := range g.clusters[:old] {
			if in[i] > g.in[i] {
				Expect(cluster.Scale(ctx, in[i]-1)).To(Succeed())
			}
		}
		for _, objects := range manifests {
			Expect(suite.Apply(ctx, b.site.Admin, "bench", objects)).To(Succeed())
		}
		b.running(ctx, s.machines)
	})
	used := b.cost(ctx)
	b.site.SeeAtomOS(ctx, g.lives)
	profiles()
	g.in = in
	if made := s.machines - had; made > 0 {
		b.tellSize(s, float64(made), used.less(before), last)
	}
}

// running waits until so many Machines are Running and to stay. Cluster API may make
// one too many at times, and delete it.
func (b *bench) running(ctx context.Context, machines int) {
	GinkgoHelper()
	Eventually(func(g Gomega) {
		if err := b.site.World.Err(); err != nil {
			StopTrying("a process of the world ended by itself").Wrap(err).Now()
		}
		n := 0
		for _, l := range b.grown.lives.Lives() {
			_, yes := l.At[life.Running]
			if _, leaves := l.At[life.Deleted]; yes && !leaves {
				n++
			}
		}
		g.Expect(n).To(Equal(machines), "Machines that are Running")
	}, b.patience, "250ms").WithContext(ctx).Should(Succeed())
}

// know tells the daemons of so many hosts, and waits until all clusters that there
// are may have Machines there. Daemons of others know what they know.
func (b *bench) know(ctx context.Context, hosts int) {
	GinkgoHelper()
	if len(b.site.World.Endpoints()) == 0 {
		return
	}
	b.setDaemons(ctx, func(s *world.DaemonSettings) { s.Hosts = hosts })
	domains := map[string]bool{}
	for _, h := range b.site.World.Hosts()[:min(hosts, len(b.site.World.Hosts()))] {
		domains[h.Domain] = true
	}
	for _, c := range b.grown.clusters {
		Eventually(func(g Gomega) {
			cluster := &infrav1.ElementoCluster{}
			g.Expect(b.site.Admin.Get(ctx, c.Key, cluster)).To(Succeed())
			if len(cluster.Status.FailureDomains) < len(domains) {
				patch := client.MergeFrom(cluster.DeepCopy())
				if cluster.Annotations == nil {
					cluster.Annotations = map[string]string{}
				}
				cluster.Annotations[infrav1.ReconcileRequestedAnnotation] = time.Now().Format(time.RFC3339Nano)
				g.Expect(b.site.Admin.Patch(ctx, cluster, patch)).To(Succeed())
			}
			g.Expect(cluster.Status.FailureDomains).To(HaveLen(len(domains)), "domains of %s", c.Key.Name)
		}, suite.Long, "500ms").WithContext(ctx).Should(Succeed())
	}
}

// setDaemons changes the settings of the daemons, and waits until our manager hears
// them again.
func (b *bench) setDaemons(ctx context.Context, change func(*world.DaemonSettings)) {
	GinkgoHelper()
	before := b.settings
	change(&b.settings)
	if fmt.Sprint(before) == fmt.Sprint(b.settings) {
		return
	}
	Expect(b.site.World.SetDaemons(ctx, b.settings)).To(Succeed())
	if len(b.grown.clusters) > 0 { // else there is nothing that our manager would have streams for
		b.streamsUp(ctx)
	}
}

// streamsUp waits until our manager has a stream from each daemon.
func (b *bench) streamsUp(ctx context.Context) {
	GinkgoHelper()
	Eventually(func(g Gomega) {
		families, err := b.site.World.Metrics(ctx, world.ElementoProvider)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(sum(families["elemento_daemon_stream_up"])).To(BeNumerically("==", len(b.site.World.Endpoints())), "streams that our manager has")
	}, suite.Long, "250ms").WithContext(ctx).Should(Succeed())
}

// tellSize tells what the new Machines of a size have cost.
func (b *bench) tellSize(s size, made float64, used cost, last bool) {
	g, at := b.grown, float64(s.machines)
	each := used.took.Seconds() / made
	g.time.Add("all of them Running, by number", at, 1000*each)
	for _, name := range append(b.processes(), harness) {
		g.processor.Add(called(name), at, 1000*used.processes[name]/made)
	}
	g.withheld.Add("while they grew", at, 100*used.machine.Withheld())
	g.asked.Add("API requests, of all", at, used.requests/made)
	g.asked.Add("API requests, of our manager", at, used.ours/made)
	g.asked.Add("C4 calls", at, used.calls.all/made)
	g.asked.Add("C4 calls that are not repeated", at, used.calls.once()/made)
	g.asked.Add("gRPC calls", at, used.grpc/made)

	var lives []life.Life
	for _, l := range g.lives.Lives() {
		if !g.counted[l.Machine] {
			g.counted[l.Machine] = true
			lives = append(lives, l)
		}
	}
	for _, stage := range []struct {
		name     string
		from, to life.Stage
	}{
		{"Machine created → Running", life.Created, life.Running},
		{"bootstrap data ready → register arrives", life.BootstrapReady, life.RegisterArrived},
		{"VM running → provisioned", life.VMRunning, life.Provisioned},
	} {
		l := b.latency(b.site.Report, fmt.Sprintf("%s, %s", s, stage.name), "", life.Took(lives, stage.from, stage.to))
		g.share.Add(stage.name+", p50", at, l.P50/1000)
		g.share.Add(stage.name+", p90", at, l.P90/1000)
	}
	if last {
		b.figure(b.site.Report,
			reports.Figure{Name: "Machines", Value: at},
			reports.Figure{Name: "hosts", Value: float64(s.hosts)},
			reports.Figure{Name: "clusters", Value: float64(s.clusters)},
			reports.Figure{Name: timeForMachine, Value: each, Unit: "s"},
			reports.Figure{Name: ourRequests, Value: used.ours / made},
			reports.Figure{Name: callsForMachine, Value: used.calls.once() / made},
			reports.Figure{Name: ourTimeOfMachine, Value: 1000 * used.elemento / made, Unit: "ms"},
		)
	}
}

// atRest measures what a size costs when nothing happens.
func (b *bench) atRest(ctx context.Context, s size) {
	g, at := b.grown, float64(s.machines)
	b.site.Report.Step(s.String()+", at rest", func() {
		b.quiet(ctx)
		pairs := float64(s.hosts * max(len(b.daemons()), 1))
		rate := b.callRate(ctx, window)
		var last map[string]memory
		for range memories {
			last = b.memory(ctx)
			for name, m := range last {
				if m.heap > 0 {
					g.heaps[name] = append(g.heaps[name], reports.XY{X: at, Y: m.heap / 1024})
				}
				g.bodies[name] = append(g.bodies[name], reports.XY{X: at, Y: m.resident / 1024})
			}
		}
		for name, m := range b.inOrder(last) {
			g.resident.Add(called(name), at, m.resident/mib)
			if m.heap > 0 {
				g.heap.Add(called(name), at, m.heap/mib)
			}
		}
		g.callRate = rate()
		g.callsAtRest = append(g.callsAtRest, reports.XY{X: at, Y: g.callRate / pairs})
		g.even.Add("one client UUID", at, g.callRate/pairs)
		g.calls.Add("one client UUID", pairs, g.callRate)
	})
}

const mib = 1 << 20

// tellGrowth tells what follows from all sizes.
func (b *bench) tellGrowth() {
	g, report := b.grown, b.site.Report
	b.figure(report, reports.Figure{Name: callsAtRest, Value: mean(g.callsAtRest), Unit: "1/s"})
	slope, in, known := reports.Slope(g.callsAtRest)
	if known && b.plan.last().machines-b.plan[0].machines >= telling {
		in.Low, in.High = 1000*in.Low, 1000*in.High
		b.figure(report, reports.Figure{Name: moreCallsAtRest, Value: 1000 * slope, Unit: "1/s", Interval: &in})
	} else {
		b.thresholds.passOver(b.part, moreCallsAtRest)
	}
	if slope, in, known := reports.Slope(b.heapsAtRest()); known {
		b.figure(report, reports.Figure{Name: heapOfMachine, Value: slope, Unit: "KiB", Interval: &in})
	} else {
		b.thresholds.passOver(b.part, heapOfMachine)
	}
	if steeper, known := steepening(b.heapsAtRest(), float64(max(b.plan.alike(), telling))); known {
		b.figure(report, reports.Figure{Name: steeperHeap, Value: 100 * steeper, Unit: "%"})
	} else {
		b.thresholds.passOver(b.part, steeperHeap)
	}
	for _, name := range b.processes() {
		for _, of := range []struct {
			what   string
			points []reports.XY
		}{{"live heap", g.heaps[name]}, {"memory", g.bodies[name]}} {
			if slope, in, known := reports.Slope(of.points); known {
				b.figure(report, reports.Figure{Name: fmt.Sprintf("%s: %s at rest for each Machine", called(name), of.what), Value: slope, Unit: "KiB", Interval: &in})
			}
		}
	}
	report.Chart(g.time, g.share, g.processor, g.withheld, g.asked, g.resident, g.heap, g.even, g.calls)
}

// heapsAtRest are the live heaps of our manager and the daemons together, at each look.
func (b *bench) heapsAtRest() []reports.XY {
	together := slices.Clone(b.grown.heaps[world.ElementoProvider])
	for _, name := range b.daemons() {
		for i, p := range b.grown.heaps[name][:min(len(together), len(b.grown.heaps[name]))] {
			together[i].Y += p.Y
		}
	}
	return together
}

// steepening is how much more Y grows with X between the last two Xs than between the two
// before, as a part of how much it grows over all three: 0 for a straight line. It says
// false where there are no three Xs that are least or more, and for what has not grown.
// Of several Ys of an X the lowest counts: what is not live comes on top of what is.
func steepening(points []reports.XY, least float64) (steeper float64, known bool) {
	at := map[float64]float64{}
	for _, p := range points {
		if y, seen := at[p.X]; p.X >= least && (!seen || p.Y < y) {
			at[p.X] = p.Y
		}
	}
	xs := slices.Sorted(maps.Keys(at))
	if len(xs) < 3 {
		return 0, false
	}
	slope := func(from, to float64) float64 { return (at[to] - at[from]) / (to - from) }
	first, middle, last := xs[len(xs)-3], xs[len(xs)-2], xs[len(xs)-1]
	all := slope(first, last)
	return (slope(middle, last) - slope(first, middle)) / all, all > 0
}

func mean(of []reports.XY) float64 {
	sum := 0.0
	for _, p := range of {
		sum += p.Y
	}
	return sum / float64(max(len(of), 1))
}
