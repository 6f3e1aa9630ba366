// Live has Prometheus watch a world, makes things go wrong in it, and demands that the
// alerts that are meant for it come up, and none while nothing is wrong. What Prometheus
// had of each scenario is replayed by promtool, in which the alerts' times pass, and every
// query of the dashboards must give something.
//
//	go run ./e2e/watch/live --out out/watch-test
//	go run ./e2e/watch/live --scenarios a-host-loses-its-power
//	go run ./e2e/watch/live --record provider/config/prometheus/tests/recorded
package main

import (
	"flag"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/e2e/suite"
	"elemento.cloud/cluster-api-provider-elemento/e2e/world"
)

// interval is how often Prometheus scrapes and evaluates here.
const interval = 5 * time.Second

func main() {
	run := &run{}
	var names string
	var long bool
	suite.Program{
		Name: "watch-test", Title: "Watched by Prometheus", AtomOS: site(), OwnWorld: true,
		Flags: func(flags *flag.FlagSet) {
			flags.StringVar(&names, "scenarios", "*", "scenarios to play, as `patterns` with *, separated by commas")
			flags.BoolVar(&long, "long", false, "also play scenarios that take more than ten minutes, which otherwise are played by their names only")
			flags.StringVar(&run.record, "record", "", "`directory` in which to write what Prometheus had of each scenario, as tests of promtool, once promtool has found them right, and that of a run in which nothing is wrong where all scenarios are played; they are beside the report in any case")
		},
		Prepare: func(o *suite.Options) (err error) {
			if run.chosen, err = choose(names, long); err != nil {
				return err
			}
			if len(run.chosen) >= len(shorter()) {
				o.Dashboards = []string{"provisioning", "fleet", "daemon"}
			}
			o.World.Prometheus = &world.Prometheus{Interval: interval}
			o.World.Elemento.Proxied = true
			// Their defaults are minutes.
			o.World.Elemento.ManagerArgs = []string{"--unreachable-grace=15s", "--fencing-grace=15s"}
			return nil
		},
		Describe: run.describe,
	}.Main()
}

// site has a host for each domain.
func site() world.AtomOS {
	a := suite.Trial()
	a.BootTime, a.StopTime = time.Second, time.Second
	return a
}
