package watch

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
)

// gone is where a series has nothing.
var gone = math.NaN()

func TestValuesAreWrittenForPromtool(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		values []float64
		hold   int
		pace   int
		wrong  int
		want   string
	}{
		{values: []float64{1, 1, 1, 1}, want: "1x3"},
		{values: []float64{1, 2, 3, 4}, want: "1+1x3"},
		{values: []float64{4, 2, 0}, want: "4-2x2"},
		{values: []float64{1, 5}, want: "1 5"},
		{values: []float64{.5, .75, 1}, want: "0.5 0.75 1"},
		{values: []float64{64e9, 64e9}, want: "64000000000x1"},
		{values: []float64{gone, gone, 1, 1}, want: "_x2 1x1"},
		{values: []float64{1, gone, gone, gone, 2}, want: "1 stale _x2 2"},
		{values: []float64{3, 3}, hold: 10, want: "3x1 3x9"},
		{values: []float64{0, 0, 4, 8}, hold: 10, pace: 2, want: "0x1 4 8 12+4x9"},
		{values: []float64{0, 0, 4, 8}, hold: 10, pace: 99, want: "0x1 4 8 10.666666666666666+2.6666666666666665x9"},
		{values: []float64{9, 9, 1, 1}, hold: 10, pace: 3, want: "9x1 1x1 1x9"}, // counted anew
		{values: []float64{1, gone}, hold: 10, want: "1 stale"},
		{values: []float64{0, 0, 0, 0, 1, 1, 0, 0, 0}, hold: 10, wrong: 8, want: "0x3 1x1 0x2 0x2 1x1 0x2 0x1"},
		{values: []float64{.5, .25, .5, 5.5, 10.5}, hold: 10, wrong: 4, want: "0.5 0.25 0.5 5.5 10.5 15.5+5x9"},
		{values: []float64{.5, .25, 10.5, 5.5, 10.5}, hold: 8, wrong: 4, want: "0.5 0.25 10.5 5.5 10.5 10.5 5.5 10.5 10.5 5.5 10.5 10.5 5.5"},
		{values: []float64{0, 0, 0, 60, 137, 138, 137}, hold: 5, wrong: 5, want: "0x2 60 137 138 137 137 138 137 137 138"}, // it has grown
		{values: []float64{0, 0, 0, 0, 0, 1, 1, 1, 1}, hold: 10, wrong: 8, want: "0x4 1x3 1x9"},
	} {
		if got := notation(c.values, c.hold, c.pace, c.wrong); got != c.want {
			t.Errorf("%v, held for %d at the pace of %d, is %q, want %q", c.values, c.hold, c.pace, got, c.want)
		}
	}
}

func TestARecordingIsATestOfPromtool(t *testing.T) {
	t.Parallel()
	from := time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC)
	r := Recording{
		Name: "it-happens", Does: "Something happens.", Span: Span{From: from, To: from.Add(20 * time.Second), Step: 5 * time.Second},
		Fault: from.Add(11 * time.Second), Hold: time.Minute, Fires: []string{"AnAlert"},
		Series: model.Matrix{{Metric: model.Metric{"__name__": "up", "job": "j"}, Values: []model.SamplePair{
			{Timestamp: model.TimeFromUnix(from.Unix()), Value: 1}, {Timestamp: model.TimeFromUnix(from.Unix() + 5), Value: 1},
		}}},
	}
	text := string(r.Test("../a.rules.yaml"))
	for _, want := range []string{
		"# Something happens.", "up to 1m20s, was not recorded", "rule_files: [../a.rules.yaml]", "evaluation_interval: 5s",
		`start_timestamp: "2026-01-02T03:04:00Z"`, `- series: 'up{job="j"}'`, "values: '1x1 stale _x2'",
		"eval_time: 10s", "exp_samples: []", "eval_time: 1m20s", `{alertname="AnAlert"}`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
}

func TestNoAlertFiresAtAnyTimeButThoseThatDoAtTheEnd(t *testing.T) {
	t.Parallel()
	from := time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC)
	over := Span{From: from, To: from.Add(20 * time.Second), Step: 5 * time.Second}
	const ever = `group by (alertname) (last_over_time(ALERTS{alertstate="firing"}`
	for _, c := range []struct {
		fault time.Time
		want  []string
	}{
		{time.Time{}, []string{
			"eval_time: 1m20s\n    expr: " + ever + "[1m25s]))\n    exp_samples: []\n",
		}},
		{from.Add(11 * time.Second), []string{
			"eval_time: 10s\n    expr: " + ever + "[15s]))\n    exp_samples: []\n",
			"eval_time: 1m20s\n    expr: " + ever + `[1m25s])) unless on (alertname) ALERTS{alertstate="firing"}` + "\n    exp_samples: []\n",
		}},
	} {
		demands := string(Recording{Span: over, Hold: time.Minute, Fault: c.fault}.Demands())
		for _, want := range c.want {
			if !strings.Contains(demands, want) {
				t.Errorf("%q is not in\n%s", want, demands)
			}
		}
	}
}

func TestHistogramsThatStandStillAreLeftOut(t *testing.T) {
	t.Parallel()
	series := func(call, le model.LabelValue, first, last model.SampleValue) *model.SampleStream {
		metric := model.Metric{"__name__": "x_bucket", "call": call}
		if le != "" {
			metric["le"] = le
		}
		return &model.SampleStream{Metric: metric, Values: []model.SamplePair{{Value: first}, {Value: last}}}
	}
	left := withoutStill(model.Matrix{series("a", "1", 3, 3), series("a", "+Inf", 3, 4), series("b", "1", 3, 3), series("b", "+Inf", 4, 4), series("c", "", 1, 1)})
	var calls []string
	for _, s := range left {
		calls = append(calls, string(s.Metric["call"]))
	}
	if !slices.Equal(calls, []string{"a", "a", "c"}) {
		t.Errorf("left are those of %q", calls)
	}
}

func TestRecordsAreFollowedToWhatIsScraped(t *testing.T) {
	t.Parallel()
	rules := []Rule{
		{Record: "a:b", Expr: "sum(rate(b_total[5m])) / c"}, {Record: "a:d", Expr: "max(a:b)"}, {Record: "a:nobody", Expr: "n"},
		{Alert: "A", Expr: "a:d > 1 or up == 0"},
	}
	if got := Scraped(rules); !slices.Equal(got, []string{"b_total", "c", "up"}) {
		t.Errorf("scraped are %q", got)
	}
}
