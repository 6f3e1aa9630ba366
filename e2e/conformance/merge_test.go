package main

import (
	"io"
	"slices"
	"strings"
	"testing"

	"elemento.cloud/cluster-api-provider-elemento/reports"
)

// merged is the report of C1 on real nodes that several results make up.
func merged(t *testing.T, tests []string, results ...result) reports.Criterion {
	t.Helper()
	r := reports.Record("conformance", "make conformance", io.Discard)
	r.Describe(reports.Environment{Guests: reports.ContainerGuests})
	c1 := r.Begin("C1")
	merge(c1, tests, results)
	c1.Conclude()
	c, _ := r.Finish().Criterion("C1")
	return c
}

// manyTests are as many as C1 asks for.
func manyTests() (names []string, tests []test) {
	for i := range 400 {
		name := "[sig-node] test " + strings.Repeat("i", i) + " [Conformance]"
		names, tests = append(names, name), append(tests, test{Name: name, Verdict: reports.Passed})
	}
	return names, tests
}

func TestOneRunOfAllTestsPassesC1(t *testing.T) {
	t.Parallel()
	names, tests := manyTests()
	if c := merged(t, names, result{Chunk: chunk{Name: "whole"}, Said: "passed", Tests: tests}); c.Verdict != reports.Passed {
		t.Errorf("C1 is %s: %s", c.Verdict, c.Explanation)
	}
}

func TestWhatIsMergedOrFocusedDoesNotPassC1(t *testing.T) {
	t.Parallel()
	names, tests := manyTests()
	for what, c := range map[string]struct {
		results []result
		because string
	}{
		"several runs": {[]result{
			{Chunk: chunk{Name: "sig-apps"}, Said: "passed", Tests: tests[:100]},
			{Chunk: chunk{Name: "sig-node"}, Said: "passed", Tests: tests[100:]},
		}, "merged from several runs: 2"},
		"a part":        {[]result{{Chunk: chunk{Name: "focus"}, Said: "passed", Tests: tests[:399]}}, "a part of the tests: 1 conformance tests that did not run"},
		"a small part":  {[]result{{Chunk: chunk{Name: "focus"}, Said: "passed", Tests: tests[:1]}}, "a part of the tests: 1 of at least 300"},
		"an empty part": {[]result{{Chunk: chunk{Name: "focus"}, Said: "passed"}}, "sonobuoy's verdict on focus: unknown"},
	} {
		got := merged(t, names, c.results...)
		if got.Verdict != reports.Unknown || !strings.Contains(got.Explanation, c.because) {
			t.Errorf("%s: C1 is %s: %s", what, got.Verdict, got.Explanation)
		}
	}
}

func TestEachRunIsToldWithWhatItWasOf(t *testing.T) {
	t.Parallel()
	names, tests := manyTests()
	c := merged(t, names,
		result{Chunk: chunk{Name: "sig-apps"}, Said: "passed", Tests: tests[:100], Of: made{Commit: "0a1b2c", NodeImage: "sha256:12"}},
		result{Chunk: chunk{Name: "sig-node"}, Said: "passed", Tests: tests[100:200], Of: made{Commit: "3d4e5f+changes"}},
		result{Chunk: chunk{Name: "sig-storage"}, Said: "passed", Tests: tests[200:]}, // of before this was told
	)
	for name, want := range map[string]string{
		"sig-apps": "commit 0a1b2c, node image sha256:12", "sig-node": "commit 3d4e5f+changes", "sig-storage": "commit unknown",
	} {
		if !slices.ContainsFunc(c.Items, func(i reports.Item) bool {
			return strings.HasSuffix(i.Name, name) && strings.HasSuffix(i.Detail, "; "+want)
		}) {
			t.Errorf("nothing tells that %s is of %s", name, want)
		}
	}
}

func TestEveryFailureIsNamedWithItsMessage(t *testing.T) {
	t.Parallel()
	names, tests := manyTests()
	tests[7].Verdict, tests[7].Message = reports.Failed, "no answer from the pod"
	c := merged(t, names, result{Chunk: chunk{Name: "whole"}, Said: "failed", Tests: tests})
	if c.Verdict != reports.Failed || !strings.Contains(c.Explanation, tests[7].Name) {
		t.Errorf("C1 is %s: %s", c.Verdict, c.Explanation)
	}
	found := 0
	for _, i := range c.Items {
		if i.Verdict == reports.Failed && i.Name == tests[7].Name && i.Detail == "no answer from the pod" {
			found++
		}
	}
	if found != 1 || len(c.Items) != 1+len(tests) {
		t.Errorf("of %d items %d tell of the failure", len(c.Items), found)
	}
}
