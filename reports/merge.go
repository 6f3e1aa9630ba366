package reports

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Source is a run that is merged into a sign-off.
type Source struct {
	// Name tells it from the others.
	Name string
	// Dir is where its report lies, as seen from the sign-off's directory; it is
	// what links lead to.
	Dir    string
	Report Report
}

// Read reads the report that a run has left in a directory.
func Read(dir string) (Report, error) {
	path := filepath.Join(dir, "report.json")
	b, err := os.ReadFile(path)
	if err != nil {
		return Report{}, fmt.Errorf("reading a report: %w", err)
	}
	var r Report
	if err := json.Unmarshal(b, &r); err != nil {
		return Report{}, fmt.Errorf("%s: %w", path, err)
	}
	if r.Format != Format {
		return Report{}, fmt.Errorf("%s is of format %d, this program reads %d: make the sign-off with the version of the project that made the report", path, r.Format, Format)
	}
	return r, nil
}

// ErrNoRuns is the end of a sign-off of nothing.
var ErrNoRuns = errors.New("there is no run to merge")

// Merge makes a sign-off from runs. Of each criterion it takes:
//
//   - the newest run that examined it, so that what was mended counts, and what
//     broke since does too, whatever older runs say;
//   - but one that came to no result (unknown, such as a short run) does not stand
//     for an older one that came to one, passed or failed; it is mentioned there;
//   - one run for each suite, by its title, and each environment (AtomOS, guests, plane,
//     machine, settings, versions), since figures of different ones are no figures of
//     one thing: what one suite found is not mended by what another did not look at.
//
// What a criterion asks for is judged again here, as [Examination.Conclude] does.
// The sign-off is passed when all of the checklist is, and unknown when something
// is open. It has failed when a criterion has, or a run outside of its criteria (a
// validator, a process that ended) without a newer one of the same suite and
// environment. What is signed off is one version of the source: where its answers are of
// several, or of files that no commit has, the sign-off is unknown.
func Merge(title, command string, runs []Source, bugs []Bug) (Report, error) {
	if len(runs) == 0 {
		return Report{}, ErrNoRuns
	}
	runs = slices.Clone(runs)
	slices.SortStableFunc(runs, func(a, b Source) int { return b.Report.Start.Compare(a.Report.Start) })
	merged := Report{
		Format: Format, Title: title, Command: command, Start: runs[0].Report.Start, End: runs[0].Report.End,
		Environment: runs[0].Report.Environment, Steps: []Step{}, TrackRecord: bugs,
	}
	for _, s := range runs {
		if s.Report.Start.Before(merged.Start) {
			merged.Start = s.Report.Start
		}
		if s.Report.End.After(merged.End) {
			merged.End = s.Report.End
		}
		merged.Runs = append(merged.Runs, s.run())
	}
	for _, open := range Checklist() {
		answers := answersTo(open.ID, runs)
		if len(answers) == 0 {
			answers = []Criterion{open}
		}
		merged.Criteria = append(merged.Criteria, answers...)
	}
	answers := merged.Answers()
	outside := failedOutside(runs)
	switch {
	case tally(answers, Failed) > 0 || outside != "":
		merged.Verdict = Failed
	case tally(answers, Passed) == len(answers):
		merged.Verdict = Passed
	default:
		merged.Verdict = Unknown
	}
	mixed := mixedVersions(merged)
	if mixed != "" && merged.Verdict == Passed {
		merged.Verdict = Unknown
	}
	merged.Explanation = joined(those(answers, Failed), outside, those(answers, Unknown), those(answers, NotRun), mixed)
	return merged, nil
}

// mixedVersions says why what has passed is not one version of the source; empty when it
// is one.
func mixedVersions(merged Report) string {
	var of []string
	uncommitted := false
	for _, run := range merged.Runs {
		answers := slices.ContainsFunc(merged.Criteria, func(c Criterion) bool { return c.Run == run.Name && c.Verdict == Passed })
		if commit := orUnknown(run.Environment.Commit); answers && !slices.Contains(of, commit) {
			of = append(of, commit)
			uncommitted = uncommitted || commit == unknown || strings.HasSuffix(commit, changes)
		}
	}
	if len(of) > 1 || uncommitted {
		return "passed by " + strings.Join(of, ", ") + ": sign off one commit, without changes"
	}
	return ""
}

// those names the criteria of a verdict.
func those(answers []Answer, v Verdict) string {
	var ids []string
	for _, a := range answers {
		if a.Verdict == v {
			ids = append(ids, a.ID)
		}
	}
	if len(ids) == 0 {
		return ""
	}
	return fmt.Sprintf("%s: %s", v, strings.Join(ids, ", "))
}

// answersTo are what runs, the newest first, say of a criterion: one for each kind.
func answersTo(id string, runs []Source) []Criterion {
	var answers []Criterion
	var of []string // the kind of run of each answer
	for _, s := range runs {
		c, examined := s.Report.Criterion(id)
		if !examined || c.Verdict == NotRun {
			continue
		}
		if c.Verdict == Passed {
			c = weighed(s.Report, c)
		}
		c.Run, c.Evidence = s.Name, s.evidence(c.Evidence)
		kind := s.Report.kind()
		i := slices.Index(of, kind)
		switch {
		case i < 0:
			answers, of = append(answers, c), append(of, kind)
		case answers[i].Verdict == Unknown && c.Verdict != Unknown:
			newer := answers[i]
			c.Explanation = joined(c.Explanation, fmt.Sprintf("the later run %s came to no result (%s)", newer.Run, newer.Explanation))
			answers[i] = c
		}
	}
	return answers
}

// failedOutside says which of the runs, the newest first, have failed although no
// criterion has.
func failedOutside(runs []Source) string {
	var reasons []string
	newest := map[string]bool{}
	for _, s := range runs {
		r := s.Report
		kind := r.kind()
		criteria := make([]Verdict, 0, len(r.Criteria))
		for _, c := range r.Criteria {
			criteria = append(criteria, c.Verdict)
		}
		if r.Verdict == Failed && !newest[kind] && Sum(criteria...) != Failed {
			reasons = append(reasons, fmt.Sprintf("the run %s has failed outside of the criteria", s.Name))
		}
		newest[kind] = true
	}
	return strings.Join(reasons, "; ")
}

func joined(reasons ...string) string {
	return strings.Join(slices.DeleteFunc(reasons, func(s string) bool { return s == "" }), "; ")
}

// kind is what two runs have in common that answer the same.
func (r Report) kind() string { return r.Title + " " + r.Environment.kind() }

// kind is what two environments have in common whose figures may stand for one
// another.
func (e Environment) kind() string {
	machine := fmt.Sprintf("%s, %d processors", e.CPU, e.Cores)
	return fmt.Sprint(e.AtomOS(), e.Guests, e.Plane, machine, e.Settings, e.Versions)
}

func (s Source) run() Run {
	r := s.Report
	return Run{
		Name: s.Name, Title: r.Title, Verdict: r.Verdict, Explanation: r.Explanation, Command: r.Command,
		Start: r.Start, End: r.End, Seed: r.Seed, Parts: r.Parts, Environment: r.Environment,
		Figures: r.Figures, Latencies: r.Latencies, Charts: r.Charts, Validators: r.Validators, TimeLines: r.TimeLines,
		Evidence: append([]Evidence{{Title: "report", Path: path.Join(s.Dir, "report.html")}}, s.evidence(r.Evidence)...),
	}
}

// evidence leads to files of the run from the sign-off.
func (s Source) evidence(of []Evidence) []Evidence {
	var led []Evidence
	for _, e := range of {
		led = append(led, Evidence{Title: e.Title, Path: path.Join(s.Dir, e.Path)})
	}
	return led
}

// Took is how long the run was.
func (r Run) Took() time.Duration { return r.End.Sub(r.Start) }

// Merged tells whether more than one process made the run, one after the other.
func (r Run) Merged() bool { return len(r.Parts) > 1 }
