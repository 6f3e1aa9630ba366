// Stability runs a workload for as long as it is told: clusters that come, are
// scaled, get new machines and go, beside one that stays. Without faults it answers
// criterion R1, which asks for 24 hours; with a plan of faults it shows that the
// invariants hold all the same.
//
//	go run ./soak/stability --duration 24h --out out/soak
//	go run ./soak/stability --duration 1h --faults soak/faults/plan.yaml --out out/soak-faults
//
// A run that was killed goes on when it is started again with the same directory:
// in another process, whose report says that it is merged. What the process that was
// killed has left is put aside there, in part-1 and so on. A day leaves about 4 GB,
// most of it the history and the audit log of the management plane.
package main

import (
	"cmp"
	"crypto/sha256"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"

	. "github.com/onsi/ginkgo/v2"

	"elemento.cloud/cluster-api-provider-elemento/e2e/suite"
	"elemento.cloud/cluster-api-provider-elemento/e2e/world"
	"elemento.cloud/cluster-api-provider-elemento/soak/faults"
)

func main() {
	s := &soak{}
	var planFile string
	var seed int64
	suite.Program{
		Name: "soak", Title: "Stability", AtomOS: site(), OwnWorld: true, Recorded: true,
		Variables: map[string]string{"duration": "DURATION", "faults": "FAULTS", "seed": "SEED"},
		Flags: func(flags *flag.FlagSet) {
			flags.DurationVar(&s.duration, "duration", 24*time.Hour, "how long to go on")
			flags.StringVar(&planFile, "faults", "", "plan `file` of what goes wrong meanwhile, such as soak/faults/plan.yaml; nothing when empty")
			flags.Int64Var(&seed, "seed", 0, "`seed` of all random choices; without, that of the plan, or 1")
			flags.IntVar(&s.lanes, "lanes", 2, "`number` of clusters that come and go at the same time")
			flags.StringVar(&s.metricsAddress, "metrics", "127.0.0.1:0", "`address` at which the progress is told as metrics")
		},
		Prepare: func(o *suite.Options) error {
			if s.duration <= 0 || s.lanes < 1 || s.lanes > 8 {
				return fmt.Errorf("--duration %s --lanes %d: some time, and 1 to 8 lanes", s.duration, s.lanes)
			}
			hash := ""
			if planFile != "" {
				var err error
				if s.plan, hash, err = readPlan(planFile); err != nil {
					return err
				}
				o.Title = "Stability with faults"
				// Much happens then, and all of it can be seen.
				o.Dashboards = []string{"soak", "provisioning", "fleet", "daemon"}
				// What is killed comes back, and so does what ends because of it.
				o.World.Elemento.Proxied, o.World.Respawn = true, true
				// Their defaults are minutes, which is long beside faults of seconds.
				o.World.Elemento.ManagerArgs = []string{"--unreachable-grace=15s", "--fencing-grace=15s"}
			}
			base := cmp.Or(seed, s.planSeed(), 1)
			var err error
			if s.checkpoint, err = resume(o.Out, settings{Duration: s.duration, Seed: base, Lanes: s.lanes, Faults: planFile, FaultsHash: hash}); err != nil {
				return err
			}
			s.seed = base + int64(len(s.checkpoint.Parts)) - 1 // another part does other things
			o.Lasts = s.checkpoint.left() + 2*patience
			return nil
		},
		Describe: func(site *suite.Site) {
			s.site = site
			site.Report.Seed(fmt.Sprint(s.seed))
			Describe("A long time", Ordered, func() {
				if s.plan == nil {
					site.Criterion("R1", s.examine)
				} else {
					It("with faults", s.endure)
				}
			})
		},
	}.Main()
}

// readPlan reads a plan of faults; hash tells its file from another one.
func readPlan(file string) (_ *faults.Plan, hash string, err error) {
	content, err := os.ReadFile(filepath.Clean(file))
	if err != nil {
		return nil, "", fmt.Errorf("--faults: %w", err)
	}
	plan, err := faults.Parse(content)
	if err != nil {
		return nil, "", fmt.Errorf("--faults %s: %w", file, err)
	}
	return &plan, fmt.Sprintf("%x", sha256.Sum256(content)), nil
}

// planSeed is that of the plan of faults, or 0.
func (s *soak) planSeed() int64 {
	if s.plan == nil {
		return 0
	}
	return s.plan.Seed
}

// site has room for all the clusters on any two of its hosts.
func site() world.AtomOS {
	a := suite.Trial()
	a.BootTime, a.StopTime = time.Second, time.Second
	return a
}
