package watch

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"elemento.cloud/cluster-api-provider-elemento/e2e/metricspage"
)

const shipped = "../../provider/config/prometheus"

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// boundaries are whose the alerts of a file are.
var boundaries = map[string]string{"elemento": "elemento", "clastix": "clastix", "application": "application", "recording": ""}

// eachFile calls test with the name of each rule file, without its suffix, and its rules.
func eachFile(t *testing.T, test func(name string, rules []Rule)) {
	t.Helper()
	for _, file := range must(RuleFiles(shipped)) {
		test(strings.TrimSuffix(filepath.Base(file), suffix), must(Rules(file)))
	}
}

func TestEveryAlertSaysWhoseItIsWhatIsWrongAndWhatToDo(t *testing.T) {
	t.Parallel()
	eachFile(t, func(name string, rules []Rule) {
		boundary, known := boundaries[name]
		if !known {
			t.Errorf("%s: whose alerts are these?", name)
		}
		for _, r := range rules {
			if r.Alert == "" {
				if boundary != "" {
					t.Errorf("%s: %s is no alert", name, r.Record)
				}
				continue
			}
			if r.Labels["boundary"] != boundary || !slices.Contains([]string{"critical", "warning", "info"}, r.Labels["severity"]) {
				t.Errorf("%s: %s has the labels %v", name, r.Alert, r.Labels)
			}
			for _, annotation := range []string{"summary", "description", "action"} {
				if len(strings.Fields(r.Annotations[annotation])) < 3 {
					t.Errorf("%s: %s has the %s %q", name, r.Alert, annotation, r.Annotations[annotation])
				}
			}
		}
	})
}

func TestEveryAlertHasATestInWhichItIsQuietAndOneInWhichItFires(t *testing.T) {
	t.Parallel()
	eachFile(t, func(name string, rules []Rule) {
		if boundaries[name] == "" {
			return
		}
		var content struct {
			Tests []struct {
				Name  string `json:"name"`
				Evals []struct {
					Samples []struct {
						Labels string `json:"labels"`
					} `json:"exp_samples"`
				} `json:"promql_expr_test"`
			} `json:"tests"`
		}
		must(0, yaml.Unmarshal(must(os.ReadFile(filepath.Join(shipped, "tests", name+".test.yaml"))), &content))
		type cases struct{ quiet, firing int }
		tested := map[string]cases{}
		for _, test := range content.Tests {
			for _, eval := range test.Evals {
				c := tested[test.Name]
				fires := false
				for _, s := range eval.Samples {
					fires = fires || s.Labels == `{alertname="`+test.Name+`"}`
				}
				if fires {
					c.firing++
				} else {
					c.quiet++
				}
				tested[test.Name] = c
			}
		}
		for _, r := range rules {
			if c := tested[r.Alert]; c.quiet == 0 || c.firing == 0 {
				t.Errorf("%s: %s is quiet in %d cases and fires in %d", name, r.Alert, c.quiet, c.firing)
			}
		}
	})
}

// known are the metrics that queries may ask for: those of docs/metrics.md and the
// records.
func known(t *testing.T) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	for _, section := range must(metricspage.Page()) {
		for _, m := range section {
			all[m.Name] = true
			if m.Type == "histogram" {
				all[m.Name+"_bucket"], all[m.Name+"_sum"], all[m.Name+"_count"] = true, true, true
			}
		}
	}
	eachFile(t, func(_ string, rules []Rule) {
		for _, r := range rules {
			if r.Record != "" {
				all[r.Record] = true
			}
		}
	})
	return all
}

func TestRulesAskForMetricsThatAreDocumented(t *testing.T) {
	t.Parallel()
	documented := known(t)
	eachFile(t, func(name string, rules []Rule) {
		for _, r := range rules {
			asked := Metrics(r.Expr)
			if len(asked) == 0 {
				t.Errorf("%s: %s asks for nothing: %s", name, r.Alert+r.Record, r.Expr)
			}
			for _, metric := range asked {
				if !documented[metric] {
					t.Errorf("%s: %s asks for %s, of which docs/metrics.md has nothing", name, r.Alert+r.Record, metric)
				}
			}
		}
	})
}

func TestTheNamesOfMetricsAreFoundInAQuery(t *testing.T) {
	t.Parallel()
	const query = `max by (a, b) (up{job="x_y"}) == 0 or on (c) rate(a_total[5m]) > 7 * 86400 unless b:c:sum < 1e9`
	if got := Metrics(query); !slices.Equal(got, []string{"a_total", "b:c:sum", "up"}) {
		t.Errorf("in %s there are %q", query, got)
	}
}

func TestAlertsOfWhatWasLatelyLookBack(t *testing.T) {
	t.Parallel()
	var all []Rule
	eachFile(t, func(_ string, rules []Rule) { all = append(all, rules...) })
	for alert, want := range map[string]bool{
		"ElementoHostUnreachable": false, "ElementoDaemonDown": false, "ElementoDriftedVMs": false, "ElementoDomainNearlyFull": false,
		"ElementoHostFails": true, "ElementoHostSlow": true, "ElementoDaemonRestarts": true, "ElementoVMsGone": true, "ElementoReconcileErrors": true, "ElementoVMOperationsFail": true,
	} {
		if LooksBack(alert, all) != want {
			t.Errorf("%s: %v, want %v", alert, !want, want)
		}
	}
}

func TestTheObjectsOfTheOperatorAreMadeOfTheRules(t *testing.T) {
	t.Parallel()
	if !bytes.Equal(must(PrometheusRules(shipped)), must(os.ReadFile(filepath.Join(shipped, "operator", "rules.yaml")))) {
		t.Error("operator/rules.yaml is out of date: make generate")
	}
}

// What the Prometheus Operator is told to scrape is what prometheus.yaml has scraped,
// under the names by which rules know it.
func TestTheOperatorHasTheJobsOfTheConfiguration(t *testing.T) {
	t.Parallel()
	var config struct {
		Jobs []struct {
			Name string `json:"job_name"`
		} `json:"scrape_configs"`
	}
	must(0, yaml.Unmarshal(must(os.ReadFile(filepath.Join(shipped, "prometheus.yaml"))), &config))
	var want, has []string
	for _, job := range config.Jobs {
		want = append(want, job.Name)
	}
	type relabeling struct {
		Label       string `json:"targetLabel"`
		Replacement string `json:"replacement"`
	}
	for _, file := range []string{"pod_monitors.yaml", "scrape_config.yaml"} {
		for object := range bytes.SplitSeq(must(os.ReadFile(filepath.Join(shipped, "operator", file))), []byte("\n---\n")) {
			var o struct {
				Spec struct {
					Endpoints []struct {
						Relabelings []relabeling `json:"relabelings"`
					} `json:"podMetricsEndpoints"`
					Relabelings []relabeling `json:"relabelings"`
				} `json:"spec"`
			}
			must(0, yaml.Unmarshal(object, &o))
			all := o.Spec.Relabelings
			for _, e := range o.Spec.Endpoints {
				all = append(all, e.Relabelings...)
			}
			for _, r := range all {
				if r.Label == "job" {
					has = append(has, r.Replacement)
				}
			}
		}
	}
	slices.Sort(want)
	slices.Sort(has)
	if len(want) == 0 || !slices.Equal(has, want) {
		t.Errorf("the Operator has the jobs %q, prometheus.yaml has %q", has, want)
	}
}
