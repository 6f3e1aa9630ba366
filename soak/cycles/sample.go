package main

import (
	"context"
	"fmt"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/e2e/world"
	fakehistory "elemento.cloud/cluster-api-provider-elemento/fakeatomos/history"
	"elemento.cloud/cluster-api-provider-elemento/soak/history"
)

// sample is what a process holds after a cycle, with no cluster there; after cycle
// 0 there was none yet.
type sample struct {
	Cycle int `json:"cycle"`
	world.Resources
	// LiveHeap is what the last garbage collection has left, in bytes.
	LiveHeap uint64 `json:"liveHeap"`
	// Errors are failed reconcile loops by controller, of a manager.
	Errors map[string]float64 `json:"controller_runtime_reconcile_errors_total,omitempty"`

	process string
	at      time.Time
}

// garbage is how many times what is live Go lets a heap become before it collects,
// as it is set by default.
const garbage = 2

func (r *run) take(ctx context.Context, process string, cycle int) (sample, error) {
	s := sample{Cycle: cycle, process: process, at: time.Now()}
	var err error
	if s.Resources, err = r.site.World.Resources(ctx, process); err != nil {
		return s, err
	}
	families, err := r.site.World.Metrics(ctx, process)
	if err != nil {
		return s, err
	}
	next := families["go_memstats_next_gc_bytes"].GetMetric()
	if len(next) == 0 {
		return s, fmt.Errorf("%s does not tell when it collects garbage next", process)
	}
	s.LiveHeap = uint64(next[0].GetGauge().GetValue()) / garbage
	s.Errors = history.CountErrors(families)
	r.site.World.History().Add(fakehistory.Event{Time: s.at, Kind: fakehistory.Sample, Name: process, Detail: fakehistory.Detail(s)})
	return s, nil
}
