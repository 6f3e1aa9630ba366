// Upstream runs the specs of Cluster API's own e2e suite that apply, unchanged,
// with our provider. After each of them AtomOS must be as it was before, and so must
// what Docker has of guests. What there is of all of them is in the table (table.go),
// which it prints too:
//
//	go run ./e2e/upstream --out out/upstream
//	go run ./e2e/upstream --table > docs/upstream-specs.md
//
// On real nodes, which E2E_PLANE=kind E2E_GUEST=container has it do, it runs those that
// have been seen to pass there, unless --only names others.
package main

import (
	"cmp"
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
		Name: "upstream", Title: "Upstream Cluster API e2e specs", AtomOS: atomos, PodNetwork: true,
		Flags: func(flags *flag.FlagSet) {
			flags.StringVar(&only, "only", "", "run only the specs whose name contains one of these `texts`, separated by commas; those too that have not passed on such guests yet")
			flags.BoolVar(&show, "table", false, "print the table of all specs, as Markdown, and end")
			flags.StringVar(&upgradeFrom, "upgrade-from", world.OlderVersion, "`version` that clusters have before their upgrade to --kubernetes-version; AtomOS must have its image")
		},
		Prepare: func(o *suite.Options) error {
			if show {
				fmt.Print(page(r.table))
				os.Exit(0)
			}
			o.World.Features = map[string]string{"EXP_MACHINE_TAINT_PROPAGATION": "true", "EXP_RUNTIME_SDK": "true"}
			a := &o.World.Elemento.AtomOS
			if len(a.Existing) == 0 {
				a.Images = map[string]string{world.ImageName(o.KubernetesVersion): o.KubernetesVersion, world.ImageName(upgradeFrom): upgradeFrom}
			}
			// In a pod a manager that has lost its lease is started again, as for users.
			o.World.Respawn = o.World.Plane == world.PlaneKind
			return r.choose(only, cmp.Or(o.World.Plane, world.PlaneEmbedded), cmp.Or(a.Guests, world.GuestsSimulated))
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
	site   *suite.Site
	table  []spec
	guests world.Guests
	// chosen are the runs that are made, and left is how many are still to come;
	// omitted names those that are known to pass here and are not made.
	chosen   []run
	left     int
	omitted  []string
	flavored bool
	c2       *reports.Examination
}

// run is one of a spec's cases.
type run struct {
	name string
	do   func(*suite.Site)
}

// choose takes the runs that are known to pass here, or those whose name contains one
// of the texts that only has.
func (r *results) choose(only string, plane world.Plane, guests world.Guests) error {
	r.guests = guests
	texts := strings.Split(only, ",")
	for _, s := range r.table {
		for _, c := range s.cases {
			if !c.needs.met(plane, guests) {
				continue
			}
			name, known := c.name(s), c.isKnown(guests)
			named := slices.ContainsFunc(texts, func(text string) bool { return strings.Contains(name, text) })
			switch {
			case only == "" && known || only != "" && named:
				r.chosen = append(r.chosen, run{name, c.run})
			case known:
				r.omitted = append(r.omitted, name)
			}
		}
	}
	r.left = len(r.chosen)
	if r.left == 0 {
		return fmt.Errorf("--only %q: no spec that is run on %s guests and %s is called so", only, guests, plane)
	}
	return nil
}

// describe describes a spec between two looks at AtomOS.
func (r *results) describe(run run) {
	Context(run.name, func() {
		var before inventory.Inventory
		var traces []string
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
			traces, err = r.site.World.GuestTraces(ctx)
			Expect(err).NotTo(HaveOccurred())
		})
		// Those of the spec itself, which is nested deeper, come before this one.
		AfterEach(func(ctx SpecContext) {
			Expect(r.site.World.Err()).NotTo(HaveOccurred())
			Expect(r.endsOfProcesses()).To(BeEmpty(), "processes that ended by themselves")
			r.site.Unchanged(ctx, before)
			Expect(r.site.World.GuestTraces(ctx)).To(ConsistOf(traces), "containers and volumes of guests in Docker")
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
	if len(r.omitted) > 0 {
		r.c2.Doubt("--only left out what is known to pass here: " + strings.Join(r.omitted, ", "))
	}
	r.tellOthers()
	if ends := len(r.site.World.Ends()); ends > 0 {
		r.c2.Figure(reports.Figure{Name: "managers in pods that ended, and were started again", Value: float64(ends), Command: "kubectl get pods"})
	}
	r.c2.Conclude()
}

// endsOfProcesses are those that were started again and are no managers, which on kind
// run in pods.
func (r *results) endsOfProcesses() []error {
	return slices.DeleteFunc(r.site.World.Ends(), func(err error) bool {
		var end *world.ExitError
		return errors.As(err, &end) && r.site.World.Manager(end.Name) != nil
	})
}

// tellOthers tells of the specs that are not run here, and why.
func (r *results) tellOthers() {
	count := map[standing]int{}
	for _, s := range r.table {
		is := s.standing()
		count[is]++
		if len(s.cases) == 0 {
			r.c2.Item(reports.Item{Name: s.name, Verdict: reports.NotRun, Detail: fmt.Sprintf("%s: %s", is, s.why)})
		}
		for _, c := range s.cases {
			name := c.name(s)
			if !slices.ContainsFunc(r.chosen, func(run run) bool { return run.name == name }) && !c.isKnown(r.guests) {
				r.c2.Item(reports.Item{Name: name, Verdict: reports.NotRun, Detail: fmt.Sprintf("not on %s guests: %s", r.guests, c.standing())})
			}
		}
	}
	for _, s := range standings {
		r.c2.Figure(reports.Figure{Name: "specs: " + string(s), Value: float64(count[s])})
	}
}
