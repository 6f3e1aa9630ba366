package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// all is what the tests of conformance are called by.
const all = `\[Conformance\]`

// chunk is what one run of sonobuoy runs.
type chunk struct {
	Name string `json:"name"`
	// Focus is the regular expression that the names of its tests match, and Skip, if it
	// is not empty, the one that they do not.
	Focus string `json:"focus"`
	Skip  string `json:"skip,omitempty"`
}

// matching are those of some tests that are of the chunk.
func (c chunk) matching(names []string) ([]string, error) {
	focus, err := regexp.Compile(c.Focus)
	if err != nil {
		return nil, fmt.Errorf("--focus: %w", err)
	}
	skip, err := regexp.Compile(c.Skip)
	if err != nil {
		return nil, fmt.Errorf("--skip: %w", err)
	}
	var matching []string
	for _, name := range names {
		if focus.MatchString(name) && (c.Skip == "" || !skip.MatchString(name)) {
			matching = append(matching, name)
		}
	}
	return matching, nil
}

// sigOf finds the group of people whose test it is, by which chunks are cut.
var sigOf = regexp.MustCompile(`^\[(sig-[a-z-]+)\]`)

// cut cuts tests into chunks, one for each special interest group.
func cut(names []string, skip string) ([]chunk, error) {
	found := map[string]bool{}
	for _, name := range names {
		sig := sigOf.FindStringSubmatch(name)
		if sig == nil {
			return nil, fmt.Errorf("the test %q is of no group, and so of no chunk: leave out --chunks", name)
		}
		found[sig[1]] = true
	}
	var chunks []chunk
	for sig := range found {
		chunks = append(chunks, chunk{Name: sig, Focus: `\[` + sig + `\].*` + all, Skip: skip})
	}
	slices.SortFunc(chunks, func(a, b chunk) int { return strings.Compare(a.Name, b.Name) })
	return chunks, nil
}

// focused is the chunk of a focus. One that is cut so too has that one's name: its results
// can be taken for it.
func focused(chunks []chunk, focus, skip string) chunk {
	c := chunk{Name: "focus", Focus: focus, Skip: skip}
	for _, other := range chunks {
		if other.Focus == c.Focus && other.Skip == c.Skip {
			return other
		}
	}
	return c
}

// conformanceTests are the names of all tests of conformance, as the source of Kubernetes
// in a directory lists them.
func conformanceTests(kubernetes string) ([]string, error) {
	file := filepath.Join(kubernetes, "test", "conformance", "testdata", "conformance.yaml")
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var listed []struct{ Codename string }
	if err := yaml.Unmarshal(content, &listed); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	var names []string
	for _, l := range listed {
		names = append(names, strings.Join(strings.Fields(l.Codename), " "))
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("%s lists no test", file)
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// resultFile is where, in the directory of a chunk, is written what it came to.
const resultFile = "result.json"

// done reads what a chunk came to that was run before, into a directory: nothing where it
// was not run to its end, or was another one, or one of another version of Kubernetes.
func (c chunk) done(dir, kubernetes string) (*result, error) {
	content, err := os.ReadFile(filepath.Join(dir, resultFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	r := &result{}
	if err := json.Unmarshal(content, r); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, resultFile), err)
	}
	if r.Chunk != c || r.Kubernetes != kubernetes || r.Why != "" || len(r.Tests) == 0 {
		return nil, nil
	}
	return r, nil
}

// write writes what a chunk came to into a directory, whole or not at all.
func (r *result) write(dir string) error {
	content, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	file := filepath.Join(dir, resultFile)
	if err := os.WriteFile(file+".unfinished", append(content, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(file+".unfinished", file)
}
