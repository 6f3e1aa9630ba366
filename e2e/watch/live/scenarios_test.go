package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/e2e/watch"
)

func rules(t *testing.T) []watch.Rule {
	t.Helper()
	all, err := watch.Rules("../../../provider/config/prometheus/elemento.rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestEveryAlertIsBroughtAboutOrItIsSaidWhyNot(t *testing.T) {
	t.Parallel()
	brought := map[string]string{}
	for _, s := range all() {
		for _, alert := range s.fires() {
			brought[alert] = s.name
		}
	}
	for _, r := range rules(t) {
		switch _, said := synthetic[r.Alert]; {
		case brought[r.Alert] == "" && !said:
			t.Errorf("%s comes up in no scenario", r.Alert)
		case brought[r.Alert] != "" && said:
			t.Errorf("%s is said to come up nowhere, and does in %s", r.Alert, brought[r.Alert])
		}
		delete(brought, r.Alert)
	}
	for alert, scenario := range brought {
		t.Errorf("%s has %s, of which there is no rule", scenario, alert)
	}
}

func TestAScenarioIsHeldUntilItsAlertsFire(t *testing.T) {
	t.Parallel()
	for _, s := range all() {
		for _, r := range rules(t) {
			for _, alert := range s.alerts {
				if r.Alert != alert || r.For == "" {
					continue
				}
				if lasts, err := time.ParseDuration(r.For); err != nil || lasts > s.hold {
					t.Errorf("%s is held for %s, and %s fires after %s (%v)", s.name, s.hold, alert, r.For, err)
				}
			}
		}
	}
}

func TestScenariosAreChosenByName(t *testing.T) {
	t.Parallel()
	if chosen, err := choose("a-host-*, ways-are-cut"); err != nil || len(chosen) != 3 {
		t.Errorf("there are %d (%v), want 3", len(chosen), err)
	}
	if _, err := choose("a-host-*,nothing"); err == nil {
		t.Error("a name that there is not is taken")
	}
}

func TestEveryScenarioHasARecordingInWhichItsAlertsFire(t *testing.T) {
	t.Parallel()
	wanted, does := map[string][]string{"quiet": nil}, map[string]string{"quiet": quietDoes}
	for _, s := range all() {
		wanted[s.name], does[s.name] = s.fires(), upper(s.does)+"."
	}
	files, err := filepath.Glob("../../../provider/config/prometheus/tests/recorded/*.test.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(filepath.Base(file), ".test.yaml")
		alerts, known := wanted[name]
		if !known {
			t.Errorf("%s is of no scenario", file)
		}
		delete(wanted, name)
		if head, _, _ := strings.Cut(string(text), "\n"); head != "# "+does[name] {
			t.Errorf("%s is of %q, and the scenario is %q: make watch-record ARGS='--scenarios %s'", file, head, does[name], name)
		}
		var fires []string
		for _, found := range regexp.MustCompile(`alertname="(\w+)"`).FindAllSubmatch(text, -1) {
			fires = append(fires, string(found[1]))
		}
		if !slices.Equal(fires, alerts) {
			t.Errorf("in %s %q fire, want %q: make watch-record ARGS='--scenarios %s'", file, fires, alerts, name)
		}
	}
	for name := range wanted {
		t.Errorf("of %s there is no recording: make watch-record ARGS='--scenarios %s'", name, name)
	}
}
