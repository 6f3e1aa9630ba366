package main

import (
	"fmt"
	"strings"

	"k8s.io/utils/ptr"

	"elemento.cloud/cluster-api-provider-elemento/reports"
)

// growing is a measure of a process, and by how much it grows with each cycle.
type growing struct {
	process  string
	measure  measure
	perCycle float64
	in       reports.Interval
}

// leaks tells whether it grows by more than is tolerated, beyond doubt.
func (g growing) leaks() bool { return g.in.Low > g.measure.tolerance }

// figure shows the growth with its interval. Whether it is a leak is told by the
// figure of all of them, since the limit is for the lower end of the interval.
func (g growing) figure() reports.Figure {
	unit := "per cycle"
	if g.measure.unit != "" {
		unit = g.measure.unit + " per cycle"
	}
	return reports.Figure{
		Name: fmt.Sprintf("%s: growth of %s (%g tolerated)", g.process, g.measure.name, g.measure.tolerance), Unit: unit, Value: g.perCycle,
		Interval: &g.in,
	}
}

// growths are those of all measures of all processes after the warm-up; none where
// there are too few cycles to tell.
func growths(samples []sample, processes []string, warmUp int) []growing {
	var found []growing
	for _, process := range processes {
		for _, m := range measures {
			var points []reports.XY
			for _, s := range samples {
				if s.process == process && s.Cycle > warmUp {
					points = append(points, reports.XY{X: float64(s.Cycle), Y: m.of(s)})
				}
			}
			if perCycle, in, known := reports.Slope(points); known {
				found = append(found, growing{process, m, perCycle, in})
			}
		}
	}
	return found
}

// judge puts into the report what has been found.
func (r *run) judge(r3 *reports.Examination) {
	found := growths(r.samples, r.processes, r.warmUp)
	var grown []string
	for _, g := range found {
		if g.leaks() {
			grown = append(grown, fmt.Sprintf("%s: %s grow by %.3g to %.3g %s per cycle, %g are tolerated",
				g.process, g.measure.name, g.in.Low, g.in.High, g.measure.unit, g.measure.tolerance))
		}
	}
	all := append(r.leaked, grown...)
	r3.Figure(
		reports.Figure{Name: reports.ClusterCycles, Value: float64(len(r.deleted))},
		reports.Figure{Name: reports.LeakedResources, Value: float64(len(all)), AtMost: ptr.To(0.0)},
	)
	if len(all) > 0 {
		r3.Validator(reports.Validated("nothing is left of a cluster", "AtomOS, Kubernetes and our processes are as they were before it", len(r.deleted), all...))
	}
	for _, g := range found {
		r3.Figure(g.figure())
	}
	if want := len(r.processes) * len(measures); len(found) < want {
		r3.Doubt(fmt.Sprintf("%d cycles after %d to warm up are too few to tell growth", max(0, len(r.deleted)-r.warmUp), r.warmUp))
	}
	r3.Latency(reports.Measure("a cluster is asked for → all its Machines Ready", r.created), reports.Measure("a cluster is deleted → gone", r.deleted))
	r3.Evidence(reports.Evidence{Title: "all samples, calls and changes, as JSON Lines", Path: "history"})
	r.site.Report.TimeLine(r.timeLine())
}

// timeLine shows what the processes held after each cycle.
func (r *run) timeLine() reports.TimeLine {
	l := reports.TimeLine{Name: "Resources after each cycle", Start: r.samples[0].at}
	for _, process := range r.processes {
		for _, m := range measures {
			for _, s := range r.samples {
				if s.process == process {
					l.Sample(strings.TrimSpace(process+": "+m.name), m.unit, s.at, m.of(s))
				}
			}
		}
	}
	return l
}
