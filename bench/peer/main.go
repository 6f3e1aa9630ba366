// Peer measures our provider beside another one, in one run and on one management
// plane: the provider by which Cluster API tests itself, whose machines are in memory.
// Both make the same clusters by the same templates, but for the kinds of the
// infrastructure, and take turns. The peer has no wires to cross: its machines are
// objects in its manager. What is demanded of the ratios is in thresholds.yaml.
//
//	go run ./bench/peer --out out/bench-peer
package main

import (
	"errors"
	"flag"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/client-go/dynamic"

	"elemento.cloud/cluster-api-provider-elemento/e2e/suite"
	"elemento.cloud/cluster-api-provider-elemento/e2e/world"
	"elemento.cloud/cluster-api-provider-elemento/reports"
)

func main() {
	c := &comparison{workers: []int{100, 300}}
	suite.Program{
		Name: "bench-peer", Title: "Beside a peer", AtomOS: suite.Instant(), NeedsFake: true,
		Flags: func(flags *flag.FlagSet) {
			flags.IntVar(&c.rounds, "rounds", 2, "how `often` each of the two has its turn")
			flags.IntVar(&c.size, "size", 3, "`number` of control planes and of workers of the small cluster, and by how many workers it is scaled")
			flags.Func("workers", "`numbers` of workers that the big cluster is scaled to, one after the other and before none, separated by commas; empty for no big cluster (100,300)", c.scale)
			flags.DurationVar(&c.patience, "patience", 20*time.Minute, "give up when a phase lasts longer")
		},
		Prepare: c.prepare,
		Describe: func(site *suite.Site) {
			c.site = site
			Describe("Two providers", Ordered, func() {
				It("make the same clusters", c.compare)
				AfterAll(func() {
					if c.engine != nil {
						Expect(c.engine.close()).To(Succeed())
					}
				})
			})
		},
	}.Main()
}

// comparison is a run of the suite.
type comparison struct {
	site         *suite.Site
	rounds, size int
	workers      []int
	patience     time.Duration
	// quick says that Cluster API keeps no pace, and neither does the peer.
	quick   bool
	limits  limits
	watches dynamic.Interface
	engine  *engine
}

// scale takes the numbers of workers of the big cluster.
func (c *comparison) scale(numbers string) error {
	c.workers = nil
	if numbers == "" {
		return nil
	}
	most := 0
	for _, text := range strings.Split(numbers, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n <= most {
			return fmt.Errorf("%q is no number of workers that is above %d", text, most)
		}
		c.workers, most = append(c.workers, n), n
	}
	return nil
}

func (c *comparison) prepare(o *suite.Options) (err error) {
	if c.rounds < 1 || c.size < 1 {
		return fmt.Errorf("--rounds %d --size %d: at least one of each", c.rounds, c.size)
	}
	if plane := o.World.Plane; plane != "" && plane != world.PlaneEmbedded {
		return errors.New("the peer is measured as a process beside ours, on an embedded plane: leave out --plane (E2E_PLANE) and --kubeconfig (E2E_KUBECONFIG)")
	}
	if len(o.World.Elemento.Existing) > 0 {
		return errors.New("machines in memory are measured beside VMs that take no time: leave out --atomos (E2E_ATOMOS)")
	}
	c.quick = o.World.QuickReconciles
	o.World.ClusterAPIQPS = suite.UnhinderedQPS
	c.limits, err = readLimits(limitsFile)
	return err
}

// plan is what one turn does: a cluster is made, scaled and deleted.
type plan struct {
	name          string
	controlPlanes int
	// workers are those that the cluster has, one number after the other, the first
	// of them when it is made.
	workers []int
	// whole says that the making and the deletion of it count too.
	whole bool
}

// plans are those of each round.
func (c *comparison) plans() []plan {
	plans := []plan{{name: "small", controlPlanes: c.size, workers: []int{c.size, 2 * c.size, c.size}, whole: true}}
	if len(c.workers) > 0 {
		plans = append(plans, plan{name: "big", controlPlanes: 1, workers: slices.Concat([]int{0}, c.workers, []int{0})})
	}
	return plans
}

func (c *comparison) compare(ctx SpecContext) {
	report := c.site.Report
	report.Step("the peer", func() { c.install(ctx) })
	var err error
	c.watches, err = dynamic.NewForConfig(c.site.World.Config())
	Expect(err).NotTo(HaveOccurred())

	// What a process does once only, such as learning of kinds, is in nobody's figures.
	warm := plan{name: "warm", controlPlanes: 1, workers: []int{1, 0}}
	var samples []sample
	for round := range c.rounds + 1 {
		plans := c.plans()
		if round == 0 {
			plans = []plan{warm}
		}
		for _, p := range plans {
			for _, s := range sides {
				name := fmt.Sprintf("round %d, the %s cluster, %s", round, p.name, s.name)
				if round == 0 {
					name = "a first cluster that does not count, " + s.name
				}
				report.Step(name, func() {
					taken := c.turn(ctx, round, s, p)
					if round > 0 {
						samples = append(samples, taken...)
					}
				})
			}
		}
	}
	c.tell(samples)
}

// tell tells what was measured.
func (c *comparison) tell(samples []sample) {
	report := c.site.Report
	path, err := keep(c.site.Dir, samples)
	Expect(err).NotTo(HaveOccurred())
	report.Evidence(reports.Evidence{Title: "all samples", Path: path})
	ratios, err := compared(samples)
	Expect(err).NotTo(HaveOccurred())
	for _, r := range ratios {
		if r.stage != "" {
			report.Latency(r.ours, r.peers)
		}
	}
	report.Figure(figures(ratios, c.limits, c.site.Comparable())...)
	fmt.Fprint(c.site.Progress(), table(ratios))
}
