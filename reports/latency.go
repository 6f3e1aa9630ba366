package reports

import (
	"math"
	"slices"
	"time"
)

// Latency is how long something took, over several times that it happened. All
// durations are in milliseconds.
type Latency struct {
	Name string `json:"name"`
	// Count is how many were measured. With none, the rest means nothing.
	Count int     `json:"count"`
	Min   float64 `json:"minMs"`
	P50   float64 `json:"p50Ms"`
	P90   float64 `json:"p90Ms"`
	P99   float64 `json:"p99Ms"`
	Max   float64 `json:"maxMs"`
	// P50AtMost is the limit that the median must keep, where it has one.
	P50AtMost *float64 `json:"p50AtMostMs,omitempty"`
	// StageOf names the latency of which this is one of the consecutive stages,
	// which stand in their order; empty for one that stands for itself.
	StageOf string `json:"stageOf,omitempty"`
	// Samples are the measured ones, sorted: all of them, or as many as
	// [MaxSamples] of equal distance in rank, with the first and the last.
	Samples []float64 `json:"samplesMs,omitempty"`
}

// MaxSamples is how many samples a latency keeps at most: enough to draw how they
// are distributed.
const MaxSamples = 1000

// Measure sums up samples, in any order.
func Measure(name string, samples []time.Duration) Latency {
	l := Latency{Name: name, Count: len(samples)}
	if len(samples) == 0 {
		return l
	}
	sorted := slices.Sorted(slices.Values(samples))
	rank := func(percent float64) float64 { return milliseconds(sorted[nearestRank(percent, len(sorted))]) }
	l.Min, l.P50, l.P90, l.P99, l.Max = rank(0), rank(50), rank(90), rank(99), rank(100)
	l.Samples = make([]float64, min(len(sorted), MaxSamples))
	for i := range l.Samples {
		at := i
		if len(sorted) > MaxSamples {
			at = i * (len(sorted) - 1) / (MaxSamples - 1)
		}
		l.Samples[i] = milliseconds(sorted[at])
	}
	return l
}

// Stage is the latency as one of the consecutive stages of another.
func (l Latency) Stage(of string) Latency {
	l.StageOf = of
	return l
}

// nearestRank is the index of a percentile among n sorted samples: that of the
// smallest sample which at least so many percent do not exceed. It is always a
// sample, never something between two.
func nearestRank(percent float64, n int) int {
	return max(0, int(math.Ceil(percent/100*float64(n)))-1)
}

// Verdict judges a latency by its limit: unknown when nothing was measured.
func (l Latency) Verdict() Verdict {
	switch {
	case l.Count == 0:
		return Unknown
	case l.P50AtMost != nil && l.P50 > *l.P50AtMost:
		return Failed
	default:
		return Passed
	}
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
