package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/reports"
)

// merge tells what one or more runs came to: each test by name, what sonobuoy says of each
// run, and how much of all there is to run that was.
func merge(c1 *reports.Examination, tests []string, results []result) {
	ran := map[string]bool{}
	passed, all := 0, 0
	for _, r := range results {
		c1.Item(reports.Item{Name: "sonobuoy's verdict on " + r.Chunk.Name, Verdict: r.verdict(), Detail: r.told()})
		for _, t := range r.Tests {
			c1.Item(reports.Item{Name: t.Name, Verdict: t.Verdict, Detail: t.Message})
			ran[t.Name] = true
			all++
			if t.Verdict == reports.Passed {
				passed++
			}
		}
		c1.Evidence(reports.Evidence{Title: "what sonobuoy found, " + r.Chunk.Name, Path: filepath.Join("chunks", r.Chunk.Name)})
	}
	left := slices.DeleteFunc(slices.Clone(tests), func(name string) bool { return ran[name] })
	c1.Figure(
		reports.Figure{Name: reports.ConformanceTests, Value: float64(len(tests) - len(left)), Command: "sonobuoy retrieve"},
		reports.Figure{Name: reports.ConformanceTestsLeft, Value: float64(len(left)), Command: "test/conformance/testdata/conformance.yaml of Kubernetes"},
		reports.Figure{Name: reports.ConformanceRuns, Value: float64(len(results)), Command: "sonobuoy run"},
		reports.Figure{Name: "tests that passed", Value: float64(passed)},
		reports.Figure{Name: "tests that failed", Value: float64(all - passed)},
	)
}

// told is how sonobuoy's run ended, in words.
func (r result) told() string {
	failed := 0
	for _, t := range r.Tests {
		if t.Verdict == reports.Failed {
			failed++
		}
	}
	said := r.Said
	if said == "" {
		said = "nothing"
	}
	parts := []string{
		fmt.Sprintf("sonobuoy says %s; %d tests ran, %d failed, in %s", said, len(r.Tests), failed, r.End.Sub(r.Start).Round(time.Second)),
		r.Of.String(),
	}
	if len(r.Tests) == 0 {
		parts = append(parts, "an empty result says nothing")
	}
	if r.Why != "" {
		parts = append(parts, r.Why)
	}
	return strings.Join(parts, "; ")
}
