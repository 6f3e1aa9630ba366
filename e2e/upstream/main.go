// Upstream runs the specs of Cluster API's own e2e suite that apply, unchanged,
// with our provider. After each of them AtomOS must be as it was before. What there
// is of all of them is in the table (table.go), which it prints too:
//
//	go run ./e2e/upstream --out out/upstream
//	go run ./e2e/upstream --table > docs/upstream-specs.md
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"
	. "github.com/onsi/gomega"

	"elemento.cloud/cluster-api-provider-elemento/e2e/inventory"
	"elemento.cloud/cluster-api-provider-elemento/e2e/suite"
	"elemento.cloud/cluster-api-provider-elemento/e2e/world"
	"elemento.cloud/cluster-api-provider-elemento/reports"
)

// upgradeFrom is the Kubernetes version that clusters have before their upgrade.
var upgradeFrom string

func main() {
	atomos := suite.Trial()
	atomos.BootTime, atomos.StopTime = 0, 0
	r := &results{table: table()}
	var only string
	var show bool
	suite.Program{
		Name: "upstream", Title: "Upstream Cluster API e2e specs", AtomOS: atomos,
		Flags: func(flags *flag.FlagSet) {
			flags.StringVar(&only, "only", "", "run only the specs whose name contains one of these `texts`, separated by commas")
			flags.BoolVar(&show, "table", false, "print the table of all specs, as Markdown, and end")
			flags.StringVar(&upgradeFrom, "upgrade-from", world.OlderVersion, "`version` that clusters have before their upgrade to --kubernetes-version; AtomOS must have its image")
		},
		Prepare: func(o *suite.Options) error {
			if show {
				fmt.Print(page(r.table))
				os.Exit(0)
			}
			if o.World.Elemento.AtomOS.Guests == world.GuestsContainer {
				return errors.New("guests that are containers need a pod network before their nodes are Ready, and nobody gives these clusters one yet: leave out --guests (E2E_GUEST)")
			}
			o.World.Features = map[string]string{"EXP_MACHINE_TAINT_PROPAGATION": "true"}
			r.choose(only)
			if r.left == 0 {
				return fmt.Errorf("--only %q: no spec that is run is called so", only)
			}
			return nil
		},
		Describe: func(site *suite.Site) {
			r.site = site
			Describe("Cluster API's own specs", func() {
				for _, run := range r.chosen {
					r.describe(run)
				}
			})
			// Some of upstream's specs set them when they are described, for all.
			SetDefaultEventuallyTimeout(15 * time.Minute)
			SetDefaultEventuallyPollingInterval(500 * time.Millisecond)
		},
	}.Main()
}

// results gathers what became of the specs.
type results struct {
	site  *suite.Site
	table []spec
	// all is how many runs there are in the table, chosen are those that are made,
	// and left is how many are still to come.
	all, left int
	chosen    []run
	flavored  bool
	c2        *reports.Examination
}

// run is one of a spec's cases.
type run struct {
	name string
	do   func(*suite.Site)
}

// choose takes the runs whose name contains one of the texts.
func (r *results) choose(only string) {
	texts := strings.Split(only, ",")
	for _, s := range r.table {
		for _, c := range s.cases {
			r.all++
			if name := c.name(s); slices.ContainsFunc(texts, func(text string) bool { return strings.Contains(name, text) }) {
				r.chosen = append(r.chosen, run{name, c.run})
			}
		}
	}
	r.left = len(r.chosen)
}

// describe describes a spec between two looks at AtomOS.
func (r *results) describe(run run) {
	Context(run.name, func() {
		var before inventory.Inventory
		BeforeEach(func(ctx SpecContext) {
			if r.c2 == nil {
				r.c2 = r.site.Report.Begin("C2")
			}
			if !r.flavored {
				Expect(addFlavors(ctx, r.site)).To(Succeed())
				r.flavored = true
			}
			var err error
			before, err = r.site.Hosts.Take(ctx)
			Expect(err).NotTo(HaveOccurred())
		})
		// Those of the spec itself, which is nested deeper, come before this one.
		AfterEach(func(ctx SpecContext) {
			Expect(r.site.World.Err()).NotTo(HaveOccurred())
			r.site.Unchanged(ctx, before)
		})
		ReportAfterEach(func(report SpecReport) {
			item := reports.Item{Name: run.name, Verdict: reports.Passed, Detail: fmt.Sprintf("%.0f s", report.RunTime.Seconds())}
			if report.State != types.SpecStatePassed {
				item.Verdict, item.Detail = reports.Failed, report.Failure.Message
			}
			r.done(item)
		})
		Context("as upstream wrote it", func() { run.do(r.site) })
	})
}

// done takes down what became of a spec, and concludes after the last one.
func (r *results) done(item reports.Item) {
	if r.c2 == nil {
		return // the suite never began
	}
	r.c2.Item(item)
	if r.left--; r.left > 0 {
		return
	}
	if len(r.chosen) < r.all {
		r.c2.Doubt(fmt.Sprintf("--only chose %d of the %d runs", len(r.chosen), r.all))
	}
	r.tellOthers()
	r.c2.Conclude()
}

// tellOthers tells of the specs that are not run, and why.
func (r *results) tellOthers() {
	count := map[standing]int{}
	for _, s := range r.table {
		count[s.standing]++
		if !s.standing.isRun() {
			r.c2.Item(reports.Item{Name: s.name, Verdict: reports.NotRun, Detail: fmt.Sprintf("%s: %s", s.standing, s.why)})
		}
	}
	for _, s := range standings {
		r.c2.Figure(reports.Figure{Name: "specs: " + string(s), Value: float64(count[s])})
	}
}
