package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/reports"
)

// samplesOf are those of a phase of each side, in ms.
func samplesOf(phase, stage string, ourMS, peersMS []int) []sample {
	var all []sample
	for side, of := range map[string][]int{ours: ourMS, peers: peersMS} {
		for round, ms := range of {
			all = append(all, sample{round: round + 1, side: side, phase: phase, stage: stage, took: time.Duration(ms) * time.Millisecond})
		}
	}
	return all
}

func TestARatioIsOurMedianByThePeers(t *testing.T) {
	t.Parallel()
	samples := append(samplesOf("0 → 1 workers", "", []int{900, 100, 500}, []int{1000, 2000, 900}),
		samplesOf("0 → 1 workers", "bootstrap data ready → provisioned", []int{30}, []int{10})...)
	ratios, err := compared(samples)
	if err != nil {
		t.Fatal(err)
	}
	if len(ratios) != 2 || ratios[0].value() != .5 || ratios[1].value() != 3 {
		t.Fatalf("the ratios are %+v", ratios)
	}
	verdicts := map[string]reports.Verdict{}
	for _, f := range figures(ratios, limits{Phases: 1.1, Stages: 1}, true) {
		verdicts[f.Name] = f.Verdict()
	}
	if got := verdicts["0 → 1 workers, ours ÷ the peer's"]; got != reports.Passed {
		t.Errorf("half of the peer's time: %s", got)
	}
	if got := verdicts["0 → 1 workers: bootstrap data ready → provisioned, ours ÷ the peer's"]; got != reports.Failed {
		t.Errorf("three times the peer's time: %s", got)
	}
	for _, f := range figures(ratios, limits{Phases: .1, Stages: .1}, false) {
		if f.Verdict() != reports.Passed {
			t.Errorf("%s is judged although nobody asked", f.Name)
		}
	}
	if shown := table(ratios); !strings.Contains(shown, "0.50 s") || !strings.Contains(shown, "3.00") {
		t.Errorf("the table is\n%s", shown)
	}
}

func TestOfTwoRoundsNeitherIsPassedOver(t *testing.T) {
	t.Parallel()
	ratios, err := compared(samplesOf("create 3+3", "", []int{60, 120}, []int{60, 60}))
	if err != nil || len(ratios) != 1 || ratios[0].value() != 1.5 {
		t.Errorf("the ratios are %+v (%v), want 1.5", ratios, err)
	}
}

func TestWhatOneSideAloneDidHasNoRatio(t *testing.T) {
	t.Parallel()
	if ratios, err := compared(samplesOf("create 3+3", "", []int{1}, nil)); err == nil {
		t.Errorf("compared with nothing: %+v", ratios)
	}
}

func TestThresholdsAreBothGiven(t *testing.T) {
	t.Parallel()
	if _, err := readLimits(limitsFile); err != nil {
		t.Error(err)
	}
	for _, file := range []string{"phases: 1.1", "phases: 1.1\nstages: 1\nstage: 2", "phases: -1\nstages: 1"} {
		if l, err := readLimits([]byte(file)); err == nil {
			t.Errorf("%q is read as %+v", file, l)
		}
	}
}

func TestAllSamplesAreKept(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	name, err := keep(dir, []sample{
		{round: 1, side: peers, phase: "0 → 1 workers", took: 1500 * time.Microsecond},
		{round: 2, side: ours, phase: "0 → 1 workers", machine: "m", stage: "s", took: time.Second},
	})
	if err != nil {
		t.Fatal(err)
	}
	if folder := filepath.Dir(name); folder != "samples" {
		t.Errorf("they are kept in %s, which a new run does not clear", folder)
	}
	kept, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	want := "round,side,phase,machine,stage,ms\n1,the peer's,0 → 1 workers,,,1.500\n2,ours,0 → 1 workers,m,s,1000.000\n"
	if string(kept) != want {
		t.Errorf("kept is\n%swant\n%s", kept, want)
	}
}
