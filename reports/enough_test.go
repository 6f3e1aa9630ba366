package reports

import (
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
	"time"
)

// gathered is what a run gathers that answers a criterion in full.
var gathered = map[string]func(*Recorder, *Examination){
	"F5": func(_ *Recorder, e *Examination) {
		for i := range 30 {
			e.Scenario(Scenario{Name: fmt.Sprintf("scenario-%d", i), Verdict: Passed, Cycles: 1})
		}
	},
	"P1": func(_ *Recorder, e *Examination) {
		for _, name := range []string{ClusterApplied, DeploymentScaled, MachineCreated} {
			e.Latency(Measure(name, make([]time.Duration, 30)))
		}
	},
	"P2": func(_ *Recorder, e *Examination) {
		e.Latency(Measure(VMRunning, make([]time.Duration, 30)), Measure(NodeReady, make([]time.Duration, 30)), Measure("one of its stages", make([]time.Duration, 3)))
	},
	"R1": func(_ *Recorder, e *Examination) {
		e.Figure(Figure{Name: Hours, Value: 24, Unit: "h"}, Figure{Name: FaultsSet}, Figure{Name: FailedReconciles})
		e.Validator(Validated("one VM", "", 7))
	},
	"R2": func(_ *Recorder, e *Examination) {
		e.Figure(Figure{Name: Iterations, Value: 100}, Share(SucceededOperations, 2997, 3000))
		e.Validator(Validated("one VM", "", 7))
	},
	"R3": func(_ *Recorder, e *Examination) {
		e.Figure(Figure{Name: ClusterCycles, Value: 50}, Figure{Name: LeakedResources})
		e.Validator(Validated("one VM", "", 7))
	},
	"C1": func(r *Recorder, e *Examination) {
		r.Describe(Environment{Guests: ContainerGuests, Commit: "0123456789ab"})
		e.Figure(Figure{Name: ConformanceTests, Value: 411}, Figure{Name: ConformanceTestsLeft}, Figure{Name: ConformanceRuns, Value: 1})
	},
}

func TestACriterionThatAsksForMuchIsPassedByAsMuch(t *testing.T) {
	t.Parallel()
	for id := range enough {
		r := Record("A run", "make it", io.Discard)
		e := r.Begin(id)
		gathered[id](r, e)
		if got := e.Conclude(); got != Passed {
			c, _ := r.Finish().Criterion(id)
			t.Errorf("%s is %s: %s", id, got, c.Explanation)
		}
	}
}

func TestACriterionThatAsksForMuchIsNotPassedByLess(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		id      string
		gather  func(*Recorder, *Examination)
		want    Verdict
		because string
	}{
		"a soak of half an hour": {"R1", func(_ *Recorder, e *Examination) {
			e.Figure(Figure{Name: Hours, Value: .5, Unit: "h"}, Figure{Name: FaultsSet}, Figure{Name: FailedReconciles})
		}, Unknown, "a short run: 0.50 h of 24 h"},
		"a soak with faults": {"R1", func(_ *Recorder, e *Examination) {
			e.Figure(Figure{Name: Hours, Value: 25, Unit: "h"}, Figure{Name: FaultsSet, Value: 7}, Figure{Name: FailedReconciles})
		}, Unknown, "a run with faults: 7 faults set"},
		"a soak that was resumed, however long": {"R1", func(r *Recorder, e *Examination) {
			now := time.Now()
			r.Parts(Part{now.Add(-50 * time.Hour), now.Add(-25 * time.Hour)}, Part{now.Add(-25 * time.Hour), now})
			e.Figure(Figure{Name: Hours, Value: 50, Unit: "h"}, Figure{Name: FaultsSet}, Figure{Name: FailedReconciles})
		}, Unknown, "a merged run: 2 processes one after the other, from the first to the last 50"},
		"a soak with a failed loop": {"R1", func(_ *Recorder, e *Examination) {
			e.Figure(Figure{Name: Hours, Value: 25, Unit: "h"}, Figure{Name: FaultsSet}, Figure{Name: FailedReconciles, Value: 1})
		}, Failed, "failed reconcile loops of our manager: 1, at most 0"},
		"a short soak with a failed loop": {"R1", func(_ *Recorder, e *Examination) {
			e.Figure(Figure{Name: Hours, Value: 1, Unit: "h"}, Figure{Name: FaultsSet}, Figure{Name: FailedReconciles, Value: 1})
		}, Failed, "failed reconcile loops"},
		"a soak that does not say how long it was": {"R1", func(_ *Recorder, e *Examination) {
			e.Figure(Figure{Name: FaultsSet}, Figure{Name: FailedReconciles})
		}, Unknown, Hours + ": not measured"},
		"a soak that no validator has judged": {"R1", func(_ *Recorder, e *Examination) {
			e.Figure(Figure{Name: Hours, Value: 25, Unit: "h"}, Figure{Name: FaultsSet}, Figure{Name: FailedReconciles})
		}, Unknown, "a history that nobody judged: 0 of at least 1 validators"},
		"iterations that no validator has judged": {"R2", func(_ *Recorder, e *Examination) {
			e.Figure(Figure{Name: Iterations, Value: 100}, Share(SucceededOperations, 3000, 3000))
		}, Unknown, "a history that nobody judged"},
		"cycles that no validator has judged": {"R3", func(_ *Recorder, e *Examination) {
			e.Figure(Figure{Name: ClusterCycles, Value: 50}, Figure{Name: LeakedResources})
		}, Unknown, "a history that nobody judged"},
		"some iterations": {"R2", func(_ *Recorder, e *Examination) {
			e.Figure(Figure{Name: Iterations, Value: 3}, Share(SucceededOperations, 90, 90))
		}, Unknown, "a short run: 3 of at least 100"},
		"iterations of which many fail": {"R2", func(_ *Recorder, e *Examination) {
			e.Figure(Figure{Name: Iterations, Value: 100}, Share(SucceededOperations, 2990, 3000))
		}, Failed, "at least 99.90 %"},
		"some cycles": {"R3", func(_ *Recorder, e *Examination) {
			e.Figure(Figure{Name: ClusterCycles, Value: 5}, Figure{Name: LeakedResources})
		}, Unknown, "a short run: 5 of at least 50"},
		"cycles that leak": {"R3", func(_ *Recorder, e *Examination) {
			e.Figure(Figure{Name: ClusterCycles, Value: 50}, Figure{Name: LeakedResources, Value: 1})
		}, Failed, "leaked resources: 1"},
		"few Machines": {"P2", func(_ *Recorder, e *Examination) { e.Latency(Measure(VMRunning, make([]time.Duration, 9))) },
			Unknown, "few samples: " + VMRunning + ": 9 of at least 30"},
		"many samples of something else": {"P1", func(r *Recorder, e *Examination) {
			e.Latency(Measure("a request is answered", make([]time.Duration, 48)), Measure(MachineCreated, make([]time.Duration, 3)))
		}, Unknown, "few samples: " + MachineCreated + ": 3 of at least 30"},
		"a share of nothing": {"F3", func(_ *Recorder, e *Examination) {
			e.Step("a step", func() {})
			e.Figure(Figure{Name: "a share", Value: math.NaN(), AtMost: at(1)})
		}, Unknown, "a share: unknown"},
		"one scenario": {"F5", func(_ *Recorder, e *Examination) { e.Scenario(Scenario{Name: "one", Verdict: Passed}) },
			Unknown, "a part of the scenarios: 1 of at least 30"},
		"a scenario that takes long": {"F5", func(r *Recorder, e *Examination) {
			gathered["F5"](r, e)
			e.Scenario(Scenario{Name: "long", Verdict: Passed, Cycles: 2.1})
		}, Failed, "long: failed"},
		"conformance of nodes that are simulated": {"C1", func(r *Recorder, e *Examination) {
			gathered["C1"](r, e)
			r.Describe(Environment{Guests: "simulated"})
		}, Unknown, "guests are simulated"},
		"conformance of which a part was run": {"C1", func(r *Recorder, e *Examination) {
			gathered["C1"](r, e)
			e.criterion.Figures[1].Value = 7
		}, Unknown, "a part of the tests: 7"},
		"conformance that several runs make up": {"C1", func(r *Recorder, e *Examination) {
			gathered["C1"](r, e)
			e.criterion.Figures[2].Value = 10
		}, Unknown, "merged from several runs: 10"},
		"a validator that saw a violation": {"R2", func(r *Recorder, e *Examination) {
			gathered["R2"](r, e)
			e.Validator(Validated("one VM", "", 5, "two VMs at noon"))
		}, Failed, "one VM: two VMs at noon"},
		"a validator that could not tell": {"R2", func(r *Recorder, e *Examination) {
			gathered["R2"](r, e)
			e.Validator(Validator{Name: "one VM", Checked: 7, Verdict: Unknown})
		}, Unknown, "one VM cannot tell"},
		"a validator that saw nothing": {"R2", func(r *Recorder, e *Examination) {
			gathered["R2"](r, e)
			e.Validator(Validated("one VM", "", 0))
		}, Unknown, "one VM found nothing to look at"},
		"a validator for which there was nothing, beside another": {"R2", func(r *Recorder, e *Examination) {
			gathered["R2"](r, e)
			e.Validator(Validator{Name: "APIs answer", Verdict: NotRun})
		}, Passed, ""},
		"no validator for which there was something": {"R2", func(_ *Recorder, e *Examination) {
			e.Figure(Figure{Name: Iterations, Value: 100}, Share(SucceededOperations, 2997, 3000))
			e.Validator(Validator{Name: "APIs answer", Verdict: NotRun})
		}, Unknown, "a history that nobody judged: 0 of at least 1 validators"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := Record("A run", "make it", io.Discard)
			e := r.Begin(c.id)
			c.gather(r, e)
			e.Conclude()
			report := r.Finish()
			got, _ := report.Criterion(c.id)
			if got.Verdict != c.want || !strings.Contains(got.Explanation, c.because) {
				t.Errorf("got %s: %s", got.Verdict, got.Explanation)
			}
			if report.Verdict != c.want {
				t.Errorf("the run, which answers nothing else, is %s", report.Verdict)
			}
		})
	}
}

func TestARunThatIsTooShortIsWellAllTheSame(t *testing.T) {
	t.Parallel()
	few := func(r *Recorder) {
		e := r.Begin("P2")
		e.Latency(Measure("stage", make([]time.Duration, 9)))
		e.Conclude()
	}
	step := func(r *Recorder) {
		e := r.Begin("F1")
		e.Step("a step", func() {})
		e.Conclude()
	}
	for name, c := range map[string]struct {
		do      func(*Recorder)
		verdict Verdict
		well    bool
	}{
		"nothing was looked at":            {func(*Recorder) {}, NotRun, false},
		"it was short":                     {few, Unknown, true},
		"it was short for one of two":      {func(r *Recorder) { few(r); step(r) }, Passed, true},
		"it was ended in the middle":       {func(r *Recorder) { few(r); r.Begin("F1") }, Unknown, false},
		"it was ended with a doubt":        {func(r *Recorder) { r.Begin("F1").Doubt("a short run") }, Unknown, false},
		"it was short, and something fell": {func(r *Recorder) { few(r); r.Explain("a process ended") }, Failed, false},
	} {
		r := Record("A run", "make it", io.Discard)
		c.do(r)
		if report := r.Finish(); report.Verdict != c.verdict || report.Well() != c.well {
			t.Errorf("%s: the verdict is %s, well %v", name, report.Verdict, report.Well())
		}
	}
}

func TestTheIntervalOfAShareHoldsIt(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		succeeded, all  int
		value, low, top float64
	}{
		{3000, 3000, 100, 99.872, 100}, // Wilson's interval, as tables have it
		{90, 100, 90, 82.563, 94.477},
		{0, 10, 0, 0, 27.754},
		{0, 0, 0, 0, 100},
	} {
		f := Share("operations", c.succeeded, c.all)
		near := func(a, b float64) bool { return a-b < .001 && b-a < .001 }
		if !near(f.Value, c.value) || !near(f.Interval.Low, c.low) || !near(f.Interval.High, c.top) {
			t.Errorf("%d of %d: %g, from %g to %g", c.succeeded, c.all, f.Value, f.Interval.Low, f.Interval.High)
		}
	}
}
