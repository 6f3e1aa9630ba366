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
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "upstream:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	flags := flag.NewFlagSet("upstream", flag.ExitOnError)
	var o suite.Options
	atomos := suite.Trial()
	atomos.BootTime, atomos.StopTime = 0, 0
	o.Flags(flags, "out/upstream", atomos)
	only := flags.String("only", "", "run only the specs whose name contains this")
	if err := flags.Parse(args); err != nil {
		return err
	}
	chosen := slices.DeleteFunc(specs(), func(s spec) bool { return !strings.Contains(s.name, *only) })
	if len(chosen) == 0 {
		return fmt.Errorf("--only %q: no spec is called so", *only)
	}
	return suite.Run("Upstream Cluster API e2e specs", suite.Command("upstream", args), o, func(site *suite.Site) {
		Describe("Cluster API's own specs", func() {
			r := &results{site: site, left: len(chosen), chosen: chosen}
			for _, s := range chosen {
				r.describe(s)
			}
		})
	})
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

// done takes down what became of a spec, and after the last one of all others.
func (r *results) done(item reports.Item) {
	if r.c2 == nil {
		return // the suite never began
	}
	r.c2.Item(item)
	if r.left--; r.left > 0 {
		return
	}
	for _, s := range specs() {
		if !slices.ContainsFunc(r.chosen, func(c spec) bool { return c.name == s.name }) {
			r.c2.Item(reports.Item{Name: s.name, Verdict: reports.NotRun, Detail: "left out by --only"})
		}
	}
	r.c2.Item(others...)
	r.c2.Conclude()
}
