package main

import (
	"math"
	"testing"

	"elemento.cloud/cluster-api-provider-elemento/reports"
)

func TestALineIsToldFromACurve(t *testing.T) {
	t.Parallel()
	sizes := func(value func(float64) float64, at ...float64) (points []reports.XY) {
		for _, x := range at {
			points = append(points, reports.XY{X: x, Y: value(x) - 1}, reports.XY{X: x, Y: value(x) + 1})
		}
		return points
	}
	line := func(x float64) float64 { return 12000 + 20*x }
	for name, c := range map[string]struct {
		value func(float64) float64
		want  float64
	}{
		"a line": {line, 0},
		// Hosts come up to 300 Machines; how much they cost is no matter.
		"a line after hosts":               {func(x float64) float64 { return line(x) + 9000*min(1, x/300) }, 0},
		"a square":                         {func(x float64) float64 { return 12000 + x*x/50 }, .53},
		"a square beside what falls first": {func(x float64) float64 { return 30000 + x*x/50 - 20*min(x, 300) }, .53},
		"three times as much from 580 on":  {func(x float64) float64 { return line(x) + 40*max(0, x-580) }, .9},
		"what begins late":                 {func(x float64) float64 { return 12000 + 20*max(0, x-580) }, 1.66},
	} {
		if steeper, known := steepening(sizes(c.value, 10, 100, 300, 580, 1000), 300); !known || math.Abs(steeper-c.want) > .02 {
			t.Errorf("%s becomes steeper by %v (%t), want %v", name, steeper, known, c.want)
		}
	}
	garbage := append(sizes(line, 300, 580, 1000), reports.XY{X: 580, Y: line(580) + 5000}, reports.XY{X: 300, Y: line(300) + 2000})
	if steeper, known := steepening(garbage, 300); !known || math.Abs(steeper) > .02 {
		t.Errorf("what is garbage at some looks makes a line steeper by %v (%t)", steeper, known)
	}
	if _, known := steepening(sizes(func(float64) float64 { return 12000 }, 300, 580, 1000), 300); known {
		t.Error("what does not grow has no curve")
	}
	if _, known := steepening(sizes(line, 10, 100, 300, 1000), 300); known {
		t.Error("what so few Machines keep is lost in the rest")
	}
}

func TestTheThresholdOfTheCurveTellsAThreefoldCostFromNoise(t *testing.T) {
	t.Parallel()
	of, err := readThresholds(thresholdsFile, names(parts))
	if err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		steeper float64
		want    reports.Verdict
	}{"three times as much from 580 on": {90, reports.Failed}, "noise": {50, reports.Passed}} {
		if f, err := of.judge("growth", reports.Figure{Name: steeperHeap, Value: c.steeper, Unit: "%"}); err != nil || f.Verdict() != c.want {
			t.Errorf("%s: %s (%v), want %s", what, f.Verdict(), err, c.want)
		}
	}
}
