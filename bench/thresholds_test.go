package main

import (
	"slices"
	"strings"
	"testing"

	"elemento.cloud/cluster-api-provider-elemento/reports"
)

func read(t *testing.T, file string) *thresholds {
	t.Helper()
	of, err := readThresholds([]byte(file), []string{"rest", "growth"})
	if err != nil {
		t.Fatal(err)
	}
	return of
}

func TestTheShippedThresholdsAreOfPartsThatThereAre(t *testing.T) {
	t.Parallel()
	if _, err := readThresholds(thresholdsFile, names(parts)); err != nil {
		t.Error(err)
	}
}

func TestAFigureThatMissesItsThresholdHasFailed(t *testing.T) {
	t.Parallel()
	of := read(t, `rest: {cpu: {atMost: 5, unit: "%"}, calls: {atLeast: 1, atMost: 2}}`)
	for _, c := range []struct {
		figure reports.Figure
		want   reports.Verdict
	}{
		{reports.Figure{Name: "cpu", Value: 5, Unit: "%"}, reports.Passed},
		{reports.Figure{Name: "cpu", Value: 5.1, Unit: "%"}, reports.Failed},
		{reports.Figure{Name: "calls", Value: 1.5}, reports.Passed},
		{reports.Figure{Name: "calls", Value: .9}, reports.Failed},
		{reports.Figure{Name: "calls", Value: 2.1}, reports.Failed},
		{reports.Figure{Name: "without a threshold", Value: 1e9}, reports.Passed},
	} {
		judged, err := of.judge("rest", c.figure)
		if err != nil || judged.Verdict() != c.want {
			t.Errorf("%+v is %s (%v), want %s", c.figure, judged.Verdict(), err, c.want)
		}
	}
}

func TestAThresholdIsOfItsPart(t *testing.T) {
	t.Parallel()
	of := read(t, `rest: {cpu: {atMost: 5}}`)
	if judged, err := of.judge("growth", reports.Figure{Name: "cpu", Value: 9}); err != nil || judged.AtMost != nil {
		t.Errorf("the figure of another part is judged as %+v (%v)", judged, err)
	}
	if of.has("growth", "cpu") || !of.has("rest", "cpu") {
		t.Error("the wrong part has it")
	}
}

func TestAFigureInAnotherUnitIsNotJudged(t *testing.T) {
	t.Parallel()
	of := read(t, `rest: {cpu: {atMost: 5, unit: "%"}}`)
	if judged, err := of.judge("rest", reports.Figure{Name: "cpu", Value: 4, Unit: "s"}); err == nil {
		t.Errorf("it is judged as %+v", judged)
	}
}

func TestAThresholdThatNobodyLookedAtIsSaid(t *testing.T) {
	t.Parallel()
	of := read(t, `rest: {cpu: {atMost: 5}, misspelled: {atMost: 1}, alsomissing: {atMost: 1}}`)
	if _, err := of.judge("rest", reports.Figure{Name: "cpu", Value: 4}); err != nil {
		t.Fatal(err)
	}
	if left := of.unmeasured("rest"); !slices.Equal(left, []string{"alsomissing", "misspelled"}) {
		t.Errorf("left are %q", left)
	}
}

func TestThresholdsThatSayNothingAreRefused(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]string{
		`nowhere: {cpu: {atMost: 5}}`:            `there is no part "nowhere"`,
		`rest: {cpu: {unit: "%"}}`:               "say atMost or atLeast",
		`rest: {cpu: {most: 5}}`:                 "unknown field",
		`rest: {a: {atMost: 1}}` + "\n  }":       "yaml",
		"rest: {a: {atMost: 1}, a: {atMost: 2}}": "already",
	} {
		if _, err := readThresholds([]byte(file), []string{"rest", "growth"}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want it to say %q", file, err, want)
		}
	}
}

func TestWhatIsPassedOverIsNotMeasured(t *testing.T) {
	t.Parallel()
	of := read(t, `rest: {cpu: {atMost: 5}, curve: {atMost: 1}, other: {atMost: 1}}`)
	if _, err := of.judge("rest", reports.Figure{Name: "cpu", Value: 4}); err != nil {
		t.Fatal(err)
	}
	of.passOver("rest", "curve")
	of.passOver("rest", "cpu") // it was judged
	of.passOver("rest", "without a threshold")
	if left, over := of.unmeasured("rest"), of.passedOver("rest"); !slices.Equal(left, []string{"other"}) || !slices.Equal(over, []string{"curve"}) {
		t.Errorf("left are %q and passed over %q", left, over)
	}
}

func TestThresholdsOfEightAtATimeAreNotForOthers(t *testing.T) {
	t.Parallel()
	for together, want := range map[int][]string{8: nil, 4: {"VM made by C4, 8 at a time"}} {
		of := read(t, `rest: {"VM made by C4, 8 at a time": {atMost: 5}, "VM made by C4, 1 at a time": {atMost: 5}}`)
		of.passOverSeveral("rest", together)
		if over := of.passedOver("rest"); !slices.Equal(over, want) {
			t.Errorf("with %d at a time, %q are passed over", together, over)
		}
	}
}

func TestLiftedThresholdsAreNotLookedAt(t *testing.T) {
	t.Parallel()
	of := read(t, `rest: {cpu: {atMost: 5}}`)
	of.lifted = true
	f, err := of.judge("rest", reports.Figure{Name: "cpu", Value: 9})
	if over := of.passedOver("rest"); err != nil || f.AtMost != nil || !slices.Equal(over, []string{"cpu"}) || of.unmeasured("rest") != nil {
		t.Errorf("it is judged as %+v (%v), and passed over are %q", f, err, over)
	}
}
