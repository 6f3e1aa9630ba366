package reports

import (
	"math"
	"math/rand/v2"
	"testing"
)

// overCycles is what a process shows over so many cycles.
func overCycles(cycles int, value func(cycle float64) float64) []XY {
	var points []XY
	for n := range cycles {
		points = append(points, XY{float64(n + 1), value(float64(n + 1))})
	}
	return points
}

func TestGrowthIsToldFromNoise(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	noise := func() float64 { return 4e6 * random.NormFloat64() }
	for name, c := range map[string]struct {
		points  []XY
		growing bool
	}{
		"nothing changes":          {overCycles(40, func(float64) float64 { return 120 }), false},
		"a goroutine leaks":        {overCycles(40, func(n float64) float64 { return 120 + n + float64(random.IntN(5)) }), true},
		"goroutines come and go":   {overCycles(40, func(float64) float64 { return 120 + float64(random.IntN(9)) }), false},
		"a heap that is collected": {overCycles(40, func(float64) float64 { return 40e6 + noise() }), false},
		"a heap that grows":        {overCycles(40, func(n float64) float64 { return 40e6 + 5e5*n + noise() }), true},
		"a heap that shrinks":      {overCycles(40, func(n float64) float64 { return 60e6 - 5e5*n + noise() }), false},
		"one peak": {overCycles(40, func(n float64) float64 {
			if n == 20 {
				return 1e9
			}
			return 40e6
		}), false},
	} {
		slope, in, known := Slope(c.points)
		if !known || (in.Low > 0) != c.growing {
			t.Errorf("%s: %g in %+v", name, slope, in)
		}
		if in.Low > slope || slope > in.High {
			t.Errorf("%s: the slope %g is not in its interval %+v", name, slope, in)
		}
	}
}

func TestGrowthIsThatOfTheLine(t *testing.T) {
	t.Parallel()
	slope, in, known := Slope(overCycles(20, func(n float64) float64 { return 7 + 3*n }))
	if !known || math.Abs(slope-3) > 1e-9 || math.Abs(in.Low-3) > 1e-9 || math.Abs(in.High-3) > 1e-9 {
		t.Errorf("the slope is %g in %+v, want 3", slope, in)
	}
}

func TestAFewPointsTellNoGrowth(t *testing.T) {
	t.Parallel()
	if slope, in, known := Slope(overCycles(3, func(n float64) float64 { return n })); known {
		t.Errorf("they tell %g in %+v", slope, in)
	}
}

func TestTheIntervalHoldsTheGrowthAsOftenAsItSays(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(3, 4))
	const runs = 400
	held := 0
	for range runs {
		_, in, _ := Slope(overCycles(40, func(n float64) float64 { return 2*n + 10*random.NormFloat64() }))
		if in.Low <= 2 && 2 <= in.High {
			held++
		}
	}
	if share := float64(held) / runs; share < 0.95-0.03 {
		t.Errorf("in %.1f %% of the runs only", 100*share)
	}
}

func TestSeveralValuesAtEachSizeTellTheSlope(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(5, 6))
	held, zero := 0, 0
	const runs = 400
	for range runs {
		var grows, stays []XY
		for _, x := range []float64{10, 100, 300, 1000} {
			for range 3 {
				grows = append(grows, XY{x, 5 + 0.02*x + random.NormFloat64()})
				stays = append(stays, XY{x, 5 + random.NormFloat64()})
			}
		}
		if _, in, _ := Slope(grows); in.Low <= 0.02 && 0.02 <= in.High {
			held++
		}
		if _, in, _ := Slope(stays); in.Low <= 0 && 0 <= in.High {
			zero++
		}
	}
	if min(held, zero) < runs*92/100 {
		t.Errorf("of %d intervals %d hold the slope of what grows, and %d that of what does not", runs, held, zero)
	}
}

func TestOneSizeTellsNoSlope(t *testing.T) {
	t.Parallel()
	if slope, _, known := Slope([]XY{{1, 1}, {1, 2}, {1, 3}, {1, 4}}); known {
		t.Errorf("it tells %g", slope)
	}
}
