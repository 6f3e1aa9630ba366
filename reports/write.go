package reports

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// Schema is the JSON schema of a report.
//
//go:embed schema.json
var Schema []byte

// Write puts a report into a directory, as report.json, report.html and, in JUnit's
// form, report.xml, and returns the path of the page.
func Write(dir string, r Report) (string, error) { return write(dir, "report", r) }

// WriteSignOff does the same for what [Merge] has made, under the name signoff.
func WriteSignOff(dir string, r Report) (string, error) { return write(dir, "signoff", r) }

func write(dir, name string, r Report) (string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("writing the report: %w", err)
	}
	for suffix, form := range map[string]func(Report) ([]byte, error){".json": JSON, ".html": HTML, ".xml": JUnit} {
		content, err := form(r)
		if err != nil {
			return "", err
		}
		if err := os.WriteFile(filepath.Join(dir, name+suffix), content, 0o644); err != nil {
			return "", fmt.Errorf("writing the report: %w", err)
		}
	}
	return filepath.Join(dir, name+".html"), nil
}

// JSON is the report as [Schema] describes it.
func JSON(r Report) ([]byte, error) {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encoding the report: %w", err)
	}
	return append(b, '\n'), nil
}
