package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"elemento.cloud/cluster-api-provider-elemento/e2e/world"
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
		switch run := len(s.cases) > 0; {
		case !slices.Contains(standings, s.standing()):
			t.Errorf("%s: %q is no standing", s.name, s.standing())
		case run && s.unrun != "":
			t.Errorf("%s %s, and is run", s.name, s.unrun)
		case s.standing() == notYet && s.why == "" || s.standing() == doesNotApply && s.why == "":
			t.Errorf("%s: %s, and nobody says why", s.name, s.standing())
		}
		for _, c := range s.cases {
			name := c.name(s)
			if names[name] {
				t.Errorf("two runs are called %s", name)
			}
			names[name] = true
			for _, guests := range c.passes {
				if c.needs.guests != "" && c.needs.guests != guests {
					t.Errorf("%s passes on %s guests, and needs %s", name, guests, c.needs.guests)
				}
			}
		}
	}
}

func TestASpecStandsWhereItsFirstCaseDoes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		cases []example
		want  standing
	}{
		{nil, doesNotApply},
		{[]example{{passes: both}}, onBoth},
		{[]example{{passes: simulated}, {passes: both}}, onSimulated},
		{[]example{{passes: containers}, {passes: simulated}}, onContainers},
		{[]example{{}}, notYet},
	} {
		if got := (spec{unrun: doesNotApply, cases: c.cases}).standing(); got != c.want {
			t.Errorf("cases that pass on %v: %s, want: %s", c.cases, got, c.want)
		}
	}
}

func TestWhatIsRunFollowsFromPlaneAndGuests(t *testing.T) {
	t.Parallel()
	all := []spec{{name: "Spec", cases: []example{
		{of: "a", passes: both},
		{of: "b", passes: simulated},
		{of: "c", passes: simulated, needs: needs{plane: world.PlaneKind}},
		{of: "d", passes: containers, needs: needs{guests: world.GuestsContainer}},
	}}}
	for _, c := range []struct {
		only   string
		plane  world.Plane
		guests world.Guests
		want   []string
		// omitted are known to pass there, and not run.
		omitted []string
	}{
		{"", world.PlaneEmbedded, world.GuestsSimulated, []string{"Spec a", "Spec b"}, nil},
		{"", world.PlaneKind, world.GuestsSimulated, []string{"Spec a", "Spec b", "Spec c"}, nil},
		{"", world.PlaneEmbedded, world.GuestsContainer, []string{"Spec a", "Spec d"}, nil},
		{"", world.PlaneKind, world.GuestsAtomOS, []string{"Spec a", "Spec b", "Spec c"}, nil},
		// As many as are known to pass there, and not the same.
		{"b,d", world.PlaneKind, world.GuestsContainer, []string{"Spec b", "Spec d"}, []string{"Spec a"}},
		{"b,d", world.PlaneKind, world.GuestsSimulated, []string{"Spec b"}, []string{"Spec a", "Spec c"}},
		{"d", world.PlaneKind, world.GuestsSimulated, nil, []string{"Spec a", "Spec b", "Spec c"}},
		{"Spec", world.PlaneKind, world.GuestsContainer, []string{"Spec a", "Spec b", "Spec c", "Spec d"}, nil},
	} {
		r := &results{table: all}
		err := r.choose(c.only, c.plane, c.guests)
		var got []string
		for _, run := range r.chosen {
			got = append(got, run.name)
		}
		if !slices.Equal(got, c.want) || (err != nil) != (len(c.want) == 0) {
			t.Errorf("--only %q on %s with %s guests: %q, %v; want %q", c.only, c.plane, c.guests, got, err, c.want)
		}
		if !slices.Equal(r.omitted, c.omitted) {
			t.Errorf("--only %q on %s with %s guests omits %q, want %q", c.only, c.plane, c.guests, r.omitted, c.omitted)
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
