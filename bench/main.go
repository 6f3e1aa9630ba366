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
	"elemento.cloud/cluster-api-provider-elemento/reports"
)

// part is one of the suite, in a file of its name.
type part struct {
	name string
	// criterion is the one that examine answers; without, run answers none.
	criterion string
	examine   func(*bench, context.Context, *reports.Examination)
	run       func(*bench, SpecContext)
}

// parts are all of them, in their order.
var parts = []part{
	{name: "requests", criterion: "P1", examine: (*bench).requests},
	{name: "stages", criterion: "P2", examine: (*bench).stages},
	{name: "layers", run: (*bench).layers},
	{name: "growth", run: (*bench).growth},
	{name: "rest", run: (*bench).rest},
}

func main() {
	b := &bench{}
	suite.Program{
		Name: "bench", Title: "Latency, throughput and cost", AtomOS: suite.Instant(), NeedsFake: true, Recorded: true,
		Variables: map[string]string{"only": "ONLY"},
		Flags: func(flags *flag.FlagSet) {
			flags.Func("only", "the `parts` to run, separated by commas, of: "+strings.Join(names(parts), ", "), b.choose)
			b.sizes.flags(flags)
		},
		Prepare: b.prepare,
		Describe: func(site *suite.Site) {
			b.site = site
			Describe("Bench", Ordered, ContinueOnFailure, func() {
				for _, p := range b.parts {
					b.describe(p)
				}
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
}

// choose takes the names of the parts to run.
func (b *bench) choose(only string) error {
	b.parts = nil
	for _, name := range strings.Split(only, ",") {
		if !slices.Contains(names(parts), name) {
			return fmt.Errorf("there is no part %q; there are %s", name, strings.Join(names(parts), ", "))
		}
	}
	for _, p := range parts {
		if slices.Contains(strings.Split(only, ","), p.name) {
			b.parts = append(b.parts, p)
		}
	}
	return nil
}

func (b *bench) prepare(o *suite.Options) (err error) {
	if err := b.sizes.check(); err != nil {
		return err
	}
	b.bootTime = o.World.Elemento.AtomOS.BootTime
	if b.parts == nil {
		b.parts = parts
	}
	b.thresholds, err = readThresholds(thresholdsFile, names(parts))
	return err
}

// describe makes a part the next spec.
func (b *bench) describe(p part) {
	if p.criterion != "" {
		b.site.Criterion(p.criterion, func(ctx context.Context, e *reports.Examination) {
			b.part = p.name
			p.examine(b, ctx, e)
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

// allMeasured demands of a part that has come to its end that it has measured all
// that there are thresholds for.
func (b *bench) allMeasured() {
	Expect(b.thresholds.unmeasured(b.part)).To(BeEmpty(), "thresholds.yaml names figures that the part %s does not measure", b.part)
}

// tidy tells which thresholds nobody looked at.
func (b *bench) tidy(ctx SpecContext) {
	n := 0
	for _, name := range names(parts) {
		for _, figure := range b.thresholds.unmeasured(name) {
			fmt.Fprintf(b.site.Progress(), "not measured, although there is a threshold: %s: %s\n", name, figure)
			n++
		}
	}
	b.site.Report.Figure(reports.Figure{Name: "thresholds that were not looked at", Value: float64(n)})
}

func names(of []part) []string {
	var all []string
	for _, p := range of {
		all = append(all, p.name)
	}
	return all
}
