package reports

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Schema is the JSON schema of a report.
//
//go:embed schema.json
var Schema []byte

//go:embed report.html.tmpl
var page string

var pageTemplate = template.Must(template.New("report").Funcs(template.FuncMap{
	"number":  number,
	"seconds": seconds,
	"time":    func(t time.Time) string { return t.UTC().Format(time.DateTime + " MST") },
	"clock":   func(t time.Time) string { return t.UTC().Format(time.TimeOnly) },
	"since":   func(from, to time.Time) string { return seconds(to.Sub(from).Seconds()) },
	"share":   share,
	"class":   func(v Verdict) string { return strings.ReplaceAll(string(v), " ", "-") },
	"deref":   func(f *float64) float64 { return *f },
	"count":   count,
}).Parse(page))

// Write puts a report into a directory, as report.json and report.html, and
// returns the path of the latter.
func Write(dir string, r Report) (string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("writing the report: %w", err)
	}
	encoded, err := JSON(r)
	if err != nil {
		return "", err
	}
	rendered, err := HTML(r)
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "report.html")
	for name, content := range map[string][]byte{filepath.Join(dir, "report.json"): encoded, path: rendered} {
		if err := os.WriteFile(name, content, 0o644); err != nil {
			return "", fmt.Errorf("writing the report: %w", err)
		}
	}
	return path, nil
}

// JSON is the report as [Schema] describes it.
func JSON(r Report) ([]byte, error) {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encoding the report: %w", err)
	}
	return append(b, '\n'), nil
}

// HTML is the report as a page that stands alone: it loads nothing.
func HTML(r Report) ([]byte, error) {
	var b bytes.Buffer
	if err := pageTemplate.Execute(&b, r); err != nil {
		return nil, fmt.Errorf("rendering the report: %w", err)
	}
	return b.Bytes(), nil
}

// count is how many criteria have a verdict.
func count(criteria []Criterion, v Verdict) int {
	n := 0
	for _, c := range criteria {
		if c.Verdict == v {
			n++
		}
	}
	return n
}

// share is value as a percentage of whole, within 0 and 100.
func share(value, whole float64) float64 {
	if whole <= 0 {
		return 0
	}
	return min(100, max(0, 100*value/whole))
}
