package main

import (
	"testing"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/reports"
	"elemento.cloud/cluster-api-provider-elemento/soak/faults"
)

func TestAnEventOfThePlanThatWasDueMustHaveCome(t *testing.T) {
	t.Parallel()
	often, seldom := faults.Duration(time.Minute), faults.Duration(1000*time.Hour)
	plan := &faults.Plan{Events: []faults.Event{
		{Do: faults.CrashVM, Every: often}, {Do: faults.Rotate, Every: often}, {Do: faults.VanishVM, Every: seldom}, {Do: faults.CrashVM, Every: seldom},
	}}
	verdicts := func(lasted time.Duration) map[string]reports.Verdict {
		now := time.Now()
		s := &soak{
			seed: 1, plan: plan, events: map[faults.Action]int{faults.CrashVM: 3},
			checkpoint: &checkpoint{Parts: []part{{Begun: now.Add(-lasted), Last: now}}},
		}
		found := map[string]reports.Verdict{}
		for _, f := range s.eventFigures() {
			found[f.Name] = f.Verdict()
		}
		return found
	}
	long, short := verdicts(2*time.Hour), verdicts(faults.Late)
	if len(long) != 3 || long["events: crash-vm"] != reports.Passed || long["events: rotate"] != reports.Failed || long["events: vanish-vm"] != reports.Passed {
		t.Errorf("after two hours without a rotation the verdicts are %v", long)
	}
	if short["events: rotate"] != reports.Passed {
		t.Errorf("before anything was due the verdicts are %v", short)
	}
}
