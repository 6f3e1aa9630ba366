// Upstream runs specs of Cluster API's own e2e suite, unchanged, with our
// provider: QuickStart (default flavor and ClusterClass), MachineDeploymentScale,
// ClusterDeletion and ClusterClassChanges. After each of them AtomOS must be as
// it was before.
//
//	go run ./e2e/upstream --out out/upstream
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"
	. "github.com/onsi/gomega"

	"elemento.cloud/cluster-api-provider-elemento/e2e/inventory"
	"elemento.cloud/cluster-api-provider-elemento/e2e/suite"
	"elemento.cloud/cluster-api-provider-elemento/reports"
)

func main() {
	atomos := suite.Trial()
	atomos.BootTime, atomos.StopTime = 0, 0
	r := &results{}
	var only string
	suite.Program{
		Name: "upstream", Title: "Upstream Cluster API e2e specs", AtomOS: atomos,
		Flags: func(flags *flag.FlagSet) {
			flags.StringVar(&only, "only", "", "run only the specs whose name contains this")
		},
		Prepare: func(*suite.Options) error {
			r.chosen = slices.DeleteFunc(specs(), func(s spec) bool { return !strings.Contains(s.name, only) })
			if len(r.chosen) == 0 {
				return fmt.Errorf("--only %q: no spec is called so", only)
			}
			r.left = len(r.chosen)
			return nil
		},
		Describe: func(site *suite.Site) {
			r.site = site
			Describe("Cluster API's own specs", func() {
				for _, s := range r.chosen {
					r.describe(s)
				}
			})
		},
	}.Main()
}

// results gathers what became of the specs.
type results struct {
	site   *suite.Site
	chosen []spec
	left   int
	c2     *reports.Examination
}

// describe describes a spec between two looks at AtomOS.
func (r *results) describe(s spec) {
	Context(s.name, func() {
		var before inventory.Inventory
		BeforeEach(func(ctx SpecContext) {
			if r.c2 == nil {
				r.c2 = r.site.Report.Begin("C2")
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
			item := reports.Item{Name: s.name, Verdict: reports.Passed, Detail: fmt.Sprintf("%.0f s", report.RunTime.Seconds())}
			if report.State != types.SpecStatePassed {
				item.Verdict, item.Detail = reports.Failed, report.Failure.Message
			}
			r.done(item)
		})
		Context("as upstream wrote it", func() { s.run(r.site) })
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
	if all := len(specs()); len(r.chosen) < all {
		r.c2.Doubt(fmt.Sprintf("--only chose %d of the %d specs", len(r.chosen), all))
	}
	r.tellOthers()
	r.c2.Conclude()
}

// leftOut is the file that names the specs that are not run, and why.
const leftOut = "specs-left-out.txt"

// tellOthers keeps which of upstream's specs are not run.
func (r *results) tellOthers() {
	var text strings.Builder
	untried := 0
	for _, o := range others {
		fmt.Fprintf(&text, "%s: %s\n", o.name, o.why)
		if o.untried {
			untried++
		}
	}
	Expect(os.WriteFile(filepath.Join(r.site.Dir, leftOut), []byte(text.String()), 0o644)).To(Succeed())
	r.c2.Figure(
		reports.Figure{Name: "specs run", Value: float64(len(r.chosen))},
		reports.Figure{Name: "specs that do not apply to this target", Value: float64(len(others) - untried)},
		reports.Figure{Name: "specs that may apply and were not tried yet", Value: float64(untried)},
	)
	r.c2.Evidence(reports.Evidence{Title: "specs that are not run, and why", Path: leftOut})
}
