package reports

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// Width is that of the text for a terminal, in columns.
const Width = 100

// WriteText writes the report as plain text that fits into [Width] columns.
func WriteText(w io.Writer, r Report) error {
	var b strings.Builder
	rule := strings.Repeat("-", Width) + "\n"
	line(&b, 0, "%s: %s", r.Title, strings.ToUpper(string(r.Verdict)))
	if len(r.Runs) > 0 {
		for _, run := range r.Runs {
			line(&b, 4, "run %s: %s, commit %s, AtomOS %s, %s%s", run.Name, run.Start.UTC().Format(time.DateTime+" MST"),
				orUnknown(run.Environment.Commit), run.Environment.AtomOS(), seconds(run.Took().Seconds()), mergedNote(run.Parts))
		}
	} else {
		line(&b, 0, "%s, %s on %s%s", r.Start.UTC().Format(time.DateTime+" MST"),
			seconds(r.End.Sub(r.Start).Seconds()), orUnknown(r.Environment.Host), mergedNote(r.Parts))
		line(&b, 0, "commit %s, plane %s, guests %s, AtomOS %s", orUnknown(r.Environment.Commit),
			orUnknown(r.Environment.Plane), orUnknown(r.Environment.Guests), r.Environment.AtomOS())
	}
	if r.Explanation != "" {
		line(&b, 2, "because: %s", beginning(r.Explanation))
	}
	b.WriteString(rule)
	for _, c := range r.Criteria {
		run := ""
		if c.Run != "" {
			run = " (run " + c.Run + ")"
		}
		line(&b, 14, "%-4s%-10s%s%s", c.ID, c.Verdict, c.Title, run)
		if c.Verdict == NotRun {
			continue
		}
		line(&b, 16, "%14starget: %s", "", c.Target)
		if c.Explanation != "" {
			line(&b, 16, "%14sbecause: %s", "", beginning(c.Explanation))
		}
		for _, f := range c.Figures {
			line(&b, 16, "%14s%s", "", measured(f))
		}
		for _, l := range c.Latencies {
			line(&b, 16, "%14s%s: %s", "", l.Name, distribution(l))
		}
		if len(c.Scenarios) > 0 {
			for _, of := range summary(Criterion{Scenarios: c.Scenarios}) {
				line(&b, 16, "%14s%s", "", of)
			}
			for _, s := range c.Scenarios {
				if s.Verdict != Passed {
					line(&b, 16, "%14s%-8s %s: %s; repeated by %s", "", s.Verdict, s.Name, beginning(s.Explanation), s.Command)
				}
			}
		}
		for _, v := range c.Validators {
			line(&b, 16, "%14s%s", "", judgment(v))
		}
		for _, i := range c.Items {
			detail := ""
			if i.Detail != "" {
				detail = ": " + beginning(i.Detail)
			}
			line(&b, 16, "%14s%-8s %s%s", "", i.Verdict, i.Name, detail)
		}
	}
	for _, v := range r.Validators {
		line(&b, 16, "    %s", judgment(v))
	}
	for _, c := range r.Charts {
		line(&b, 16, "    %-10s%s", "", c.Title())
		for _, of := range c.Lines {
			line(&b, 20, "    %-12s%s", "", c.told(of))
		}
	}
	for _, l := range r.Latencies {
		line(&b, 16, "    %-10s%s: %s", "", l.Name, distribution(l))
	}
	for _, f := range r.Figures {
		verdict := ""
		if f.AtMost != nil || f.AtLeast != nil {
			verdict = string(f.Verdict())
		}
		line(&b, 16, "    %-10s%s", verdict, measured(f))
	}
	b.WriteString(rule)
	_, err := io.WriteString(w, b.String())
	return err
}

// beginning is as much of an explanation as a terminal has room for; the other
// forms of the report have all of it.
func beginning(explanation string) string {
	const most = 400
	if r := []rune(explanation); len(r) > most {
		return string(r[:most]) + " …"
	}
	return explanation
}

// mergedNote labels a run of several processes.
func mergedNote(parts []Part) string {
	if len(parts) < 2 {
		return ""
	}
	return fmt.Sprintf(", merged from %d processes", len(parts))
}

// judgment is what a validator found, in a line.
func judgment(v Validator) string {
	of := fmt.Sprintf("%-8s %s: %d checked, %d violations", v.Verdict, v.Name, v.Checked, len(v.Violations))
	if len(v.Violations) > 0 {
		of += ", the first: " + beginning(v.Violations[0])
	}
	return of
}

func measured(f Figure) string {
	limit := strings.TrimSuffix(strings.TrimPrefix(limits(f), ", "), " is asked for")
	if limit != "" {
		limit = " (" + limit + ")"
	}
	return fmt.Sprintf("%s: %s%s%s", f.Name, number(f.Value, f.Unit), interval(f), limit)
}

func distribution(l Latency) string {
	if l.Count == 0 {
		return "not measured"
	}
	limit := ""
	if l.P50AtMost != nil {
		limit = fmt.Sprintf(" (p50 at most %s)", number(*l.P50AtMost, "ms"))
	}
	return fmt.Sprintf("n %d, min %s, p50 %s, p90 %s, p99 %s, max %s ms%s", l.Count,
		number(l.Min, ""), number(l.P50, ""), number(l.P90, ""), number(l.P99, ""), number(l.Max, ""), limit)
}

// line writes one line, broken between words where it is too wide; what follows
// is indented.
func line(b *strings.Builder, indent int, format string, args ...any) {
	text := []rune(strings.Join(strings.Split(fmt.Sprintf(format, args...), "\n"), " "))
	for len(text) > Width {
		end := Width
		for end > indent && text[end] != ' ' {
			end--
		}
		if end <= indent {
			end = Width // a single long word
		}
		b.WriteString(strings.TrimRight(string(text[:end]), " ") + "\n")
		rest := strings.TrimLeft(string(text[end:]), " ")
		text = []rune(strings.Repeat(" ", indent) + rest)
	}
	b.WriteString(strings.TrimRight(string(text), " ") + "\n")
}
