package watch

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"
)

// Recording is what Prometheus had of a scenario, of which a test of promtool can be
// made.
type Recording struct {
	// Name names the scenario, and Does says in a sentence what was done.
	Name, Does string
	// Span is what was recorded; its step is the interval of the scrapes. Fault is when
	// things began to be wrong, zero in a run in which nothing was.
	Span
	Fault time.Time
	// Hold is for how long the test goes on with what was there at the end.
	Hold time.Duration
	// Fires are the alerts that fire at the end, in order. No other fires at any time, and
	// none at all before the fault.
	Fires  []string
	Series model.Matrix
}

// Record takes the series of the jobs that are shipped that rules are made of. Those of histograms' buckets
// are many; they are taken only with buckets.
func (p *Prometheus) Record(ctx context.Context, rules []Rule, over Span, buckets bool) (series model.Matrix, err error) {
	for _, metric := range Scraped(rules) {
		if strings.HasSuffix(metric, "_bucket") && !buckets {
			continue
		}
		matrix, err := p.Range(ctx, fmt.Sprintf(`{__name__="%s", job=~"elemento-.*|cluster-api"}`, metric), over)
		if err != nil {
			return nil, err
		}
		slices.SortFunc(matrix, func(a, b *model.SampleStream) int { return strings.Compare(a.Metric.String(), b.Metric.String()) })
		series = append(series, withoutStill(matrix)...)
	}
	return series, nil
}

// withoutStill leaves out the histograms of which no bucket has moved: their rates are
// zero, and they are most of all series.
func withoutStill(matrix model.Matrix) model.Matrix {
	moved := map[model.Fingerprint]bool{}
	histogram := func(s *model.SampleStream) model.Fingerprint {
		labels := s.Metric.Clone()
		delete(labels, model.BucketLabel)
		return labels.Fingerprint()
	}
	for _, s := range matrix {
		if n := len(s.Values); n > 0 && s.Values[0].Value != s.Values[n-1].Value {
			moved[histogram(s)] = true
		}
	}
	return slices.DeleteFunc(matrix, func(s *model.SampleStream) bool {
		_, bucket := s.Metric[model.BucketLabel]
		return bucket && !moved[histogram(s)]
	})
}

// Test is the recording as a test of promtool, with the rule files as they are reached
// from its own.
func (r Recording) Test(ruleFiles ...string) []byte {
	var b bytes.Buffer
	b.Write(r.Head(ruleFiles...))
	steps := int(r.To.Sub(r.From)/r.Step) + 1
	fmt.Fprintf(&b, "- name: %s\n  interval: %s\n  start_timestamp: %q\n  input_series:\n", r.Name, short(r.Step), r.From.UTC().Format(time.RFC3339Nano))
	since := r.Fault
	if since.IsZero() {
		since = r.From
	}
	// From the last step before.
	wrong := steps - 1 - int(since.Sub(r.From)/r.Step)
	for _, s := range r.Series {
		values := notation(points(s, r.Span, steps), int(r.Hold/r.Step), paceOf(string(s.Metric[model.MetricNameLabel]), wrong), wrong)
		fmt.Fprintf(&b, "  - series: '%s'\n    values: '%s'\n", s.Metric, values)
	}
	b.Write(r.Demands())
	return b.Bytes()
}

// Head is what the test begins with, up to its series: what it is of, and how it was made.
func (r Recording) Head(ruleFiles ...string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# %s\n#\n", r.Does)
	fmt.Fprintf(&b, "# Recorded by `make watch-record`: each series as Prometheus had it in a world with a\n")
	fmt.Fprintf(&b, "# fake AtomOS, every %s over %s.", short(r.Step), short(r.To.Sub(r.From)))
	if r.Hold > 0 {
		fmt.Fprintf(&b, " What follows, up to %s, was not recorded: counters\n", short(r.To.Sub(r.From)+r.Hold))
		fmt.Fprintf(&b, "# go on at the pace that they had while things were wrong, ages at that which they had\n# last, what wavered does so on and on, and all else stays as it was.\n")
	} else {
		b.WriteString("\n")
	}
	fmt.Fprintf(&b, "rule_files: [%s]\nevaluation_interval: %s\nfuzzy_compare: true\ntests:\n", strings.Join(ruleFiles, ", "), short(r.Step))
	return b.Bytes()
}

// Demands is what the test ends with: which alerts fire when. Since most of them wait
// longer than the time before the fault is, all the time counts: none fires but those that
// do at the end.
func (r Recording) Demands() []byte {
	var b bytes.Buffer
	b.WriteString("  promql_expr_test:\n")
	quiet, end := r.Fault.Sub(r.From).Truncate(r.Step), r.To.Sub(r.From)+r.Hold
	if r.Fault.IsZero() {
		quiet = end
	}
	// A range begins after its first moment, so it is longer by a step.
	fmt.Fprintf(&b, "  - eval_time: %s\n    expr: group by (alertname) (last_over_time(ALERTS{alertstate=\"firing\"}[%s]))\n    exp_samples: []\n", short(quiet), short(quiet+r.Step))
	if !r.Fault.IsZero() {
		fmt.Fprintf(&b, "  - eval_time: %s\n    expr: group by (alertname) (last_over_time(ALERTS{alertstate=\"firing\"}[%s])) unless on (alertname) ALERTS{alertstate=\"firing\"}\n    exp_samples: []\n", short(end), short(end+r.Step))
		fmt.Fprintf(&b, "  - eval_time: %s\n    expr: group by (alertname) (ALERTS{alertstate=\"firing\"})\n    exp_samples:\n", short(end))
		for _, alert := range r.Fires {
			fmt.Fprintf(&b, "    - labels: '{alertname=\"%s\"}'\n      value: 1\n", alert)
		}
	}
	return b.Bytes()
}

// short writes a duration as Prometheus does.
func short(d time.Duration) string { return model.Duration(d.Round(time.Second)).String() }

// paceOf is of how many of the last steps a metric goes on at the pace: a counter of all
// in which things were wrong, an age of the very last, and what counts nothing of none.
func paceOf(metric string, wrong int) int {
	has := func(suffix string) bool { return strings.HasSuffix(metric, suffix) }
	switch {
	case slices.ContainsFunc([]string{"_total", "_count", "_bucket"}, has):
		return wrong
	case has("_age_seconds"):
		return 2
	}
	return 0
}

// points are the values of a series at each step, NaN where it has none.
func points(s *model.SampleStream, over Span, steps int) []float64 {
	values := make([]float64, steps)
	for i := range values {
		values[i] = math.NaN()
	}
	for _, p := range s.Values {
		if i := int(math.Round(float64(p.Timestamp.Time().Sub(over.From)) / float64(over.Step))); i >= 0 && i < steps {
			values[i] = float64(p.Value)
		}
	}
	return values
}

// notation writes values as promtool reads them: what stays and what grows evenly in one
// word each. After them come hold more, which go on at the pace of so many of the last
// steps; where there is no pace, what wavered in those that were wrong does so on and on,
// and the rest stays.
func notation(values []float64, hold, pace, wrong int) string {
	var words []string
	for i := 0; i < len(values); {
		n := 1
		if math.IsNaN(values[i]) {
			for i+n < len(values) && math.IsNaN(values[i+n]) {
				n++
			}
			if i > 0 { // it was there, and Prometheus knew that it no longer was
				words = append(words, "stale")
				i, n = i+1, n-1
			}
			if n > 0 {
				words = append(words, repeated("_", n, 1))
			}
			i += n
			continue
		}
		step := 0.0
		if i+1 < len(values) && !math.IsNaN(values[i+1]) && whole(values[i]) && whole(values[i+1]) {
			step = values[i+1] - values[i]
		}
		for i+n < len(values) && values[i+n]-values[i+n-1] == step {
			n++
		}
		if n < 3 && step != 0 {
			n, step = 1, 0
		}
		word := number(values[i])
		if step != 0 {
			word += signed(step)
		}
		words = append(words, repeated(word, n, 0))
		i += n
	}
	since := values[len(values)-max(1, wrong):]
	if again := joined(since); hold > 0 && pace == 0 && rises(since) {
		pace = 2 // an age of something
	} else if hold > 0 && pace == 0 && wavers(again) {
		for n := 0; n < hold; n += len(again) {
			words = append(words, notation(again[:min(len(again), hold-n)], 0, 0, 0))
		}
		return strings.Join(words, " ")
	}
	if end := values[len(values)-1]; hold > 0 && !math.IsNaN(end) {
		word, step := number(end), 0.0
		first := len(values) - 1 - min(pace, len(values)-1)
		for first < len(values)-1 && math.IsNaN(values[first]) {
			first++
		}
		if n := len(values) - 1 - first; n > 0 {
			step = max(0, end-values[first]) / float64(n)
		}
		if step > 0 {
			word = number(end+step) + signed(step)
		}
		words = append(words, repeated(word, hold, 0))
	}
	return strings.Join(words, " ")
}

// rises tells whether values never fall, and have risen in each of the last two steps.
func rises(values []float64) bool {
	n := len(values)
	return n > 2 && slices.IsSorted(values) && values[n-3] < values[n-2] && values[n-2] < values[n-1]
}

// joined are values from where they first were what they are at the end, or went past it, so
// that they can follow on themselves: what grew and wavers now does not begin anew.
func joined(values []float64) []float64 {
	end := values[len(values)-1]
	for i, v := range values {
		if v == end || i > 0 && (v > end) != (values[i-1] > end) && !math.IsNaN(v+values[i-1]) {
			return values[i:]
		}
	}
	return values
}

// wavers tells whether values change more than once.
func wavers(values []float64) bool {
	changes := 0
	for i, v := range values[1:] {
		if math.IsNaN(v) || math.IsNaN(values[i]) {
			return false
		}
		if v != values[i] {
			changes++
		}
	}
	return changes > 1
}

func whole(v float64) bool { return v == math.Trunc(v) && math.Abs(v) < 1<<53 }

func number(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

func signed(v float64) string {
	if v < 0 {
		return number(v)
	}
	return "+" + number(v)
}

// repeated writes a word for n values; promtool counts those after the first, but for
// what is missing, of which it counts all.
func repeated(word string, n, missing int) string {
	if n == 1 {
		return word
	}
	return fmt.Sprintf("%sx%d", word, n-1+missing)
}
