package reports

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"
)

// Recorder takes down a run while it goes on, and tells its progress. Its
// methods may be called from several goroutines.
type Recorder struct {
	progress io.Writer

	mu     sync.Mutex
	report Report
}

// Record starts a report, now. Progress is written a line for each criterion
// and step.
func Record(title, command string, progress io.Writer) *Recorder {
	return &Recorder{progress: progress, report: Report{
		Format:   Format,
		Title:    title,
		Verdict:  NotRun,
		Command:  command,
		Start:    time.Now(),
		Criteria: Checklist(),
		Steps:    []Step{},
	}}
}

// Describe says what the run stands on.
func (r *Recorder) Describe(e Environment) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.report.Environment = e
}

// Setting adds what changes the figures, to what the run stands on.
func (r *Recorder) Setting(s ...Setting) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.report.Environment.Settings = append(r.report.Environment.Settings, s...)
}

// Seed says what repeats the run's random choices.
func (r *Recorder) Seed(seed string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.report.Seed = seed
	fmt.Fprintf(r.progress, "seed %s\n", seed)
}

// Explain says what went wrong outside of the criteria; it may be said often.
func (r *Recorder) Explain(what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.report.Explanation != "" {
		r.report.Explanation += "\n"
	}
	r.report.Explanation += what
}

// Evidence adds a file that is of use for the run as a whole.
func (r *Recorder) Evidence(e ...Evidence) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.report.Evidence = append(r.report.Evidence, e...)
}

// Figure adds numbers that belong to no criterion. One that is no number, such as a
// share of nothing, was not measured: the run has failed.
func (r *Recorder) Figure(f ...Figure) {
	for _, f := range f {
		if !f.isNumber() {
			r.Explain(f.Name + " was not measured: it is no number")
			continue
		}
		r.mu.Lock()
		r.report.Figures = append(r.report.Figures, f)
		fmt.Fprintf(r.progress, "           %s: %s\n", f.Name, number(f.Value, f.Unit))
		r.mu.Unlock()
	}
}

// Latency adds latencies that belong to no criterion.
func (r *Recorder) Latency(l ...Latency) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.report.Latencies = append(r.report.Latencies, l...)
	r.tellLatencies(l)
}

// tellLatencies tells of latencies, with the lock held.
func (r *Recorder) tellLatencies(of []Latency) {
	for _, l := range of {
		fmt.Fprintf(r.progress, "           %s: n=%d min %s p50 %s p90 %s max %s\n", l.Name, l.Count,
			number(l.Min, "ms"), number(l.P50, "ms"), number(l.P90, "ms"), number(l.Max, "ms"))
	}
}

// Validator adds what a validator found that judged the run as a whole.
func (r *Recorder) Validator(v ...Validator) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.report.Validators = r.validated(r.report.Validators, v)
}

// validated adds validators to those that there are, and tells of them. It is
// called with the lock held.
func (r *Recorder) validated(there, more []Validator) []Validator {
	for _, v := range more {
		v = v.judged()
		there = append(there, v)
		fmt.Fprintf(r.progress, "    %-8s %s: %d checked, %d violations\n", v.Verdict, v.Name, v.Checked, len(v.Violations))
	}
	return there
}

// Chart adds what follows from what the run varied.
func (r *Recorder) Chart(c ...Chart) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.report.Charts = append(r.report.Charts, c...)
}

// TimeLine adds how the run went.
func (r *Recorder) TimeLine(l ...TimeLine) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.report.TimeLines = append(r.report.TimeLines, l...)
}

// Parts says which processes the run was made of, the last of which is this one;
// a run of more than one is a merged one, and starts with the first.
func (r *Recorder) Parts(p ...Part) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.report.Parts = p
	if len(p) > 1 {
		r.report.Start = p[0].Start
	}
}

// Step does something that belongs to no criterion.
func (r *Recorder) Step(name string, do func()) { r.step("", name, do) }

// Begin starts to examine a criterion of the checklist, whose verdict is
// unknown from now on, until [Examination.Conclude].
func (r *Recorder) Begin(id string) *Examination {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.IndexFunc(r.report.Criteria, func(c Criterion) bool { return c.ID == id })
	if i < 0 {
		panic(fmt.Sprintf("reports: the checklist has no criterion %q", id))
	}
	c := &r.report.Criteria[i]
	c.Verdict, c.Explanation, c.Command = Unknown, "the run did not come to its end", r.report.Command
	fmt.Fprintf(r.progress, "\n%s  %s\n", c.ID, c.Title)
	return &Examination{recorder: r, criterion: c}
}

// Finish ends the run and returns its report. A criterion for which the run was
// too short does not count, unless there is no other.
func (r *Recorder) Finish() Report {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.report.End = time.Now()
	var verdicts []Verdict
	short := false
	for i, c := range r.report.Criteria {
		if c.Verdict == Passed { // what was told since may change it, such as the parts of the run
			c = weighed(r.report, c)
			r.report.Criteria[i] = c
		}
		if len(c.Lacks) > 0 && c.Verdict == Unknown {
			short = true
			continue
		}
		verdicts = append(verdicts, c.Verdict)
	}
	if short && Sum(verdicts...) == NotRun {
		verdicts = append(verdicts, Unknown)
	}
	for _, f := range r.report.Figures {
		verdicts = append(verdicts, f.Verdict())
	}
	for _, l := range r.report.Latencies {
		verdicts = append(verdicts, l.Verdict())
	}
	for _, v := range r.report.Validators {
		verdicts = append(verdicts, v.Verdict)
	}
	for _, s := range r.report.Steps {
		if s.Criterion == "" && s.Verdict != Passed {
			verdicts = append(verdicts, s.Verdict)
		}
	}
	if r.report.Explanation != "" { // something outside of the criteria has failed
		verdicts = append(verdicts, Failed)
	}
	r.report.Verdict = Sum(verdicts...)
	return r.report
}

// step does something and takes down how it went. It lets a panic through, with
// which test frameworks end what has failed.
func (r *Recorder) step(criterion, name string, do func()) {
	r.mu.Lock()
	i := len(r.report.Steps)
	start := time.Now()
	r.report.Steps = append(r.report.Steps, Step{Criterion: criterion, Name: name, Start: start, Verdict: Unknown})
	r.mu.Unlock()

	verdict := Failed
	defer func() {
		took := time.Since(start)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.report.Steps[i].Seconds, r.report.Steps[i].Verdict = took.Seconds(), verdict
		mark := "ok    "
		if verdict == Failed {
			mark = "FAILED"
		}
		fmt.Fprintf(r.progress, "    %s %8.1f s  %s\n", mark, took.Seconds(), name)
	}()
	do()
	verdict = Passed
}

// Examination gathers what answers one criterion.
type Examination struct {
	recorder  *Recorder
	criterion *Criterion
	concluded bool
	doubts    []string
}

// Step does something for the criterion; the step has failed when do panics.
func (e *Examination) Step(name string, do func()) { e.recorder.step(e.criterion.ID, name, do) }

// Figure adds measured numbers. One that is no number, such as a share of nothing, was
// not measured: the criterion can be no more than unknown.
func (e *Examination) Figure(f ...Figure) {
	for _, f := range f {
		if !f.isNumber() {
			e.Item(Item{Name: f.Name, Verdict: Unknown, Detail: "not measured: it is no number"})
			continue
		}
		e.recorder.mu.Lock()
		e.criterion.Figures = append(e.criterion.Figures, f)
		fmt.Fprintf(e.recorder.progress, "           %s: %s\n", f.Name, number(f.Value, f.Unit))
		e.recorder.mu.Unlock()
	}
}

// Latency adds measured latencies.
func (e *Examination) Latency(l ...Latency) {
	e.recorder.mu.Lock()
	defer e.recorder.mu.Unlock()
	e.criterion.Latencies = append(e.criterion.Latencies, l...)
	e.recorder.tellLatencies(l)
}

// Item adds something that the criterion names.
func (e *Examination) Item(i ...Item) {
	e.recorder.mu.Lock()
	defer e.recorder.mu.Unlock()
	e.criterion.Items = append(e.criterion.Items, i...)
	for _, i := range i {
		fmt.Fprintf(e.recorder.progress, "    %-8s %s\n", i.Verdict, i.Name)
	}
}

// Scenario adds what was made to go wrong.
func (e *Examination) Scenario(s ...Scenario) {
	e.recorder.mu.Lock()
	defer e.recorder.mu.Unlock()
	for _, s := range s {
		s = s.judged()
		e.criterion.Scenarios = append(e.criterion.Scenarios, s)
		fmt.Fprintf(e.recorder.progress, "    %-8s %8.1f s  %s\n", s.Verdict, s.Seconds, s.Name)
	}
}

// Validator adds what a validator found.
func (e *Examination) Validator(v ...Validator) {
	e.recorder.mu.Lock()
	defer e.recorder.mu.Unlock()
	e.criterion.Validators = e.recorder.validated(e.criterion.Validators, v)
}

// Evidence adds files that show it.
func (e *Examination) Evidence(files ...Evidence) {
	e.recorder.mu.Lock()
	defer e.recorder.mu.Unlock()
	e.criterion.Evidence = append(e.criterion.Evidence, files...)
}

// Fail says why the criterion has failed, and concludes it, unless it has been
// concluded.
func (e *Examination) Fail(explanation string) {
	e.recorder.mu.Lock()
	defer e.recorder.mu.Unlock()
	if e.concluded {
		return
	}
	e.concluded = true
	e.criterion.Verdict, e.criterion.Explanation = Failed, explanation
}

// Doubt says why the criterion can be no more than unknown, however well all was
// that was looked at: it was not all that there is to look at.
func (e *Examination) Doubt(why string) {
	e.recorder.mu.Lock()
	defer e.recorder.mu.Unlock()
	e.doubts = append(e.doubts, why)
}

// Well tells whether a concluded criterion is passed, or would be if the run had
// been as long as it asks for.
func (e *Examination) Well() bool {
	e.recorder.mu.Lock()
	defer e.recorder.mu.Unlock()
	return e.criterion.Verdict == Passed || e.criterion.Verdict == Unknown && len(e.criterion.Lacks) > 0
}

// Conclude judges what was gathered, now that it is complete. A criterion for
// which nothing was gathered stays unknown.
func (e *Examination) Conclude() Verdict {
	e.recorder.mu.Lock()
	defer e.recorder.mu.Unlock()
	e.concluded = true
	c := e.criterion
	var verdicts []Verdict
	var reasons []string
	judge := func(v Verdict, reason string) {
		verdicts = append(verdicts, v)
		if v == Failed || v == Unknown {
			reasons = append(reasons, reason)
		}
	}
	for _, s := range e.recorder.report.Steps {
		if s.Criterion == c.ID {
			judge(s.Verdict, fmt.Sprintf("step %q: %s", s.Name, s.Verdict))
		}
	}
	for _, f := range c.Figures {
		judge(f.Verdict(), f.Name+" is "+number(f.Value, f.Unit)+limits(f))
	}
	for _, l := range c.Latencies {
		switch v := l.Verdict(); v {
		case Failed:
			judge(v, fmt.Sprintf("%s: the median is %s, at most %s is allowed", l.Name, number(l.P50, "ms"), number(*l.P50AtMost, "ms")))
		default:
			judge(v, l.Name+" was not measured")
		}
	}
	for _, i := range c.Items {
		judge(i.Verdict, fmt.Sprintf("%s: %s", i.Name, i.Verdict))
	}
	for _, s := range c.Scenarios {
		judge(s.Verdict, fmt.Sprintf("%s: %s", s.Name, s.Verdict))
	}
	for _, v := range c.Validators {
		judge(v.Verdict, v.reason())
	}
	c.Verdict = Sum(verdicts...)
	if c.Verdict == NotRun {
		c.Verdict, reasons = Unknown, []string{"nothing was measured"}
	}
	c.Explanation = strings.Join(reasons, "; ")
	c.Lacks = e.doubts
	report := e.recorder.report
	report.End = time.Now()
	*c = weighed(report, *c)
	return c.Verdict
}
