package elemento_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "elemento.cloud/cluster-api-provider-elemento/"

// directions are what packages of a folder, those of its programs among them, may know of
// this module besides each other, directly or not. Where folders lie in each other the
// rules of both hold. Tests may know more.
var directions = []struct {
	folder string
	knows  []string
}{
	{"c4", nil},
	{"fakeatomos", []string{"c4"}},
	{"daemon", []string{"c4"}},
	{"daemon/rpc", nil},
	{"provider", []string{"daemon/rpc"}},
	{"reports", nil},
}

func TestFoldersKnowWhatTheyMay(t *testing.T) {
	t.Parallel()
	for _, d := range directions {
		for _, p := range packages(t, d.folder) {
			p.knowsOnly(t, append(d.knows, d.folder)...)
		}
	}
}

// pkg is a package of this module, with the others of it that it knows, directly or not.
type pkg struct {
	name  string
	knows []string
}

func (p pkg) knowsOnly(t *testing.T, folders ...string) {
	t.Helper()
	for _, other := range p.knows {
		if !slices.ContainsFunc(folders, func(f string) bool { return other == f || strings.HasPrefix(other, f+"/") }) {
			t.Errorf("%s knows %s; what lies there may know %s only (see docs/design.md)", p.name, other, strings.Join(folders, ", "))
		}
	}
}

// packages lists those below a folder, of which there is one at least.
func packages(t *testing.T, folder string) (found []pkg) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-f", `{{.ImportPath}}{{range .Deps}} {{.}}{{end}}`, "./"+folder+"/...").Output()
	if err != nil {
		t.Fatalf("go list ./%s/...: %v", folder, err)
	}
	for line := range strings.Lines(string(out)) {
		var own []string
		for _, name := range strings.Fields(line) {
			if name, is := strings.CutPrefix(name, module); is {
				own = append(own, name)
			}
		}
		found = append(found, pkg{own[0], own[1:]})
	}
	if len(found) == 0 {
		t.Fatalf("there is no package below %s", folder)
	}
	return found
}
