package main

import (
	_ "embed"
	"encoding/csv"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"sigs.k8s.io/yaml"

	"elemento.cloud/cluster-api-provider-elemento/reports"
)

//go:embed thresholds.yaml
var limitsFile []byte

// limits are what the ratios must not exceed.
type limits struct {
	Phases float64 `json:"phases"`
	Stages float64 `json:"stages"`
}

func readLimits(file []byte) (limits, error) {
	var l limits
	if err := yaml.UnmarshalStrict(file, &l); err != nil {
		return l, fmt.Errorf("thresholds.yaml: %w", err)
	}
	if l.Phases <= 0 || l.Stages <= 0 {
		return l, fmt.Errorf("thresholds.yaml: phases is %v and stages %v; both are ratios above 0", l.Phases, l.Stages)
	}
	return l, nil
}

// sample is what one thing took, once.
type sample struct {
	round       int
	side, phase string
	// machine and stage are of what one Machine took; empty for a whole phase.
	machine, stage string
	took           time.Duration
}

// ratio compares the same thing of both sides.
type ratio struct {
	phase, stage string
	ours, peers  reports.Latency
	// oursMid and peersMid are the medians, in ms: of two samples what lies between them,
	// where the percentiles of a latency are samples always, and of two the quicker.
	oursMid, peersMid float64
}

// name is that of its thing.
func (r ratio) name() string {
	if r.stage == "" {
		return r.phase
	}
	return r.phase + ": " + r.stage
}

// value is our median divided by the peer's.
func (r ratio) value() float64 { return r.oursMid / r.peersMid }

// middle is the median, in ms.
func middle(took []time.Duration) float64 {
	sorted := slices.Sorted(slices.Values(took))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]).Seconds() / 2 * 1000
}

// compared are the ratios of all things, in the order in which they were first
// measured. A thing that was measured of one side only is an error.
func compared(samples []sample) ([]ratio, error) {
	type thing struct{ phase, stage string }
	var things []thing
	took := map[thing]map[string][]time.Duration{}
	for _, s := range samples {
		t := thing{s.phase, s.stage}
		if took[t] == nil {
			things = append(things, t)
			took[t] = map[string][]time.Duration{}
		}
		took[t][s.side] = append(took[t][s.side], s.took)
	}
	var ratios []ratio
	for _, t := range things {
		r := ratio{phase: t.phase, stage: t.stage}
		r.ours = reports.Measure(r.name()+", "+ours, took[t][ours])
		r.peers = reports.Measure(r.name()+", "+peers, took[t][peers])
		if r.ours.Count == 0 || r.peers.Count == 0 {
			return nil, fmt.Errorf("%s was measured %d times of ours and %d times of the peer's; a ratio needs both", r.name(), r.ours.Count, r.peers.Count)
		}
		r.oursMid, r.peersMid = middle(took[t][ours]), middle(took[t][peers])
		ratios = append(ratios, r)
	}
	return ratios, nil
}

// figures are the ratios with their limits, where these are to be looked at, and the
// medians of the phases.
func figures(ratios []ratio, limits limits, judged bool) []reports.Figure {
	var all []reports.Figure
	for _, r := range ratios {
		most := limits.Stages
		if r.stage == "" {
			most = limits.Phases
			all = append(all,
				reports.Figure{Name: r.ours.Name, Value: r.oursMid / 1000, Unit: "s"},
				reports.Figure{Name: r.peers.Name, Value: r.peersMid / 1000, Unit: "s"})
		}
		f := reports.Figure{Name: r.name() + ", ours ÷ the peer's", Value: r.value()}
		if judged {
			f.AtMost = &most
		}
		all = append(all, f)
	}
	return all
}

// table shows the ratios to people, with the medians in seconds.
func table(ratios []ratio) string {
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "ours\tthe peer's\tratio\tn\t")
	for _, r := range ratios {
		fmt.Fprintf(w, "%.2f s\t%.2f s\t%.2f\t%d, %d\t  %s\n", r.oursMid/1000, r.peersMid/1000, r.value(), r.ours.Count, r.peers.Count, r.name())
	}
	_ = w.Flush() // into memory
	return text.String()
}

// keep writes the samples into a file below the directory, a line for each, and returns
// its path there. A new run removes what is in that folder.
func keep(dir string, samples []sample) (string, error) {
	const folder = "samples"
	path := filepath.Join(folder, "all.csv")
	rows := [][]string{{"round", "side", "phase", "machine", "stage", "ms"}}
	for _, s := range samples {
		ms := strconv.FormatFloat(float64(s.took)/float64(time.Millisecond), 'f', 3, 64)
		rows = append(rows, []string{strconv.Itoa(s.round), s.side, s.phase, s.machine, s.stage, ms})
	}
	var text strings.Builder
	if err := csv.NewWriter(&text).WriteAll(rows); err != nil {
		return "", fmt.Errorf("keeping the samples: %w", err)
	}
	if err := os.MkdirAll(filepath.Join(dir, folder), 0o755); err != nil {
		return "", fmt.Errorf("keeping the samples: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, path), []byte(text.String()), 0o644); err != nil {
		return "", fmt.Errorf("keeping the samples: %w", err)
	}
	return path, nil
}
