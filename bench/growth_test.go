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
	line := func(x float64) float64 { return 12000 + 13*x }
	square := func(x float64) float64 { return 12000 + x*x/50 }
	if steeper, known := steepening(sizes(line, 10, 100, 300, 1000), 300); !known || math.Abs(steeper-1) > .01 {
		t.Errorf("a line becomes steeper by %v (%t), want 1", steeper, known)
	}
	for name, curve := range map[string]func(float64) float64{
		"a square":         square,
		"what begins late": func(x float64) float64 { return 12000 + 13*max(0, x-300) },
		"what falls first": func(x float64) float64 { return 12000 + 13*math.Abs(x-300) },
	} {
		if steeper, known := steepening(sizes(curve, 10, 100, 300, 1000), 300); !known || steeper < 1.25 {
			t.Errorf("%s becomes steeper by %v (%t), want more than 1.25", name, steeper, known)
		}
	}
	if _, known := steepening(sizes(func(float64) float64 { return 12000 }, 10, 100, 300, 1000), 300); known {
		t.Error("what does not grow has no curve")
	}
	if _, known := steepening(sizes(line, 10, 100, 1000), 300); known {
		t.Error("what so few Machines keep is lost in the rest")
	}
	if _, known := steepening(sizes(line, 300, 1000), 300); known {
		t.Error("two sizes make no curve")
	}
}
