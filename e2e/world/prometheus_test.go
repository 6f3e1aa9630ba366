package world

import (
	"os"
	"slices"
	"testing"
	"time"

	"sigs.k8s.io/yaml"
)

// scraped is what is looked at of a configuration of Prometheus.
type scraped struct {
	Global struct {
		Scrape   string `json:"scrape_interval"`
		Evaluate string `json:"evaluation_interval"`
	} `json:"global"`
	Rules []string `json:"rule_files"`
	Jobs  []struct {
		Name   string `json:"job_name"`
		Static []any  `json:"static_configs"`
		Pods   []any  `json:"kubernetes_sd_configs"`
		FileSD []struct {
			Files []string `json:"files"`
		} `json:"file_sd_configs"`
		Authorization struct {
			File string `json:"credentials_file"`
		} `json:"authorization"`
		Relabel []any  `json:"relabel_configs"`
		Scheme  string `json:"scheme"`
	} `json:"scrape_configs"`
}

func configured(t *testing.T, interval time.Duration) (shipped, ours scraped) {
	t.Helper()
	text, err := os.ReadFile("../../provider/config/prometheus/prometheus.yaml")
	if err != nil {
		t.Fatal(err)
	}
	config, err := configurePrometheus(text, "/rules", "/targets", "/token", interval)
	if err != nil {
		t.Fatal(err)
	}
	for content, into := range map[string]*scraped{string(text): &shipped, string(config): &ours} {
		if err := yaml.Unmarshal([]byte(content), into); err != nil {
			t.Fatal(err)
		}
	}
	return shipped, ours
}

func TestPrometheusInAWorldHasTheShippedJobsAndRules(t *testing.T) {
	t.Parallel()
	shipped, ours := configured(t, 0)
	if len(ours.Jobs) != len(shipped.Jobs)+1 || ours.Global != shipped.Global {
		t.Fatalf("there are %d jobs and %v, shipped are %d and %v", len(ours.Jobs), ours.Global, len(shipped.Jobs), shipped.Global)
	}
	for i, want := range shipped.Jobs {
		got := ours.Jobs[i]
		if got.Name != want.Name || got.Scheme != want.Scheme || len(got.Relabel) != len(want.Relabel) {
			t.Errorf("job %s is %+v", want.Name, got)
		}
		if want.Authorization.File != "" && got.Authorization.File != "/token" {
			t.Errorf("job %s has the token of %q", got.Name, got.Authorization.File)
		}
	}
	if len(ours.Rules) != len(shipped.Rules) || !slices.Contains(ours.Rules, "/rules/elemento.rules.yaml") {
		t.Errorf("the rules are %q, shipped are %q", ours.Rules, shipped.Rules)
	}
}

func TestPrometheusInAWorldIsToldItsTargetsByTheWorld(t *testing.T) {
	t.Parallel()
	_, ours := configured(t, 0)
	jobs := map[string]bool{}
	for _, job := range ours.Jobs {
		jobs[job.Name] = true
		if len(job.Static) > 0 || len(job.Pods) > 0 || len(job.FileSD) != 1 || !slices.Equal(job.FileSD[0].Files, []string{"/targets/" + job.Name + ".json"}) {
			t.Errorf("job %s finds its targets by %+v", job.Name, job)
		}
	}
	for _, name := range []string{managerJob, clusterAPIJob, daemonJob, othersJob} {
		if !jobs[name] {
			t.Errorf("there is no job %s", name)
		}
	}
}

func TestPrometheusScrapesAndEvaluatesAsOftenAsItIsTold(t *testing.T) {
	t.Parallel()
	if _, ours := configured(t, 5*time.Second); ours.Global.Scrape != "5s" || ours.Global.Evaluate != "5s" {
		t.Errorf("it does every %+v", ours.Global)
	}
}

func TestPrometheusIsRefusedAtOnceWhereItCannotScrape(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]Options{
		"on kind":           {Plane: PlaneKind, Elemento: &Elemento{}},
		"on another plane":  {Plane: PlaneExisting, Elemento: &Elemento{}},
		"of Cluster API":    {},
		"of hosts that are": {Elemento: &Elemento{AtomOS: AtomOS{Existing: []Host{{ID: "host-1"}}}}},
	} {
		o.Prometheus = &Prometheus{}
		if _, err := Up(t.Context(), o); err == nil {
			t.Errorf("a world %s can be watched", name)
		}
	}
}
