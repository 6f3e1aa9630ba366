package reports

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"slices"
	"strings"
	"time"
)

//go:embed report.html.tmpl
var page string

//go:embed page.css
var style string

var pageTemplate = template.Must(template.New("report").Funcs(template.FuncMap{
	"style":     func() template.CSS { return template.CSS(style) },
	"number":    number,
	"seconds":   seconds,
	"time":      func(t time.Time) string { return t.UTC().Format(time.DateTime) },
	"clock":     func(t time.Time) string { return t.UTC().Format(time.TimeOnly) },
	"since":     func(from, to time.Time) string { return seconds(to.Sub(from).Seconds()) },
	"share":     share,
	"class":     func(v Verdict) string { return strings.ReplaceAll(string(v), " ", "-") },
	"deref":     func(f *float64) float64 { return *f },
	"tally":     tally,
	"summary":   summary,
	"beginning": beginning,
	"fakes":     fakes,
	"commits":   commits,
	"anchor": func(c Criterion) string {
		if c.Run == "" {
			return c.ID
		}
		return c.ID + "-" + c.Run
	},
	"distributions": distributions,
	"stages":        stages,
	"limited": func(of []Latency) bool {
		return slices.ContainsFunc(of, func(l Latency) bool { return l.P50AtMost != nil })
	},
	"slowest":      slowest,
	"first":        func(of []string) []string { return of[:min(len(of), 10)] },
	"interval":     interval,
	"notRun":       notRun,
	"environments": environments,
	"anyTimeLine": func(of []Run) bool {
		return slices.ContainsFunc(of, func(r Run) bool { return len(r.TimeLines) > 0 })
	},
}).Parse(page))

// HTML is the report as a page that stands alone: it loads nothing.
func HTML(r Report) ([]byte, error) {
	var b bytes.Buffer
	if err := pageTemplate.Execute(&b, r); err != nil {
		return nil, fmt.Errorf("rendering the report: %w", err)
	}
	return b.Bytes(), nil
}

// share is value as a percentage of whole, within 0 and 100.
func share(value, whole float64) float64 {
	if whole <= 0 {
		return 0
	}
	return min(100, max(0, 100*value/whole))
}

func slowest(of []Scenario) float64 {
	most := 0.0
	for _, s := range of {
		most = max(most, s.Seconds)
	}
	return most
}

// interval is how sure a figure is, for people.
func interval(f Figure) string {
	if f.Interval == nil {
		return ""
	}
	return fmt.Sprintf(" (%s to %s, with %g %% confidence)", precise(f.Interval.Low), precise(f.Interval.High), 100*f.Interval.Confidence)
}

// commits are those of the runs, each once, the newest run's first.
func commits(r Report) []string {
	var of []string
	for _, run := range r.Runs {
		if !slices.Contains(of, run.Environment.Commit) {
			of = append(of, run.Environment.Commit)
		}
	}
	return of
}

// notRun are the criteria that nobody has examined.
func notRun(of []Answer) []Answer {
	return slices.DeleteFunc(slices.Clone(of), func(a Answer) bool { return a.Verdict != NotRun })
}

// surroundings are an environment and the runs that had it.
type surroundings struct {
	Of string
	Environment
}

// environments are those of the runs, each once.
func environments(runs []Run) []surroundings {
	var of []surroundings
	for _, r := range runs {
		i := slices.IndexFunc(of, func(s surroundings) bool {
			return s.kind() == r.Environment.kind() && s.Commit == r.Environment.Commit && s.Host == r.Environment.Host
		})
		if i < 0 {
			of = append(of, surroundings{r.Name, r.Environment})
		} else {
			of[i].Of += ", " + r.Name
		}
	}
	return of
}
