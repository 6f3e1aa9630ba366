package watch

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/prometheus/common/model"
)

// Naming says of which labels the value holds one of the names, alone or within. The
// labels by which Prometheus knows where a series comes from are not ours.
func Naming(series []model.LabelSet, names []string) []string {
	found := map[string]bool{}
	for _, labels := range series {
		for label, value := range labels {
			if label == model.MetricNameLabel || label == model.JobLabel || label == model.InstanceLabel {
				continue
			}
			for _, name := range names {
				if strings.Contains(string(value), name) {
					found[fmt.Sprintf("%s{%s=%q} holds the name %s", labels[model.MetricNameLabel], label, value, name)] = true
				}
			}
		}
	}
	return slices.Sorted(maps.Keys(found))
}
