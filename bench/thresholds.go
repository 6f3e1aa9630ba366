package main

import (
	_ "embed"
	"fmt"
	"maps"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"elemento.cloud/cluster-api-provider-elemento/reports"
)

//go:embed thresholds.yaml
var thresholdsFile []byte

// threshold is what a figure must keep.
type threshold struct {
	AtMost  *float64 `json:"atMost,omitempty"`
	AtLeast *float64 `json:"atLeast,omitempty"`
	// Unit is that of the figure; a figure in another one is not comparable.
	Unit string `json:"unit,omitempty"`
}

// thresholds are those of all parts, and which of them were looked at.
type thresholds struct {
	of       map[string]map[string]threshold
	measured map[string]map[string]bool
}

// readThresholds reads thresholds of the given parts.
func readThresholds(file []byte, parts []string) (*thresholds, error) {
	t := &thresholds{measured: map[string]map[string]bool{}}
	if err := yaml.UnmarshalStrict(file, &t.of); err != nil {
		return nil, fmt.Errorf("thresholds.yaml: %w", err)
	}
	for part, of := range t.of {
		if !slices.Contains(parts, part) {
			return nil, fmt.Errorf("thresholds.yaml: there is no part %q; there are %s", part, strings.Join(parts, ", "))
		}
		t.measured[part] = map[string]bool{}
		for figure, limit := range of {
			if limit.AtMost == nil && limit.AtLeast == nil {
				return nil, fmt.Errorf("thresholds.yaml: %s: %s: say atMost or atLeast", part, figure)
			}
		}
	}
	return t, nil
}

// has tells whether there is a threshold.
func (t *thresholds) has(part, figure string) bool {
	_, has := t.of[part][figure]
	return has
}

// judge is a figure with its threshold, where it has one.
func (t *thresholds) judge(part string, f reports.Figure) (reports.Figure, error) {
	limit, has := t.of[part][f.Name]
	if !has {
		return f, nil
	}
	if limit.Unit != f.Unit {
		return f, fmt.Errorf("thresholds.yaml: %s: %s: the unit is %q, and the figure is measured in %q", part, f.Name, limit.Unit, f.Unit)
	}
	t.measured[part][f.Name] = true
	f.AtMost, f.AtLeast = limit.AtMost, limit.AtLeast
	return f, nil
}

// passOver leaves out a figure that cannot be measured in this run.
func (t *thresholds) passOver(part, figure string) {
	if t.has(part, figure) {
		t.measured[part][figure] = true
	}
}

// unmeasured are the figures of a part that have a threshold and were not judged.
func (t *thresholds) unmeasured(part string) []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(t.of[part])) {
		if !t.measured[part][name] {
			names = append(names, name)
		}
	}
	return names
}
