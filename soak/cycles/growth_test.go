package main

import (
	"math"
	"math/rand/v2"
	"testing"
)

// series is what a process shows over so many cycles.
func series(cycles int, value func(cycle float64) float64) []point {
	var points []point
	for n := range cycles {
		points = append(points, point{float64(n + 1), value(float64(n + 1))})
	}
	return points
}

func TestGrowthIsToldFromNoise(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	noise := func() float64 { return 4e6 * random.NormFloat64() }
	for name, c := range map[string]struct {
		points  []point
		growing bool
	}{
		"nothing changes":          {series(40, func(float64) float64 { return 120 }), false},
		"a goroutine leaks":        {series(40, func(n float64) float64 { return 120 + n + float64(random.IntN(5)) }), true},
		"goroutines come and go":   {series(40, func(float64) float64 { return 120 + float64(random.IntN(9)) }), false},
		"a heap that is collected": {series(40, func(float64) float64 { return 40e6 + noise() }), false},
		"a heap that grows":        {series(40, func(n float64) float64 { return 40e6 + 5e5*n + noise() }), true},
		"a heap that shrinks":      {series(40, func(n float64) float64 { return 60e6 - 5e5*n + noise() }), false},
		"one peak": {series(40, func(n float64) float64 {
			if n == 20 {
				return 1e9
			}
			return 40e6
		}), false},
	} {
		g, known := grows(c.points)
		if !known || (g.low > 0) != c.growing {
			t.Errorf("%s: %+v", name, g)
		}
		if g.low > g.perCycle || g.perCycle > g.high {
			t.Errorf("%s: the growth is not in its interval: %+v", name, g)
		}
	}
}

func TestGrowthIsThatOfTheLine(t *testing.T) {
	t.Parallel()
	g, known := grows(series(20, func(n float64) float64 { return 7 + 3*n }))
	if !known || math.Abs(g.perCycle-3) > 1e-9 || math.Abs(g.low-3) > 1e-9 || math.Abs(g.high-3) > 1e-9 {
		t.Errorf("the growth is %+v, want 3", g)
	}
}

func TestAFewPointsTellNoGrowth(t *testing.T) {
	t.Parallel()
	if g, known := grows(series(3, func(n float64) float64 { return n })); known {
		t.Errorf("they tell %+v", g)
	}
}

func TestTheIntervalHoldsTheGrowthAsOftenAsItSays(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(3, 4))
	const runs = 400
	held := 0
	for range runs {
		g, _ := grows(series(40, func(n float64) float64 { return 2*n + 10*random.NormFloat64() }))
		if g.low <= 2 && 2 <= g.high {
			held++
		}
	}
	if share := float64(held) / runs; share < confidence-0.03 {
		t.Errorf("in %.1f %% of the runs only", 100*share)
	}
}
