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

// thresholds are those of all parts, and what has become of them, by part and figure.
type thresholds struct {
	of   map[string]map[string]threshold
	done map[string]map[string]outcome
	// lifted says that figures of this run are not comparable: all are passed over.
	lifted bool
}

// outcome is what has become of a threshold.
type outcome int

const (
	// unmeasured is one of a figure that nobody has told.
	unmeasured outcome = iota
	// judged is one that was looked at.
	judged
	// passedOver is one of a figure that could not be measured in this run.
	passedOver
)

// readThresholds reads thresholds of the given parts.
func readThresholds(file []byte, parts []string) (*thresholds, error) {
	t := &thresholds{done: map[string]map[string]outcome{}}
	if err := yaml.UnmarshalStrict(file, &t.of); err != nil {
		return nil, fmt.Errorf("thresholds.yaml: %w", err)
	}
	for part, of := range t.of {
		if !slices.Contains(parts, part) {
			return nil, fmt.Errorf("thresholds.yaml: there is no part %q; there are %s", part, strings.Join(parts, ", "))
		}
		t.done[part] = map[string]outcome{}
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
	if t.lifted {
		t.passOver(part, f.Name)
		return f, nil
	}
	t.done[part][f.Name] = judged
	f.AtMost, f.AtLeast = limit.AtMost, limit.AtLeast
	return f, nil
}

// passOver leaves out a figure that cannot be measured in this run.
func (t *thresholds) passOver(part, figure string) {
	if t.has(part, figure) && t.done[part][figure] == unmeasured {
		t.done[part][figure] = passedOver
	}
}

// unmeasured are the figures of a part that have a threshold and were neither judged nor
// passed over, and passedOver those that were.
func (t *thresholds) unmeasured(part string) []string { return t.which(part, unmeasured) }
func (t *thresholds) passedOver(part string) []string { return t.which(part, passedOver) }

func (t *thresholds) which(part string, are outcome) []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(t.of[part])) {
		if t.done[part][name] == are {
			names = append(names, name)
		}
	}
	return names
}
