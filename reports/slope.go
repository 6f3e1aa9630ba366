package reports

import (
	"math"
	"slices"
)

// XY is a value Y that was measured at X, such as memory with so many Machines.
type XY struct {
	X float64 `json:"x"`
	Y float64 `json:"y"`
}

// Slope estimates by how much Y grows with X, with the interval of 95 % in which that
// lies, by Theil and Sen: the median of the slopes between all pairs of points, which a
// garbage collection at the wrong moment does not move, and the interval that follows
// from the distribution of Kendall's S. It says false for less than four points, which
// have no interval of that confidence, and where all have the same X.
func Slope(points []XY) (slope float64, in Interval, known bool) {
	if len(points) < 4 {
		return 0, Interval{}, false
	}
	var slopes []float64
	for i, a := range points {
		for _, b := range points[i+1:] {
			if a.X != b.X {
				slopes = append(slopes, (b.Y-a.Y)/(b.X-a.X))
			}
		}
	}
	if len(slopes) == 0 {
		return 0, Interval{}, false
	}
	slices.Sort(slopes)
	spread := z95 * math.Sqrt(variance(points))
	pairs := float64(len(slopes))
	at := func(rank float64) float64 { return slopes[int(min(max(rank, 0), pairs-1))] }
	return median(slopes), Interval{
		Low:        at(math.Floor((pairs-spread)/2) - 1),
		High:       at(math.Ceil((pairs + spread) / 2)),
		Confidence: 0.95,
	}, true
}

// variance is that of Kendall's S for points in no order. Points of the same Y, of
// which counts have many, and of the same X make it smaller.
func variance(points []XY) float64 {
	xs, ys := map[float64]float64{}, map[float64]float64{}
	for _, p := range points {
		xs[p.X]++
		ys[p.Y]++
	}
	n := float64(len(points))
	vx, x1, x2 := tied(xs)
	vy, y1, y2 := tied(ys)
	v := (n*(n-1)*(2*n+5) - vx - vy) / 18
	v += x1 * y1 / (2 * n * (n - 1))
	return v + x2*y2/(9*n*(n-1)*(n-2))
}

// tied are the sums over groups of the same value that the variance of S has.
func tied(groups map[float64]float64) (sum, ofPairs, ofTriples float64) {
	for _, t := range groups {
		sum += t * (t - 1) * (2*t + 5)
		ofPairs += t * (t - 1)
		ofTriples += t * (t - 1) * (t - 2)
	}
	return sum, ofPairs, ofTriples
}

func median(sorted []float64) float64 {
	n := len(sorted)
	if n%2 == 1 {
		return sorted[n/2]
	}
	return (sorted[n/2-1] + sorted[n/2]) / 2
}
