package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"elemento.cloud/cluster-api-provider-elemento/reports"
)

// leave puts the report of a run into a directory, with a file of evidence.
func leave(t *testing.T, dir string, do func(*reports.Examination)) {
	t.Helper()
	r := reports.Record("A run", "make it", t.Output())
	e := r.Begin("F1")
	e.Evidence(reports.Evidence{Title: "audit log", Path: "logs/audit.log"})
	do(e)
	if _, err := reports.Write(dir, r.Finish()); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "logs"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "logs", "audit.log"), []byte("a line"), 0o644); err != nil {
		t.Fatal(err)
	}
}

func passes(e *reports.Examination) {
	e.Step("a step", func() {})
	e.Conclude()
}

func signed(t *testing.T, out string) (r reports.Report) {
	t.Helper()
	encoded, err := os.ReadFile(filepath.Join(out, "signoff.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(encoded, &r); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestASignOffTakesAllRunsThatThereAre(t *testing.T) {
	t.Parallel()
	from := t.TempDir()
	leave(t, filepath.Join(from, "poc"), passes)
	leave(t, filepath.Join(from, "latency"), passes)
	out := filepath.Join(from, "signoff")
	var said bytes.Buffer
	for range 2 { // the second one is not of the first
		if err := run([]string{"--out", out, "--from", from}, &said); err != nil {
			t.Fatal(err)
		}
		if r := signed(t, out); len(r.Runs) != 2 || r.Criteria[0].Evidence[0].Path != "../"+r.Criteria[0].Run+"/logs/audit.log" {
			t.Errorf("the sign-off is of %d runs, with evidence %v", len(r.Runs), r.Criteria[0].Evidence)
		}
	}
	if !strings.Contains(said.String(), "F1  passed") || !strings.Contains(said.String(), "F2  not run") {
		t.Errorf("the terminal shows:\n%s", said.String())
	}
	for _, name := range []string{"signoff.html", "signoff.json", "signoff.xml"} {
		content, err := os.ReadFile(filepath.Join(out, name))
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(content, []byte(from)) {
			t.Errorf("%s tells where it was made", name)
		}
	}
}

func TestASignOffFailsWhenSomethingHas(t *testing.T) {
	t.Parallel()
	from := t.TempDir()
	leave(t, filepath.Join(from, "poc"), func(e *reports.Examination) { e.Fail("it was not well") })
	out := filepath.Join(from, "signoff")
	if err := run([]string{"--out", out, filepath.Join(from, "poc")}, t.Output()); !errors.Is(err, errFailed) {
		t.Errorf("the sign-off ends with %v", err)
	}
	if r := signed(t, out); r.Verdict != reports.Failed {
		t.Errorf("the verdict is %s", r.Verdict)
	}
}

func TestASignOffThatIsHandedOverHasItsEvidenceBesideIt(t *testing.T) {
	t.Parallel()
	from, out := t.TempDir(), t.TempDir()
	dirs := []string{filepath.Join(from, "a", "poc"), filepath.Join(from, "b", "poc")}
	for _, dir := range dirs {
		leave(t, dir, passes)
	}
	if err := run(append([]string{"--out", out, "--carry"}, dirs...), t.Output()); err != nil {
		t.Fatal(err)
	}
	for _, run := range signed(t, out).Runs {
		for _, path := range []string{run.Evidence[0].Path, "evidence/" + run.Name + "/logs/audit.log"} {
			if _, err := os.Stat(filepath.Join(out, path)); err != nil {
				t.Error(err)
			}
		}
	}
	if _, err := os.Stat(filepath.Join(out, "evidence", "poc-2", "report.json")); err != nil {
		t.Errorf("two runs of one name: %v", err)
	}
}

func TestASignOffSaysWhatItCannotRead(t *testing.T) {
	t.Parallel()
	none, newer := t.TempDir(), t.TempDir()
	leave(t, newer, passes)
	path := filepath.Join(newer, "report.json")
	encoded, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, bytes.Replace(encoded, []byte(`"format": 1`), []byte(`"format": 99`), 1), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"no run":               {[]string{"--from", none}, "run a suite"},
		"a run without report": {[]string{none}, "report.json"},
		"a newer report":       {[]string{newer}, "is of format 99"},
	} {
		err := run(append([]string{"--out", t.TempDir()}, c.args...), t.Output())
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
