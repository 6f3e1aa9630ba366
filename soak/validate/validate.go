// Package validate judges the history of a run: validators are told of every event
// in order, while the run goes on or afterwards, and say what must not have been.
//
// A validator is told of events in the order in which they were known, see
// [history.Known]. What comes from different processes may still change places by a
// moment: who compares them decides [slack] later.
package validate

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/reports"
	"elemento.cloud/cluster-api-provider-elemento/soak/history"
)

// Event is one of a history.
type Event = history.Event

// Validator holds one invariant against a history. It is not safe for concurrent
// use.
type Validator interface {
	// Name is what people call it.
	Name() string
	// Observe tells of the next event, and returns what is certain to be wrong by
	// now.
	Observe(Event) []Violation
	// Finish ends the history and returns what is wrong besides.
	Finish() []Violation
	// Judged counts what the validator could judge: none is no reason to be
	// content. Unknown says why it cannot tell of some of it, or is empty.
	Judged() (count int, unknown string)
}

// Violation is something that must not have been.
type Violation struct {
	Validator string    `json:"validator"`
	Time      time.Time `json:"time"`
	What      string    `json:"what"`
	// Events show it, the decisive one last.
	Events []Event `json:"events,omitempty"`
}

func (v Violation) String() string {
	return fmt.Sprintf("%s %s: %s", v.Time.Format("15:04:05.000"), v.Validator, v.What)
}

// slack is how much later than it happened something may be told of by another
// process.
const slack = 5 * time.Second

// Limits are what the invariants promise. The zero value stands for the defaults.
type Limits struct {
	// Gap is for how long a cluster's API may not answer although it could; 10
	// seconds.
	Gap time.Duration
	// Left is for how long something may be there whose owner is gone; 30 seconds.
	Left time.Duration
	// Cleanup is how long an ElementoCleanup may take once its host is there; 2
	// minutes.
	Cleanup time.Duration
	// Fault is for how long after a fault its consequences may be seen; 2 minutes.
	Fault time.Duration
}

func (l Limits) complete() Limits {
	for limit, usual := range map[*time.Duration]time.Duration{
		&l.Gap: 10 * time.Second, &l.Left: 30 * time.Second, &l.Cleanup: 2 * time.Minute, &l.Fault: 2 * time.Minute,
	} {
		if *limit == 0 {
			*limit = usual
		}
	}
	return l
}

// All returns every validator, anew.
func All(l Limits) []Validator {
	l = l.complete()
	return []Validator{
		NewOneVM(), NewNoLivingDeleted(), NewNothingLeft(l), NewNothingForTheDead(),
		NewAPIAnswers(l), NewVMModel(), NewNoReconcileErrors(l),
	}
}

// most is how many violations of a validator are kept.
const most = 50

// panel is several validators that judge the same history.
type panel struct {
	validators []Validator
	found      map[string][]Violation
	more       map[string]int
	events     int
}

// newPanel returns one of these validators.
func newPanel(validators ...Validator) *panel {
	return &panel{validators: validators, found: map[string][]Violation{}, more: map[string]int{}}
}

// observe tells all validators of the next event.
func (p *panel) observe(e Event) (certain []Violation) {
	p.events++
	for _, v := range p.validators {
		found := v.Observe(e)
		p.keep(v, found)
		certain = append(certain, found...)
	}
	return certain
}

func (p *panel) keep(v Validator, found []Violation) {
	room := max(0, most-len(p.found[v.Name()]))
	p.found[v.Name()] = append(p.found[v.Name()], found[:min(room, len(found))]...)
	p.more[v.Name()] += len(found) - min(room, len(found))
}

// Result is what a validator came to.
type Result struct {
	Validator string          `json:"validator"`
	Verdict   reports.Verdict `json:"verdict"`
	// Judged is how much there was to judge.
	Judged int `json:"judged"`
	// Explanation says why the verdict is neither passed nor failed.
	Explanation string      `json:"explanation,omitempty"`
	Violations  []Violation `json:"violations,omitempty"`
	// More counts the violations beyond those.
	More int `json:"more,omitempty"`
}

// finish ends the history and returns the results in the order of the validators.
func (p *panel) finish() []Result {
	var results []Result
	for _, v := range p.validators {
		p.keep(v, v.Finish())
		count, unknown := v.Judged()
		r := Result{Validator: v.Name(), Verdict: reports.Passed, Judged: count, Violations: p.found[v.Name()], More: p.more[v.Name()]}
		switch {
		case len(r.Violations) > 0:
			r.Verdict = reports.Failed
		case unknown != "":
			r.Verdict, r.Explanation = reports.Unknown, unknown
		case p.events == 0:
			r.Verdict, r.Explanation = reports.Unknown, "the history is empty"
		case count == 0:
			r.Verdict, r.Explanation = reports.NotRun, "the history has nothing that it could judge"
		}
		results = append(results, r)
	}
	return results
}

// Verdict is that of all results. There is none on a history in which nothing
// could be judged.
func Verdict(results []Result) reports.Verdict {
	var verdicts []reports.Verdict
	for _, r := range results {
		if r.Verdict != reports.NotRun {
			verdicts = append(verdicts, r.Verdict)
		}
	}
	if len(verdicts) == 0 {
		return reports.Unknown
	}
	return reports.Sum(verdicts...)
}

// later holds what is to be decided when all is known that is to be known. It is
// part of validators.
type later struct {
	now  time.Time
	list []decision
}

type decision struct {
	due    time.Time
	decide func() []Violation
}

// after has something decided when so much time has passed in the history.
func (l *later) after(d time.Duration, decide func() []Violation) {
	due := l.now.Add(d)
	i, _ := slices.BinarySearchFunc(l.list, due, func(d decision, due time.Time) int {
		if d.due.After(due) {
			return 1
		}
		return -1
	})
	l.list = slices.Insert(l.list, i, decision{due, decide})
}

// pass lets time pass and decides what is due.
func (l *later) pass(e Event) (found []Violation) {
	if now := history.Known(e); now.After(l.now) {
		l.now = now
	}
	for len(l.list) > 0 && !l.list[0].due.After(l.now) {
		decide := l.list[0].decide
		l.list = l.list[1:]
		found = append(found, decide()...)
	}
	return found
}

// rest decides all that is left, at the end of a history.
func (l *later) rest() (found []Violation) {
	for len(l.list) > 0 {
		decide := l.list[0].decide
		l.list = l.list[1:]
		found = append(found, decide()...)
	}
	return found
}

// vmKey names a VM: its owner's client UUID and its name, which is unique for a
// Machine.
type vmKey struct{ owner, vm string }

// vmOfVolume is the VM that a volume is named after, or "".
func vmOfVolume(volume string) string {
	for _, suffix := range []string{"-boot", "-seed"} {
		if vm, is := strings.CutSuffix(volume, suffix); is {
			return vm
		}
	}
	if i := strings.LastIndex(volume, "-data-"); i > 0 {
		return volume[:i]
	}
	return ""
}
