// Package metricspage holds docs/metrics.md against what programs register.
package metricspage

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
)

// Metric is a row of the page.
type Metric struct {
	Name, Type, Unit string
	// Labels are in order.
	Labels  []string
	Meaning string
}

// pageFile is the page, from the root of the repository.
const pageFile = "docs/metrics.md"

// Page is what docs/metrics.md says: the metrics of its sections, by heading. It is
// found from the working directory, or a directory above.
func Page() (map[string][]Metric, error) {
	root, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	for {
		if _, err := os.Stat(filepath.Join(root, "go.mod")); err == nil {
			break
		}
		if root == filepath.Dir(root) {
			return nil, fmt.Errorf("no directory above the working directory has %s", pageFile)
		}
		root = filepath.Dir(root)
	}
	text, err := os.ReadFile(filepath.Join(root, pageFile))
	if err != nil {
		return nil, err
	}
	return parse(string(text)), nil
}

func parse(text string) map[string][]Metric {
	page, section := map[string][]Metric{}, ""
	for line := range strings.Lines(text) {
		if heading, ok := strings.CutPrefix(line, "## "); ok {
			section = strings.TrimSpace(heading)
		}
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		if len(cells) != 5 || !strings.HasPrefix(cells[0], "`") {
			continue
		}
		m := Metric{Name: strings.Trim(cells[0], "`"), Type: cells[1], Unit: cells[2], Meaning: cells[4]}
		for label := range strings.SplitSeq(cells[3], ",") {
			if label = strings.Trim(label, " `"); label != "" {
				m.Labels = append(m.Labels, label)
			}
		}
		slices.Sort(m.Labels)
		page[section] = append(page[section], m)
	}
	return page
}

// bounded are the labels that a metric of ours may have: of what a site is made of, and
// words of our programs. What values they have e2e/watch/live looks through.
var bounded = map[string]bool{
	"host": true, "domain": true, "client_uid": true, "endpoint": true,
	"call": true, "method": true, "operation": true, "service": true, "code": true, "outcome": true,
	"state": true, "power_state": true, "phase": true, "reason": true, "stage": true, "role": true, "kind": true, "effect": true, "event": true,
}

// Check fails the test where a section of the page is not what the collectors
// register under names that begin with elemento_, where promlint finds fault with one of
// those, and where one has a label without bounds.
func Check(t testing.TB, section string, collectors ...prometheus.Collector) {
	t.Helper()
	page, err := Page()
	if err != nil {
		t.Fatal(err)
	}
	registered := describe(collectors...)
	if len(registered) == 0 || len(page[section]) == 0 {
		t.Fatalf("%d metrics are registered, and section %q of %s has %d", len(registered), section, pageFile, len(page[section]))
	}
	var families []*dto.MetricFamily
	for _, m := range page[section] {
		r, ok := registered[m.Name]
		if !ok {
			t.Errorf("%s has %s under %q, which is not registered", pageFile, m.Name, section)
			continue
		}
		delete(registered, m.Name)
		if !slices.Equal(m.Labels, r.labels) {
			t.Errorf("%s says that %s has the labels %q; it has %q", pageFile, m.Name, m.Labels, r.labels)
		}
		for _, label := range r.labels {
			if !bounded[label] {
				t.Errorf("%s has the label %s; only those that grow with the site and not with what runs on it may be (%v)", m.Name, label, slices.Sorted(maps.Keys(bounded)))
			}
		}
		if r.kind != "" && r.kind != m.Type {
			t.Errorf("%s says that %s is a %s; it is a %s", pageFile, m.Name, m.Type, r.kind)
		}
		if unit := unitOf(m.Name); m.Unit != unit {
			t.Errorf("%s says that %s is in %q; its name says %q", pageFile, m.Name, m.Unit, unit)
		}
		if len(strings.Fields(m.Meaning)) < 3 {
			t.Errorf("%s does not say what %s means", pageFile, m.Name)
		}
		kind, ok := dto.MetricType_value[strings.ToUpper(m.Type)]
		if !ok {
			t.Errorf("%s says that %s is a %s, which is no type", pageFile, m.Name, m.Type)
			continue
		}
		families = append(families, &dto.MetricFamily{Name: &m.Name, Help: &r.help, Type: dto.MetricType(kind).Enum(), Metric: r.samples})
	}
	for _, name := range slices.Sorted(maps.Keys(registered)) {
		t.Errorf("%s has nothing of %s under %q", pageFile, name, section)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("promlint says of %s: %s", p.Metric, p.Text)
	}
}

// unitOf is the unit that a metric's name ends with; 1 for what is counted.
func unitOf(name string) string {
	for _, unit := range []string{"seconds", "bytes"} {
		if strings.HasSuffix(strings.TrimSuffix(name, "_total"), "_"+unit) {
			return unit
		}
	}
	return "1"
}

// described is what a collector tells of a metric.
type described struct {
	help    string
	labels  []string
	kind    string // empty where there is no sample
	samples []*dto.Metric
}

// descText is how a prometheus.Desc, which has no accessors, shows itself.
var descText = regexp.MustCompile(`^Desc\{fqName: "([^"]*)", help: "((?:[^"\\]|\\.)*)", .*variableLabels: \{([^}]*)\}`)

func describe(collectors ...prometheus.Collector) map[string]described {
	found := map[string]described{}
	for _, c := range collectors {
		registry := prometheus.NewRegistry()
		registry.MustRegister(c)
		families, _ := registry.Gather() // what cannot be gathered is described all the same
		descs := make(chan *prometheus.Desc)
		go func() {
			c.Describe(descs)
			close(descs)
		}()
		for desc := range descs {
			parts := descText.FindStringSubmatch(desc.String())
			if parts == nil || !strings.HasPrefix(parts[1], "elemento_") {
				continue
			}
			d := described{help: parts[2]}
			if parts[3] != "" {
				d.labels = strings.Split(parts[3], ",")
				slices.Sort(d.labels)
			}
			for _, f := range families {
				if f.GetName() == parts[1] {
					d.kind, d.samples = strings.ToLower(f.GetType().String()), f.Metric
				}
			}
			found[parts[1]] = d
		}
	}
	return found
}
