package main

import (
	"flag"
	"fmt"
)

// sizes are how much is measured.
type sizes struct {
	// requests are of each kind, at rest, and orders those of a Machine each; machines are
	// those of Clastix's requests that are followed, atATime of them for a request.
	requests, orders, machines, atATime int
	// inFlight are the Machines that are under way while requests are measured under
	// load.
	inFlight int
	// vms are made and removed by each layer, several at a time.
	vms, together int
}

func (s *sizes) flags(flags *flag.FlagSet) {
	flags.IntVar(&s.requests, "requests", 40, "`number` of API requests of each kind to measure at rest; half of it under load at most")
	flags.IntVar(&s.orders, "orders", 30, "`number` of Machines to order one by one at rest")
	flags.IntVar(&s.inFlight, "in-flight", 200, "`number` of Machines that are being made while API requests are measured under load")
	flags.IntVar(&s.machines, "machines", 30, "`number` of Machines to follow through all stages")
	flags.IntVar(&s.atATime, "at-a-time", 3, "`number` of those to make at a time; twice as many are deleted at a time")
	flags.IntVar(&s.vms, "vms", 120, "`number` of VMs that each layer makes and removes, several at a time")
	flags.IntVar(&s.together, "together", usual, "`number` of those at a time")
}

func (s *sizes) check() error {
	if s.requests < 2 || s.orders < 1 || s.inFlight < 1 || s.atATime < 1 || s.machines < s.atATime || s.together < 1 || s.vms < s.together {
		return fmt.Errorf("--requests %d --orders %d --in-flight %d --machines %d --at-a-time %d --vms %d --together %d: at least two requests, and otherwise at least one of each and not fewer than at a time",
			s.requests, s.orders, s.inFlight, s.machines, s.atATime, s.vms, s.together)
	}
	return nil
}
