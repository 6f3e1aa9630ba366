package main

import (
	"encoding/json"
	"io"
	"testing"

	"elemento.cloud/cluster-api-provider-elemento/e2e/inventory"
	"elemento.cloud/cluster-api-provider-elemento/e2e/suite"
	"elemento.cloud/cluster-api-provider-elemento/e2e/world"
	"elemento.cloud/cluster-api-provider-elemento/reports"
)

// aRun is one of so many cycles, three at a time, after each of which the process p
// holds what hold makes of it.
func aRun(cycles int, hold func(*sample)) *run {
	r := &run{
		site: &suite.Site{Report: reports.Record("cycles", "make cycles", io.Discard)}, warmUp: 9, processes: []string{"p"},
	}
	for n := 0; n <= cycles; n += 3 {
		s := sample{Cycle: n, process: "p", LiveHeap: 7 << 20, Resources: world.Resources{
			Goroutines: 200 + n%2, OpenFiles: 15, ResidentMemory: 60 << 20, Listening: []string{"127.0.0.1:1"},
		}}
		hold(&s)
		r.samples = append(r.samples, s)
	}
	for range cycles {
		r.created, r.deleted = append(r.created, 1), append(r.deleted, 1)
	}
	return r
}

func (r *run) verdict() reports.Verdict {
	e := r.site.Report.Begin("R3")
	r.judge(e)
	e.Validator(reports.Validated("OneVM", "", 1))
	return e.Conclude()
}

func TestWhatLeaksFailsTheRun(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		run  *run
		want reports.Verdict
	}{
		"nothing":                  {aRun(51, func(*sample) {}), reports.Passed},
		"a goroutine of a cluster": {aRun(51, func(s *sample) { s.Goroutines += s.Cycle }), reports.Failed},
		"a goroutine of every fifth cluster": {
			aRun(51, func(s *sample) { s.Goroutines += s.Cycle / 5 }), reports.Failed},
		"a file":                  {aRun(51, func(s *sample) { s.OpenFiles += s.Cycle }), reports.Failed},
		"a part of the heap":      {aRun(51, func(s *sample) { s.LiveHeap += uint64(s.Cycle) << 17 }), reports.Failed},
		"memory":                  {aRun(51, func(s *sample) { s.ResidentMemory += uint64(s.Cycle) << 20 }), reports.Failed},
		"only while it warms up":  {aRun(51, func(s *sample) { s.Goroutines += min(s.Cycle, 9) }), reports.Passed},
		"nothing in a short run":  {aRun(30, func(*sample) {}), reports.Unknown},
		"nothing in three cycles": {aRun(3, func(*sample) {}), reports.Unknown},
	} {
		if got := c.run.verdict(); got != c.want {
			t.Errorf("%s: the verdict is %q, want %q", name, got, c.want)
		}
	}
	left := aRun(51, func(*sample) {})
	left.leaked = []string{"cycle 3: left on AtomOS: a volume"}
	if got := left.verdict(); got != reports.Failed {
		t.Errorf("with something left the verdict is %q", got)
	}
}

func TestEveryMeasureIsOfSomethingThatIsSampled(t *testing.T) {
	t.Parallel()
	full := sample{LiveHeap: 1 << 30, Resources: world.Resources{Goroutines: 1, OpenFiles: 1, ResidentMemory: 1 << 30, Listening: []string{"a"}}}
	for _, m := range measures {
		if m.of(full) <= m.of(sample{}) {
			t.Errorf("%s: more is not more", m.name)
		}
	}
}

func TestWhatIsLeftIsFound(t *testing.T) {
	t.Parallel()
	volume := inventory.Resource{Host: "host-1", Kind: inventory.Volume, Name: "boot", ID: "1"}
	before := state{objects: []string{"RoleBinding a"}, listening: map[string][]string{"p": {"127.0.0.1:1"}}}
	for name, c := range map[string]struct {
		now  state
		want int
	}{
		"nothing":      {before, 0},
		"a volume":     {state{inventory.Inventory{volume}, before.objects, before.listening}, 1},
		"an object":    {state{nil, []string{"RoleBinding a", "Secret b"}, before.listening}, 1},
		"one too few":  {state{nil, nil, before.listening}, 1},
		"a port":       {state{nil, before.objects, map[string][]string{"p": {"127.0.0.1:1", "127.0.0.1:2"}}}, 1},
		"all of these": {state{inventory.Inventory{volume}, []string{"Secret b"}, map[string][]string{"p": {"127.0.0.1:2"}}}, 4},
	} {
		if found := c.now.differs(before); len(found) != c.want {
			t.Errorf("%s: %d differences, want %d: %q", name, len(found), c.want, found)
		}
	}
}

func TestASampleOnDiskTellsAll(t *testing.T) {
	t.Parallel()
	text, err := json.Marshal(sample{Cycle: 3, LiveHeap: 4, Resources: world.Resources{Goroutines: 5, OpenFiles: 6}, Errors: map[string]float64{"c": 0}})
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"cycle":3,"openFiles":6,"threads":0,"residentMemory":0,"goroutines":5,"liveHeap":4,"controller_runtime_reconcile_errors_total":{"c":0}}`
	if string(text) != want {
		t.Errorf("a sample is written as %s", text)
	}
}
