package reports

import "math"

// Interval is where a value lies that was estimated from samples.
type Interval struct {
	Low  float64 `json:"low"`
	High float64 `json:"high"`
	// Confidence is the share of such intervals that hold the value, such as 0.95.
	Confidence float64 `json:"confidence"`
}

// z95 is how many standard deviations to each side hold 95 % of a normal
// distribution.
const z95 = 1.959963984540054

// Share is the figure of how many of all succeeded, in percent, with the interval
// of 95 % after Wilson, which holds for shares close to all of them too. Without
// any there is nothing to say: the share is none, and the interval is everything.
func Share(name string, succeeded, all int) Figure {
	f := Figure{Name: name, Unit: "%", Interval: &Interval{High: 100, Confidence: 0.95}}
	if all <= 0 {
		return f
	}
	n, p := float64(all), float64(succeeded)/float64(all)
	center := p + z95*z95/(2*n)
	spread := z95 * math.Sqrt(p*(1-p)/n+z95*z95/(4*n*n))
	whole := 1 + z95*z95/n
	f.Value = 100 * p
	f.Interval.Low = 100 * max(0, (center-spread)/whole)
	f.Interval.High = 100 * min(1, (center+spread)/whole)
	return f
}
