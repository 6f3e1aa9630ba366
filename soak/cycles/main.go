// Cycles makes and deletes whole clusters, one after the other, and looks after
// each of them for what is left: on AtomOS, in Kubernetes, and in our processes. It
// answers criterion R3.
//
//	go run ./soak/cycles --cycles 50 --out out/cycles
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"

	. "github.com/onsi/ginkgo/v2"

	"elemento.cloud/cluster-api-provider-elemento/e2e/suite"
	"elemento.cloud/cluster-api-provider-elemento/soak/history"
)

func main() {
	r := &run{}
	suite.Program{
		Name: "cycles", Title: "Clusters that come and go", AtomOS: suite.Instant(),
		Flags: func(flags *flag.FlagSet) {
			flags.IntVar(&r.cycles, "cycles", 50, "`number` of clusters to make and delete")
			flags.IntVar(&r.warmUp, "warm-up", 10, "`number` of cycles after which growth is looked for")
		},
		Prepare: func(o *suite.Options) error {
			if r.cycles < 1 || r.warmUp < 0 {
				return fmt.Errorf("--cycles %d --warm-up %d: at least one cycle, and no negative numbers", r.cycles, r.warmUp)
			}
			if o.World.Kubeconfig != "" || len(o.World.Elemento.Existing) > 0 {
				return fmt.Errorf("the resources of processes are known of those only that this program starts: leave out --kubeconfig and --atomos")
			}
			// Nothing that is measured here depends on the pace of Cluster API.
			o.World.QuickReconciles = true
			o.World.History = filepath.Join(o.Out, history.Dir)
			if err := os.RemoveAll(o.World.History); err != nil {
				return fmt.Errorf("removing the history of an earlier run: %w", err)
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
