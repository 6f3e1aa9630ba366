// Bench measures, in parts that share one world: what an API request takes and
// where the time of a VM goes (P1, P2), what each layer adds, what a Machine costs
// as there are more of them, and what it costs when nothing happens. What it
// demands of the figures is in thresholds.yaml.
//
//	go run ./bench --out out/bench
package main

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"elemento.cloud/cluster-api-provider-elemento/e2e/suite"
	"elemento.cloud/cluster-api-provider-elemento/e2e/world"
	"elemento.cloud/cluster-api-provider-elemento/reports"
)

// part is one of the suite, in a file of its name.
type part struct {
	name string
	// criterion is the one that examine answers; without, run answers none.
	criterion string
	// ordering says that the part has Clastix order workers of a cluster, which it shares
	// with the others that do.
	ordering bool
	// byName says that the part is run only where it is asked for.
	byName  bool
	examine func(*bench, context.Context, *reports.Examination)
	run     func(*bench, SpecContext)
}

// parts are all of them, in their order.
var parts = []part{
	{name: "stages", criterion: "P2", ordering: true, examine: (*bench).stages},
	{name: "requests", criterion: "P1", ordering: true, examine: (*bench).requests},
	{name: "layers", run: (*bench).layers},
	{name: "growth", run: (*bench).growth},
	{name: "rest", run: (*bench).rest},
	{name: "removal", run: (*bench).removal, byName: true},
}

func main() {
	b := &bench{}
	suite.Program{
		Name: "bench", Title: "Latency, throughput and cost", AtomOS: suite.Instant(), NeedsFake: true, Recorded: true,
		Variables: map[string]string{"only": "ONLY"},
		Flags: func(flags *flag.FlagSet) {
			flags.Func("only", "the `parts` to run, separated by commas, of: "+strings.Join(names(parts), ", ")+" (all but removal)", b.choose)
			b.sizes.flags(flags)
			flags.Func("growth", "the `sizes` to grow to, as machines/hosts/clusters, separated by commas (default "+thePlan+")", func(text string) (err error) {
				b.plan, err = parsePlan(text)
				return err
			})
			flags.DurationVar(&b.resting, "rest", 5*time.Minute, "how long nothing happens while hosts are asked every second; a tenth of it while they are asked every 5 seconds")
			flags.DurationVar(&b.patience, "patience", 20*time.Minute, "give up when the Machines of a size are not Running, or not gone, by then")
			flags.BoolVar(&b.profiling, "profile", false, "leave profiles of our manager and the daemons, under load, of the last size of the growth and of the rest, beside the report")
		},
		Prepare: b.prepare,
		Describe: func(site *suite.Site) {
			b.site = site
			Describe("Bench", Ordered, ContinueOnFailure, func() {
				rest := slices.IndexFunc(b.parts, func(p part) bool { return !p.ordering })
				if rest < 0 {
					rest = len(b.parts)
				}
				if rest > 0 {
					Describe("orders", Ordered, func() {
						for _, p := range b.parts[:rest] {
							b.describe(p)
						}
						AfterAll(b.endWorkers)
					})
				}
				for _, p := range b.parts[rest:] {
					b.describe(p)
				}
				BeforeAll(func() { b.machine = processors() })
				AfterAll(b.tidy)
			})
		},
	}.Main()
}

// bench is a run of the suite.
type bench struct {
	site  *suite.Site
	parts []part
	// part is the name of the one that runs.
	part       string
	thresholds *thresholds
	sizes      sizes
	// bootTime is that of the fake's VMs, where nothing else is said.
	bootTime time.Duration

	plan plan
	// crowd is how many Machines a cluster of the plan has at most.
	crowd             int
	resting, patience time.Duration
	profiling         bool
	// passing says that nothing stays of the world, so that nothing has to be removed.
	passing bool
	// settings are those of the daemons now, machine is what the processors had done before,
	// ordered is the cluster of which workers are
	// ordered, and grown is what the growth has made.
	settings world.DaemonSettings
	machine  world.Processors
	ordered  *workers
	grown    *grown
}

// choose takes the names of the parts to run. There is nothing at rest or to remove
// without growth.
func (b *bench) choose(only string) error {
	chosen := map[string]bool{}
	for _, name := range strings.Split(only, ",") {
		if !slices.Contains(names(parts), name) {
			return fmt.Errorf("there is no part %q; there are %s", name, strings.Join(names(parts), ", "))
		}
		chosen[name] = true
	}
	chosen["growth"] = chosen["growth"] || chosen["rest"] || chosen["removal"]
	b.parts = slices.DeleteFunc(slices.Clone(parts), func(p part) bool { return !chosen[p.name] })
	return nil
}

func (b *bench) prepare(o *suite.Options) (err error) {
	if err := b.sizes.check(); err != nil {
		return err
	}
	b.bootTime = o.World.Elemento.AtomOS.BootTime
	o.World.ClusterAPIQPS = suite.UnhinderedQPS
	if b.parts == nil {
		b.parts = slices.DeleteFunc(slices.Clone(parts), func(p part) bool { return p.byName })
	}
	b.passing = (o.World.Plane == "" || o.World.Plane == world.PlaneEmbedded) && len(o.World.Elemento.Existing) == 0
	if err := b.prepareGrowth(o); err != nil {
		return err
	}
	if b.thresholds, err = readThresholds(thresholdsFile, names(parts)); err != nil {
		return err
	}
	b.thresholds.lifted = o.World.QuickReconciles
	return nil
}

// describe makes a part the next spec.
func (b *bench) describe(p part) {
	if p.criterion != "" {
		b.site.Criterion(p.criterion, func(ctx context.Context, e *reports.Examination) {
			before := processors()
			p.answer(b, ctx, e)
			b.figure(e, withheld(processors().Since(before)))
			b.allMeasured()
		})
		return
	}
	It(p.name, func(ctx SpecContext) {
		b.part = p.name
		p.run(b, ctx)
		b.allMeasured()
	})
}

// answer examines the part's criterion, which stays unknown where figures are not
// comparable: no threshold is looked at then.
func (p part) answer(b *bench, ctx context.Context, e *reports.Examination) {
	if b.thresholds.lifted {
		e.Doubt("--quick lifts Cluster API's pace: these figures are not comparable")
	}
	b.part = p.name
	p.examine(b, ctx, e)
}

// allMeasured demands of a part that has come to its end that it has measured all
// that there are thresholds for.
func (b *bench) allMeasured() {
	Expect(b.thresholds.unmeasured(b.part)).To(BeEmpty(), "thresholds.yaml names figures that the part %s does not measure", b.part)
}

// tidy tells which thresholds nobody looked at of the parts that run without being named,
// because a part did not run or could not tell, and removes what is left, where it would stay.
func (b *bench) tidy(ctx SpecContext) {
	n := 0
	for _, p := range parts {
		if p.byName {
			continue
		}
		for _, figure := range b.thresholds.unmeasured(p.name) {
			fmt.Fprintf(b.site.Progress(), "not measured, although there is a threshold: %s: %s\n", p.name, figure)
			n++
		}
		for _, figure := range b.thresholds.passedOver(p.name) {
			fmt.Fprintf(b.site.Progress(), "passed over, although there is a threshold, since this run cannot tell it: %s: %s\n", p.name, figure)
			n++
		}
	}
	b.site.Report.Figure(
		reports.Figure{Name: "thresholds that were not looked at", Value: float64(n)},
		withheld(processors().Since(b.machine)),
	)
	if b.grown != nil {
		if !b.passing {
			b.deleteAll(ctx)
		}
		Expect(b.endGrowth()).To(Succeed())
	}
}

func processors() world.Processors {
	GinkgoHelper()
	p, err := world.ThisProcessors()
	Expect(err).NotTo(HaveOccurred())
	return p
}

// withheld tells how far a machine was its own: where the hypervisor has others go first,
// times are those of its neighbors too.
func withheld(machine world.Processors) reports.Figure {
	return reports.Figure{
		Name:  "of the time with work, what the hypervisor withheld from this machine's processors",
		Value: 100 * machine.Withheld(), Unit: "%",
	}
}

func names(of []part) []string {
	var all []string
	for _, p := range of {
		all = append(all, p.name)
	}
	return all
}
