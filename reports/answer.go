package reports

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Answer is what is known of a criterion of the checklist: of a single run, or of
// several that examined it by different suites or in different environments.
type Answer struct {
	ID, Title, Target string
	// Verdict is failed if one of the runs says so, else passed if one does.
	Verdict Verdict
	// Of are what the runs say, one entry for one that nobody examined.
	Of []Criterion
}

// Answers are those to the criteria of the checklist, in its order.
func (r Report) Answers() []Answer {
	var answers []Answer
	for _, c := range r.Criteria {
		i := slices.IndexFunc(answers, func(a Answer) bool { return a.ID == c.ID })
		if i < 0 {
			i = len(answers)
			answers = append(answers, Answer{ID: c.ID, Title: c.Title, Target: c.Target})
		}
		answers[i].Of = append(answers[i].Of, c)
	}
	for i := range answers {
		answers[i].Verdict = best(answers[i].Of)
	}
	return answers
}

// best is the verdict over what several runs say of one criterion. A failure
// counts wherever it was; that one of the runs came to no result takes nothing from
// another's.
func best(of []Criterion) Verdict {
	for _, v := range []Verdict{Failed, Passed, Unknown} {
		if slices.ContainsFunc(of, func(c Criterion) bool { return c.Verdict == v }) {
			return v
		}
	}
	return NotRun
}

// tally is how many criteria have a verdict.
func tally(answers []Answer, v Verdict) int {
	n := 0
	for _, a := range answers {
		if a.Verdict == v {
			n++
		}
	}
	return n
}

// summary is what was measured of a criterion, in a few lines.
func summary(c Criterion) []string {
	var lines []string
	if n := len(c.Scenarios); n > 0 {
		slowest := slices.MaxFunc(c.Scenarios, func(a, b Scenario) int { return cmp.Compare(a.Seconds, b.Seconds) })
		lines = append(lines, fmt.Sprintf("%d of %d scenarios passed", passedOf(c.Scenarios, func(s Scenario) Verdict { return s.Verdict }), n),
			fmt.Sprintf("slowest: %s, %s (%s cycles)", slowest.Name, seconds(slowest.Seconds), number(slowest.Cycles, "")))
	}
	if n := len(c.Items); n > 0 {
		ran := n - len(slices.DeleteFunc(slices.Clone(c.Items), func(i Item) bool { return i.Verdict != NotRun }))
		lines = append(lines, fmt.Sprintf("%d of %d passed, %d not run", passedOf(c.Items, func(i Item) Verdict { return i.Verdict }), ran, n-ran))
	}
	for _, f := range telling(c) {
		lines = append(lines, measured(f))
	}
	const most = 3
	for i, l := range c.Latencies {
		if i == most {
			lines = append(lines, fmt.Sprintf("and %d more", len(c.Latencies)-most))
			break
		}
		if l.Count == 0 {
			lines = append(lines, l.Name+": not measured")
			continue
		}
		lines = append(lines, fmt.Sprintf("%s: p50 %s, p90 %s, p99 %s (n = %d)", l.Name, duration(l.P50), duration(l.P90), duration(l.P99), l.Count))
	}
	if n := len(c.Validators); n > 0 {
		line := fmt.Sprintf("%d of %d validators passed", passedOf(c.Validators, func(v Validator) Verdict { return v.Verdict }), judging(c.Validators))
		if idle := n - judging(c.Validators); idle > 0 {
			line += fmt.Sprintf(", %d had nothing to judge", idle)
		}
		lines = append(lines, line)
	}
	return lines
}

// telling are the figures that decide: those that the criterion asks for and those
// with a limit; all, where there are none.
func telling(c Criterion) []Figure {
	var of []Figure
	for _, f := range c.Figures {
		asked := slices.ContainsFunc(enough[c.ID], func(q requirement) bool { return q.of == f.Name })
		if asked || f.AtMost != nil || f.AtLeast != nil {
			of = append(of, f)
		}
	}
	if len(of) == 0 {
		return c.Figures
	}
	return of
}

func passedOf[T any](of []T, verdict func(T) Verdict) int {
	n := 0
	for _, one := range of {
		if verdict(one) == Passed {
			n++
		}
	}
	return n
}

// fakes are the names of the runs, or the title of the only one, whose AtomOS was
// the fake.
func fakes(r Report) string {
	if len(r.Runs) == 0 {
		if r.Environment.IsFake() {
			return r.Title
		}
		return ""
	}
	var names []string
	for _, run := range r.Runs {
		if run.Environment.IsFake() {
			names = append(names, run.Name)
		}
	}
	if len(names) == len(r.Runs) {
		return "all runs"
	}
	return strings.Join(names, ", ")
}
