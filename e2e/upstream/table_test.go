package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestTheTableHasEverySpecOfUpstream(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/cluster-api/test").Output()
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(out)), "e2e", "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	function := regexp.MustCompile(`(?m)^func (\w+)Spec\(`)
	var theirs, ours []string
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range function.FindAllSubmatch(source, -1) {
			theirs = append(theirs, string(match[1]))
		}
	}
	for _, s := range table() {
		ours = append(ours, s.name)
	}
	slices.Sort(theirs)
	slices.Sort(ours)
	if !slices.Equal(theirs, ours) {
		t.Errorf("upstream has the specs\n%q\nand the table\n%q", theirs, ours)
	}
}

func TestASpecIsRunOrTheTableSaysWhyNot(t *testing.T) {
	t.Parallel()
	names := map[string]bool{}
	for _, s := range table() {
		if !slices.Contains(standings, s.standing) {
			t.Errorf("%s: %q is no standing", s.name, s.standing)
		}
		switch run := s.standing.isRun(); {
		case run != (len(s.cases) > 0):
			t.Errorf("%s %s, and is run %d times", s.name, s.standing, len(s.cases))
		case !run && s.why == "":
			t.Errorf("%s is not run, and nobody says why", s.name)
		}
		for _, c := range s.cases {
			name := c.name(s)
			if names[name] {
				t.Errorf("two runs are called %s", name)
			}
			names[name] = true
		}
	}
}

func TestThePageIsMadeFromTheTable(t *testing.T) {
	t.Parallel()
	written, err := os.ReadFile(filepath.Join("..", "..", "docs", "upstream-specs.md"))
	if err != nil {
		t.Fatal(err)
	}
	if string(written) != page(table()) {
		t.Error("docs/upstream-specs.md is out of date: go run ./e2e/upstream --table > docs/upstream-specs.md")
	}
}
