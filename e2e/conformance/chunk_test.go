package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"elemento.cloud/cluster-api-provider-elemento/reports"
)

var someTests = []string{
	"[sig-apps] Job should run [Conformance]",
	"[sig-node] Pods should be removed [Conformance]",
	"[sig-node] Taints [Serial] should evict [Disruptive] [Conformance]",
}

func TestEachTestIsInOneChunk(t *testing.T) {
	t.Parallel()
	chunks, err := cut(someTests, "")
	if err != nil {
		t.Fatal(err)
	}
	var names, tests []string
	for _, c := range chunks {
		names = append(names, c.Name)
		of, err := c.matching(someTests)
		if err != nil {
			t.Fatal(err)
		}
		tests = append(tests, of...)
	}
	if strings.Join(names, " ") != "sig-apps sig-node" || !slices.Equal(tests, someTests) {
		t.Errorf("the chunks %v are of %v", names, tests)
	}
	if _, err := cut([]string{"Pods should be removed [Conformance]"}, ""); err == nil {
		t.Error("a test that is of no group is in a chunk")
	}
}

func TestAFocusThatIsAChunkHasItsName(t *testing.T) {
	t.Parallel()
	chunks, err := cut(someTests, "")
	if err != nil {
		t.Fatal(err)
	}
	if got := focused(chunks, `\[sig-node\].*\[Conformance\]`, ""); got != chunks[1] {
		t.Errorf("the focus of %+v is %+v", chunks[1], got)
	}
	for _, c := range []chunk{{Focus: `\[sig-node\]`}, {Focus: chunks[1].Focus, Skip: "Slow"}} {
		if got := focused(chunks, c.Focus, c.Skip); got.Name != "focus" || got.Focus != c.Focus || got.Skip != c.Skip {
			t.Errorf("the focus %+v is %+v", c, got)
		}
	}
}

func TestAChunkLeavesOutWhatIsToBeSkipped(t *testing.T) {
	t.Parallel()
	if got, err := (chunk{Focus: `\[sig-node\]`, Skip: `\[Disruptive\]`}).matching(someTests); err != nil || !slices.Equal(got, someTests[1:2]) {
		t.Errorf("what matches is %v, %v", got, err)
	}
	for _, c := range []chunk{{Focus: "[sig-node"}, {Focus: "a", Skip: "("}} {
		if _, err := c.matching(someTests); err == nil {
			t.Errorf("%+v is an expression", c)
		}
	}
}

func TestTheTestsAreThoseThatKubernetesLists(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "test", "conformance", "testdata", "conformance.yaml")
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	write := func(content string) {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("- testname: Jobs\n  codename: '[sig-apps] Job should\n    run [Conformance]'\n- testname: Pods\n  codename: '[sig-node] Pods should be removed  [Conformance]'\n")
	if got, err := conformanceTests(dir); err != nil || !slices.Equal(got, someTests[:2]) {
		t.Errorf("the tests are %q, %v", got, err)
	}
	write("[]\n")
	if _, err := conformanceTests(dir); err == nil {
		t.Error("no test is a list of tests")
	}
}

func TestARunGoesOnAtTheFirstChunkThatIsNotDone(t *testing.T) {
	t.Parallel()
	c, dir := chunk{Name: "sig-node", Focus: `\[sig-node\]`}, t.TempDir()
	if done, err := c.done(dir, "v1.36.3"); done != nil || err != nil {
		t.Errorf("before it ran a chunk is %+v, %v", done, err)
	}
	whole := result{Chunk: c, Kubernetes: "v1.36.3", Of: made{Commit: "0a1b2c", NodeImage: "sha256:12"}, Said: "failed", Tests: []test{{Name: someTests[1], Verdict: reports.Failed, Message: "no"}}}
	if err := whole.write(dir); err != nil {
		t.Fatal(err)
	}
	done, err := c.done(dir, "v1.36.3")
	if err != nil || done == nil || done.Said != "failed" || len(done.Tests) != 1 || done.Tests[0] != whole.Tests[0] || done.Of != whole.Of {
		t.Errorf("after it ran it is %+v, %v", done, err)
	}
	if done, _ := c.done(dir, "v1.36.1"); done != nil {
		t.Error("a result of another version of Kubernetes is taken")
	}
	if done, _ := (chunk{Name: c.Name, Focus: c.Focus, Skip: "Slow"}).done(dir, "v1.36.3"); done != nil {
		t.Error("a result of other tests is taken")
	}
	for what, broken := range map[string]result{
		"that did not come to its end": {Chunk: c, Kubernetes: "v1.36.3", Why: "the cluster has gone", Tests: whole.Tests},
		"without a test":               {Chunk: c, Kubernetes: "v1.36.3", Said: "passed"},
	} {
		if err := broken.write(dir); err != nil {
			t.Fatal(err)
		}
		if done, err := c.done(dir, "v1.36.3"); done != nil || err != nil {
			t.Errorf("a run %s is done: %+v, %v", what, done, err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, resultFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := c.done(dir, "v1.36.3"); err == nil {
		t.Error("a result that cannot be read is taken for none")
	}
}
