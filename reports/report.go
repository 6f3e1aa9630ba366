package reports

import (
	"math"
	"slices"
	"time"
)

// Format is the version of the JSON form. It goes up when a reader of the one
// before would misunderstand a report.
const Format = 1

// Verdict is what a run says of a criterion.
type Verdict string

// The verdicts.
const (
	// Passed means that all was looked at, and all was well.
	Passed Verdict = "passed"
	// Failed means that something was looked at and was not well.
	Failed Verdict = "failed"
	// NotRun means that nobody asked.
	NotRun Verdict = "not run"
	// Unknown means that the run began and did not come to a result, or came to
	// an empty one.
	Unknown Verdict = "unknown"
)

// Verdicts are all of them.
var Verdicts = []Verdict{Passed, Failed, NotRun, Unknown}

// Report is one run of a suite.
type Report struct {
	Format int    `json:"format"`
	Title  string `json:"title"`
	// Verdict sums up those of the criteria; see [Sum].
	Verdict Verdict `json:"verdict"`
	// Explanation says what went wrong, where that is not said of a criterion.
	Explanation string `json:"explanation,omitempty"`
	// Command repeats the run.
	Command string    `json:"command"`
	Start   time.Time `json:"start"`
	End     time.Time `json:"end"`
	// Seed is that of the run's random choices; empty when it made none.
	Seed        string      `json:"seed,omitempty"`
	Environment Environment `json:"environment"`
	// Criteria are those of the checklist, all of them and in its order.
	Criteria []Criterion `json:"criteria"`
	// Figures are numbers that belong to no criterion, and Latencies latencies.
	Figures   []Figure  `json:"figures,omitempty"`
	Latencies []Latency `json:"latencies,omitempty"`
	// Steps are what was done, in order.
	Steps []Step `json:"steps"`
	// Validators are those that judged the run as a whole.
	Validators []Validator `json:"validators,omitempty"`
	// Charts show what follows from what the run varied.
	Charts []Chart `json:"charts,omitempty"`
	// TimeLines show how the run went.
	TimeLines []TimeLine `json:"timeLines,omitempty"`
	// Parts are the processes that one run was made of, where it was resumed; none
	// for a run of one process.
	Parts []Part `json:"parts,omitempty"`
	// Evidence is what is of use for the run as a whole, such as logs.
	Evidence []Evidence `json:"evidence,omitempty"`
	// Runs are those that a sign-off was merged from, the newest first.
	Runs []Run `json:"runs,omitempty"`
	// TrackRecord are the bugs that the suites have found so far; a sign-off's.
	TrackRecord []Bug `json:"trackRecord,omitempty"`
}

// Merged tells whether more than one process made the run, one after the other.
func (r Report) Merged() bool { return len(r.Parts) > 1 }

// Well tells whether nothing went wrong: no criterion is anything but passed or
// not run, except for want of a longer run.
func (r Report) Well() bool {
	if r.Verdict == Failed {
		return false
	}
	for _, c := range r.Criteria {
		if c.Verdict == Failed || c.Verdict == Unknown && len(c.Lacks) == 0 {
			return false
		}
	}
	return r.Verdict == Passed || slices.ContainsFunc(r.Criteria, func(c Criterion) bool { return len(c.Lacks) > 0 })
}

// Part is one process of a run that was resumed.
type Part struct {
	Start time.Time `json:"start"`
	End   time.Time `json:"end"`
}

// Criterion is a line of the checklist and its answer.
type Criterion struct {
	ID     string `json:"id"`
	Title  string `json:"title"`
	Target string `json:"target"`
	// Verdict follows from the steps, figures and latencies.
	Verdict Verdict `json:"verdict"`
	// Explanation says why the verdict is what it is, where that is not plain.
	Explanation string `json:"explanation,omitempty"`
	// Lacks say what keeps a criterion from being passed although all was well
	// that was looked at, such as "a short run: 0.5 h of 24 h".
	Lacks     []string  `json:"lacks,omitempty"`
	Figures   []Figure  `json:"figures,omitempty"`
	Latencies []Latency `json:"latencies,omitempty"`
	// Items name what was counted, such as the specs that passed.
	Items      []Item      `json:"items,omitempty"`
	Scenarios  []Scenario  `json:"scenarios,omitempty"`
	Validators []Validator `json:"validators,omitempty"`
	Evidence   []Evidence  `json:"evidence,omitempty"`
	// Command is the one that measures it; empty where there is none yet.
	Command string `json:"command,omitempty"`
	// Run is the name of the one that examined it, in a sign-off.
	Run string `json:"run,omitempty"`
}

// Figure is one measured number.
type Figure struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	// Unit is empty for a count.
	Unit string `json:"unit,omitempty"`
	// AtMost and AtLeast are the limits that Value must keep, where it has some.
	AtMost  *float64 `json:"atMost,omitempty"`
	AtLeast *float64 `json:"atLeast,omitempty"`
	// Interval says how sure Value is, where it stands for more than was counted.
	Interval *Interval `json:"interval,omitempty"`
	// Command is the one that took the number, where it is not the criterion's.
	Command string `json:"command,omitempty"`
}

// Verdict judges a figure by its limits.
func (f Figure) Verdict() Verdict {
	if f.AtMost != nil && f.Value > *f.AtMost || f.AtLeast != nil && f.Value < *f.AtLeast {
		return Failed
	}
	return Passed
}

// isNumber tells whether there is a value that limits can be asked of.
func (f Figure) isNumber() bool { return !math.IsNaN(f.Value) && !math.IsInf(f.Value, 0) }

// Item is one of several things that a criterion names.
type Item struct {
	Name    string  `json:"name"`
	Verdict Verdict `json:"verdict"`
	Detail  string  `json:"detail,omitempty"`
}

// Step is something that the run did, and how long it took.
type Step struct {
	// Criterion is the ID of the one that it belongs to; empty for none.
	Criterion string    `json:"criterion,omitempty"`
	Name      string    `json:"name"`
	Start     time.Time `json:"start"`
	Seconds   float64   `json:"seconds"`
	// Verdict is passed, failed, or unknown while the step has not ended.
	Verdict Verdict `json:"verdict"`
}

// Evidence is a file that shows what the report says.
type Evidence struct {
	Title string `json:"title"`
	// Path leads to it from the directory of the report.
	Path string `json:"path"`
}

// Sum is the verdict over several: failed if one is, else unknown if one is,
// else passed if one is. What was not run does not count.
func Sum(verdicts ...Verdict) Verdict {
	for _, v := range []Verdict{Failed, Unknown, Passed} {
		if slices.Contains(verdicts, v) {
			return v
		}
	}
	return NotRun
}

// Criterion finds a criterion by its ID.
func (r Report) Criterion(id string) (Criterion, bool) {
	i := slices.IndexFunc(r.Criteria, func(c Criterion) bool { return c.ID == id })
	if i < 0 {
		return Criterion{}, false
	}
	return r.Criteria[i], true
}
