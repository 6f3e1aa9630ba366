package main

import (
	"context"
	"io"
	"slices"
	"testing"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/reports"
)

func TestPartsRunInTheirOrderAndBringWhatTheyNeed(t *testing.T) {
	t.Parallel()
	for only, want := range map[string][]string{
		"requests,stages": {"stages", "requests"},
		"rest":            {"growth", "rest"},
		"growth":          {"growth"},
		"removal":         {"growth", "removal"},
		"layers":          {"layers"},
	} {
		b := &bench{}
		if err := b.choose(only); err != nil || !slices.Equal(names(b.parts), want) {
			t.Errorf("--only %s runs %q (%v), want %q", only, names(b.parts), err, want)
		}
	}
	if err := (&bench{}).choose("requests,nothing"); err == nil {
		t.Error("a part that there is not is run")
	}
}

func TestNoCriterionIsPassedWithoutItsThresholds(t *testing.T) {
	t.Parallel()
	for _, p := range parts {
		if p.criterion == "" {
			continue
		}
		p.examine = func(_ *bench, _ context.Context, e *reports.Examination) {
			for _, name := range []string{
				reports.ClusterApplied, reports.DeploymentScaled, reports.MachineCreated, reports.VMRunning, reports.NodeReady,
			} {
				e.Latency(reports.Measure(name, slices.Repeat([]time.Duration{time.Hour}, 30)))
			}
		}
		for lifted, want := range map[bool]reports.Verdict{false: reports.Passed, true: reports.Unknown} {
			e := reports.Record("bench", "", io.Discard).Begin(p.criterion)
			p.answer(&bench{thresholds: &thresholds{lifted: lifted}}, t.Context(), e)
			if verdict := e.Conclude(); verdict != want {
				t.Errorf("%s answers %s with %s where thresholds are lifted: %t", p.name, p.criterion, verdict, lifted)
			}
		}
	}
}
