package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/sync/errgroup"

	"elemento.cloud/cluster-api-provider-elemento/e2e/world"
	"elemento.cloud/cluster-api-provider-elemento/reports"
)

// What every layer is asked for: a VM that boots and does nothing.
const (
	vmSlots     = 1
	vmShared    = 10 // slots that may share a hardware thread
	vmMemoryMiB = 512
	vmDiskGiB   = 10
	userData    = "#cloud-config\nruncmd: []\n"
)

// usual is how many VMs are made at a time where nothing else is said, and for which there
// are thresholds.
const usual = 8

// aVM is how long the making or the removal of one VM may take.
const aVM = 2 * time.Minute

// door is a place where VMs can be asked for: a host itself, or a layer above it.
type door interface {
	// make makes a VM and returns when it is told to run, and remove returns when it is
	// told that nothing is left.
	make(ctx context.Context, name string) error
	remove(ctx context.Context, name string) error
}

// entrance is one of the doors, from the hosts up.
type entrance struct {
	name string
	door
	// alone is how many VMs are made and removed one after the other, and several how
	// many when there are several at a time.
	alone, several int
}

// layers measures the layered path beside the direct one: the same VM, made and removed
// by C4, by a daemon, by an ElementoMachine and by a Machine, on the same hosts, one
// after the other and several at a time.
func (b *bench) layers(ctx SpecContext) {
	report := b.site.Report
	if len(b.site.World.Endpoints()) == 0 {
		Skip("the daemons are not those of this world, so that none can be asked")
	}
	before, err := b.site.Hosts.Take(ctx)
	Expect(err).NotTo(HaveOccurred())
	m := b.newMachines(ctx)
	DeferCleanup(func(ctx SpecContext) {
		Expect(m.end(ctx)).To(Succeed())
		b.site.Unchanged(ctx, before)
	})
	report.Step("a cluster of Machines that we make ourselves", func() { m.create(ctx) })
	daemon, err := b.site.World.DialDaemon(1)
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(daemon.Close)
	direct, err := b.newDirect(ctx, m.network)
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(direct.close)

	var all []throughput
	for _, e := range []entrance{
		{"C4", direct, b.sizes.vms, b.sizes.vms},
		{"daemon", newThroughDaemon(daemon, b.site.World.ClientUID(), b.domains(), specOf(world.ImageName(b.site.KubernetesVersion), m.network)), b.sizes.vms, b.sizes.vms},
		{"ElementoMachine", &throughManager{m}, b.sizes.vms / 3, b.sizes.vms / 2},
		{"Machine", &throughClusterAPI{m}, b.sizes.vms / 30, b.sizes.vms / 7}, // the pace is Cluster API's
	} {
		for _, together := range slices.Compact([]int{1, b.sizes.together}) {
			number := e.several
			if together == 1 {
				number = max(1, e.alone)
			}
			report.Step(fmt.Sprintf("%d VMs made and removed by %s, %d at a time", number, e.name, together), func() {
				all = append(all, b.through(ctx, e, number, together))
			})
		}
	}
	b.tellLayers(all)
}

// domains are those of the hosts that the daemons know, a host's for each.
func (b *bench) domains() (all []string) {
	for _, h := range b.knownHosts() {
		all = append(all, h.Domain)
	}
	return all
}

// knownHosts are those that the daemons know.
func (b *bench) knownHosts() []world.Host {
	all := b.site.World.Hosts()
	if n := b.settings.Hosts; n > 0 {
		return all[:min(n, len(all))]
	}
	return all
}

// throughput is what was measured at an entrance.
type throughput struct {
	entrance
	together      int
	made, removed []time.Duration
	// took is all of it together, and calls the C4 calls meanwhile, without those by
	// which daemons look again and again.
	took  time.Duration
	calls float64
}

// through makes and removes so many VMs at an entrance, so many at a time.
func (b *bench) through(ctx context.Context, e entrance, number, together int) throughput {
	GinkgoHelper()
	t := throughput{entrance: e, together: together}
	var mu sync.Mutex
	group, running := errgroup.WithContext(ctx)
	group.SetLimit(together)
	before := b.cost(ctx)
	began := time.Now()
	for n := range number {
		group.Go(func() error {
			name := fmt.Sprintf("%s-%d-%d", fileName(e.name), together, n+1)
			asked := time.Now()
			if err := within(running, func(ctx context.Context) error { return e.make(ctx, name) }); err != nil {
				return fmt.Errorf("making VM %s: %w", name, err)
			}
			made := time.Now()
			if err := within(running, func(ctx context.Context) error { return e.remove(ctx, name) }); err != nil {
				return fmt.Errorf("removing VM %s: %w", name, err)
			}
			mu.Lock()
			defer mu.Unlock()
			t.made, t.removed = append(t.made, made.Sub(asked)), append(t.removed, time.Since(made))
			return nil
		})
	}
	Expect(group.Wait()).To(Succeed())
	t.took = time.Since(began)
	spent := b.cost(ctx).less(before)
	t.calls = spent.calls.once()
	return t
}

func within(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, aVM)
	defer cancel()
	return do(ctx)
}

// passOverSeveral leaves out what there are thresholds for with several VMs at a time,
// where it was another number of them.
func (t *thresholds) passOverSeveral(part string, together int) {
	for _, figure := range t.unmeasured(part) {
		if together != usual && strings.Contains(figure, fmt.Sprintf(", %d at a time", usual)) {
			t.passOver(part, figure)
		}
	}
}

// tellLayers tells what each layer takes, and what it adds to the one below.
func (b *bench) tellLayers(all []throughput) {
	report := b.site.Report
	rows := [][]string{{"layer", "at a time", "VMs", "made and removed per s", "C4 calls per VM, without those that are repeated",
		"made p50 ms", "made p90 ms", "made p99 ms", "removed p50 ms", "removed p90 ms", "removed p99 ms"}}
	rates := reports.Chart{Name: "VMs made and removed by each layer", X: "at a time", Unit: "1/s"}
	below := map[string]float64{}
	for _, t := range all {
		at := fmt.Sprintf("%s, %d at a time", t.name, t.together)
		row := []string{t.name, fmt.Sprint(t.together), fmt.Sprint(len(t.made)),
			fmt.Sprintf("%.2f", float64(len(t.made))/t.took.Seconds()), fmt.Sprintf("%.1f", t.calls/float64(len(t.made)))}
		rates.Add(t.name, float64(t.together), float64(len(t.made))/t.took.Seconds())
		b.figure(report,
			reports.Figure{Name: "VMs made and removed by " + at, Value: float64(len(t.made)) / t.took.Seconds(), Unit: "1/s"},
			reports.Figure{Name: "C4 calls for a VM, without those that are repeated, by " + at, Value: t.calls / float64(len(t.made))})
		for _, of := range []struct {
			what string
			took []time.Duration
		}{{"VM made by ", t.made}, {"VM removed by ", t.removed}} {
			l := b.latency(report, of.what+at, "", of.took)
			row = append(row, fmt.Sprintf("%.3f", l.P50), fmt.Sprintf("%.3f", l.P90), fmt.Sprintf("%.3f", l.P99))
			key := fmt.Sprint(of.what, t.together)
			if p50, is := below[key]; is {
				b.figure(report, reports.Figure{Name: of.what + at + ", more than by the layer below", Value: l.P50 - p50, Unit: "ms"})
			}
			below[key] = l.P50
		}
		rows = append(rows, row)
	}
	b.thresholds.passOverSeveral(b.part, b.sizes.together)
	report.Chart(rates)
	report.Evidence(b.table("layers", rows))
}
