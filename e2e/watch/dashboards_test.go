package watch

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"elemento.cloud/cluster-api-provider-elemento/e2e/metricspage"
)

func TestDashboardsAskForMetricsThatAreDocumented(t *testing.T) {
	t.Parallel()
	documented := known(t)
	for _, d := range must(Dashboards(filepath.Join(shipped, "dashboards"))) {
		for _, p := range d.Panels {
			for _, target := range p.Targets {
				asked := Metrics(target.Expr)
				if len(asked) == 0 {
					t.Errorf("%s: %q asks for nothing: %s", d.Name, p.Title, target.Expr)
				}
				for _, metric := range asked {
					if !documented[metric] {
						t.Errorf("%s: %q asks for %s, of which docs/metrics.md has nothing", d.Name, p.Title, metric)
					}
				}
			}
		}
	}
}

func TestOfOthersMetricsThoseAreDocumentedThatAreAskedFor(t *testing.T) {
	t.Parallel()
	asked := map[string]bool{}
	ask := func(query string) {
		for _, metric := range Metrics(query) {
			asked[metric] = true
		}
	}
	eachFile(t, func(_ string, rules []Rule) {
		for _, r := range rules {
			ask(r.Expr)
		}
	})
	for _, d := range must(Dashboards(filepath.Join(shipped, "dashboards"))) {
		for _, p := range d.Panels {
			for _, target := range p.Targets {
				ask(target.Expr)
			}
		}
	}
	page := must(metricspage.Page())
	for _, section := range []string{"Of controller-runtime", "Of others"} {
		if len(page[section]) == 0 {
			t.Errorf("docs/metrics.md has no section %q", section)
		}
		for _, m := range page[section] {
			if !asked[m.Name] {
				t.Errorf("docs/metrics.md has %s under %q, for which no rule and no dashboard asks", m.Name, section)
			}
		}
	}
}

func TestEveryPanelSaysWhatItShows(t *testing.T) {
	t.Parallel()
	uids := map[string]bool{}
	for _, d := range must(Dashboards(filepath.Join(shipped, "dashboards"))) {
		if d.UID == "" || uids[d.UID] || d.Title == "" || len(d.Panels) == 0 {
			t.Errorf("%s has uid %q, title %q and %d panels", d.Name, d.UID, d.Title, len(d.Panels))
		}
		uids[d.UID] = true
		ids := map[int]bool{}
		for _, p := range d.Panels {
			if ids[p.ID] || p.Title == "" || len(strings.Fields(p.Description)) < 2 || len(p.Targets) == 0 {
				t.Errorf("%s: panel %d has title %q, description %q and %d queries", d.Name, p.ID, p.Title, p.Description, len(p.Targets))
			}
			ids[p.ID] = true
		}
	}
}

// A legend by a label that a query does not keep is empty.
func TestLegendsNameLabelsThatTheirQueryKeeps(t *testing.T) {
	t.Parallel()
	label := regexp.MustCompile(`\{\{(\w+)\}\}`)
	for _, d := range must(Dashboards(filepath.Join(shipped, "dashboards"))) {
		for _, p := range d.Panels {
			for _, target := range p.Targets {
				for _, found := range label.FindAllStringSubmatch(target.LegendFormat, -1) {
					// A plain series keeps all of its labels; a record says in its name which.
					aggregated := regexp.MustCompile(`\b(sum|max|min|count|avg)\b`).MatchString(strings.SplitN(target.Expr, ":", 2)[0])
					if (aggregated || strings.Contains(target.Expr, ":elemento_")) && !strings.Contains(target.Expr, found[1]) {
						t.Errorf("%s: the legend of %q names %s, which %s does not keep", d.Name, p.Title, found[1], target.Expr)
					}
				}
			}
		}
	}
}
