// Cycles makes and deletes whole clusters, a few at a time, and looks after each
// round for what is left: on AtomOS, in Kubernetes, and in our processes. It answers
// criterion R3.
//
//	go run ./soak/cycles --cycles 50 --out out/cycles
package main

import (
	"flag"
	"fmt"

	. "github.com/onsi/ginkgo/v2"

	"elemento.cloud/cluster-api-provider-elemento/e2e/suite"
)

func main() {
	r := &run{}
	suite.Program{
		Name: "cycles", Title: "Clusters that come and go", AtomOS: suite.Instant(), OwnWorld: true, Recorded: true,
		Flags: func(flags *flag.FlagSet) {
			flags.IntVar(&r.cycles, "cycles", 50, "`number` of clusters to make and delete")
			flags.IntVar(&r.atATime, "at-a-time", 3, "`number` of clusters to make and delete at a time; resources are measured when none is there")
			flags.IntVar(&r.warmUp, "warm-up", 9, "`number` of cycles after which growth is looked for")
		},
		Prepare: func(*suite.Options) error {
			if r.cycles < 1 || r.atATime < 1 || r.atATime > suite.Networks || r.warmUp < 0 {
				return fmt.Errorf("--cycles %d --at-a-time %d --warm-up %d: at least one cycle, one to %d at a time, and no negative number to warm up",
					r.cycles, r.atATime, r.warmUp, suite.Networks)
			}
			return nil
		},
		Describe: func(site *suite.Site) {
			r.site = site
			Describe("Clusters", Ordered, func() {
				site.Criterion("R3", r.examine)
				AfterAll(r.tidy)
			})
		},
	}.Main()
}
