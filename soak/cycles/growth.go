package main

import (
	"math"
	"slices"
)

// confidence of the intervals, and the quantile of the normal distribution that
// belongs to it.
const (
	confidence = 0.95
	quantile   = 1.959964
)

// point is a measured value, after so many cycles.
type point struct{ cycle, value float64 }

// growth is by how much something grows with each cycle, and the interval in
// which that lies.
type growth struct{ perCycle, low, high float64 }

// grows estimates the growth by Theil and Sen: the median of the slopes between
// all pairs of points, which a garbage collection at the wrong moment does not
// move, and the interval that follows from the distribution of Kendall's S. Less
// than four points have no interval of that confidence.
func grows(points []point) (growth, bool) {
	if len(points) < 4 {
		return growth{}, false
	}
	var slopes []float64
	for i, a := range points {
		for _, b := range points[i+1:] {
			slopes = append(slopes, (b.value-a.value)/(b.cycle-a.cycle))
		}
	}
	slices.Sort(slopes)
	spread := quantile * math.Sqrt(variance(points))
	pairs := float64(len(slopes))
	at := func(rank float64) float64 { return slopes[int(min(max(rank, 0), pairs-1))] }
	return growth{
		perCycle: median(slopes),
		low:      at(math.Floor((pairs-spread)/2) - 1),
		high:     at(math.Ceil((pairs + spread) / 2)),
	}, true
}

// variance is that of Kendall's S for points in no order. Points of the same value,
// of which counts have many, make it smaller.
func variance(points []point) float64 {
	ties := map[float64]float64{}
	for _, p := range points {
		ties[p.value]++
	}
	term := func(n float64) float64 { return n * (n - 1) * (2*n + 5) }
	sum := term(float64(len(points)))
	for _, t := range ties {
		sum -= term(t)
	}
	return sum / 18
}

func median(sorted []float64) float64 {
	n := len(sorted)
	if n%2 == 1 {
		return sorted[n/2]
	}
	return (sorted[n/2-1] + sorted[n/2]) / 2
}
