package reports

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// oneTest is a command that runs one test of a package.
var oneTest = regexp.MustCompile(`^go test -run '\^(Test\w+)\$' \./(\S+)$`)

func TestTheTrackRecordNamesCommitsAndTestsThatThereAre(t *testing.T) {
	t.Parallel()
	bugs, err := TrackRecord()
	if err != nil {
		t.Fatal(err)
	}
	if len(bugs) == 0 {
		t.Error("the track record is empty")
	}
	git := func(ctx context.Context, args ...string) error { return exec.CommandContext(ctx, "git", args...).Run() }
	history := git(t.Context(), "cat-file", "-e", "67e9052^{commit}") == nil // else this is a shallow clone, or none
	for _, b := range bugs {
		if b.What == "" || b.FoundBy == "" {
			t.Errorf("%+v lacks something", b)
		}
		if history {
			for _, commit := range []string{b.IntroducedIn, b.MendedIn} {
				if git(t.Context(), "cat-file", "-e", commit+"^{commit}") != nil {
					t.Errorf("%s: there is no commit %s", b.What, commit)
				}
			}
			if git(t.Context(), "merge-base", "--is-ancestor", b.IntroducedIn, b.MendedIn) != nil {
				t.Errorf("%s: %s is no ancestor of %s", b.What, b.IntroducedIn, b.MendedIn)
			}
		}
		of := oneTest.FindStringSubmatch(b.ReproducedBy)
		if of == nil {
			if !strings.HasPrefix(b.ReproducedBy, "make ") {
				t.Errorf("%s: what reproduces it is neither one test nor a make target: %s", b.What, b.ReproducedBy)
			}
			continue
		}
		files, err := filepath.Glob(filepath.Join("..", filepath.FromSlash(of[2]), "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, file := range files {
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			found = found || strings.Contains(string(content), "\nfunc "+of[1]+"(")
		}
		if !found {
			t.Errorf("%s: %s has no test %s", b.What, of[2], of[1])
		}
	}
}
