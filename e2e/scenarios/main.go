// Scenarios makes things go wrong on purpose, one thing at a time, and demands
// that everything comes right again by itself: criterion F5 of the checklist. Each
// scenario is named after what happens and can be repeated alone, with its seed.
//
//	go run ./e2e/scenarios --out out/scenarios
//	go run ./e2e/scenarios --name lost-register-reply --seed 7
//	go run ./e2e/scenarios --list
package main

import (
	"flag"
	"fmt"
	"os"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/e2e/suite"
	"elemento.cloud/cluster-api-provider-elemento/e2e/world"
)

func main() {
	var (
		names  string
		seed   uint64
		list   bool
		chosen []scenario
	)
	suite.Program{
		Name: "scenarios", Title: "Failure scenarios", AtomOS: site(), OwnWorld: true, Recorded: true,
		Variables: map[string]string{"seed": "SEED", "name": "NAME"},
		Flags: func(flags *flag.FlagSet) {
			flags.StringVar(&names, "name", "*", "scenarios to play, as `patterns` with *, separated by commas")
			flags.Uint64Var(&seed, "seed", 1, "`seed` of all random choices; each scenario draws from a source of its own")
			flags.BoolVar(&list, "list", false, "list the scenarios and end")
		},
		Prepare: func(o *suite.Options) (err error) {
			if chosen, err = choose(names); err != nil {
				return err
			}
			if list {
				for _, s := range chosen {
					fmt.Printf("%-40s %s\n", s.name, s.does)
				}
				os.Exit(0)
			}
			if len(chosen) < len(all()) {
				o.Target = "scenario" // whose report does not take the place of all
			}
			o.World.Elemento.Proxied, o.World.Respawn = true, true
			o.World.Elemento.ManagerArgs = managerArgs()
			return nil
		},
		Describe: func(site *suite.Site) {
			describe(&troupe{site: site, seed: seed, partial: len(chosen) < len(all())}, chosen)
		},
	}.Main()
}

// managerArgs are those of our manager here.
func managerArgs() []string {
	return []string{"--unreachable-grace=" + unreachableGrace.String(), "--fencing-grace=" + fencingGrace.String()}
}

// site is the AtomOS that things go wrong with: three domains of two hosts each, so
// that what a host loses has another place in its domain.
func site() world.AtomOS {
	a := suite.Trial()
	a.Hosts, a.Domains = 6, 3
	a.BootTime, a.StopTime = time.Second, time.Second
	return a
}

// choose returns the scenarios whose names match one of the patterns, each of which
// must match one.
func choose(patterns string) ([]scenario, error) {
	chosen, err := suite.Matching(patterns, all(), func(s scenario) string { return s.name })
	if err != nil {
		return nil, fmt.Errorf("--name: %w", err)
	}
	return chosen, nil
}
