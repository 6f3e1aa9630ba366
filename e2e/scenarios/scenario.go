package main

import (
	"context"
	"slices"
	"time"
)

// The graces of the manager here, which are minutes where a host's return is worth
// waiting for.
const (
	unreachableGrace = 15 * time.Second
	fencingGrace     = 15 * time.Second
)

// cycle is one reconciliation cycle for the verdict, and cycles how many a
// scenario may take to converge.
const (
	cycle  = 10 * time.Minute
	cycles = 2
)

// scenario is something that goes wrong, and what must become of it.
type scenario struct {
	// name is what people call it, in lower case with dashes.
	name string
	// answers is the sentence or the complaint that it is about, and where that
	// stands.
	answers string
	// does says what happens, during what must hold all the while, and after what
	// must hold in the end.
	does, during, after string
	// on names the standing cluster that it acts on; none if it makes its own.
	on cluster
	// play does it.
	play func(context.Context, *stage)
}

// all are the scenarios, in the order in which they are played.
func all() []scenario {
	return slices.Concat(calls(), drift(), hosts(), processes(), remediations(), moves())
}
