package suite

import (
	"fmt"
	"path"
	"strings"
)

// Matching returns those of all, in their order, whose names match one of the patterns,
// which commas separate and each of which must match one.
func Matching[T any](patterns string, all []T, name func(T) string) ([]T, error) {
	wanted := make([]bool, len(all))
	for p := range strings.SplitSeq(patterns, ",") {
		found := false
		for i, one := range all {
			if hit, err := path.Match(strings.TrimSpace(p), name(one)); hit && err == nil {
				wanted[i], found = true, true
			}
		}
		if !found {
			var names []string
			for _, one := range all {
				names = append(names, name(one))
			}
			return nil, fmt.Errorf("none is named %q; there are %s", p, strings.Join(names, ", "))
		}
	}
	var chosen []T
	for i, one := range all {
		if wanted[i] {
			chosen = append(chosen, one)
		}
	}
	return chosen, nil
}
