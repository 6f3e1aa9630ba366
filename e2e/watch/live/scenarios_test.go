package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"sigs.k8s.io/yaml"

	"elemento.cloud/cluster-api-provider-elemento/e2e/watch"
	"elemento.cloud/cluster-api-provider-elemento/e2e/world"
)

func rules(t *testing.T) []watch.Rule {
	t.Helper()
	var all []watch.Rule
	for _, name := range ruleFiles {
		some, err := watch.Rules(filepath.Join(shipped, name+".rules.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, some...)
	}
	return slices.DeleteFunc(all, func(r watch.Rule) bool { return r.Alert == "" })
}

const shipped = "../../../provider/config/prometheus"

func TestTheRulesAreThoseThatTheShippedConfigurationLoads(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(shipped, "prometheus.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var config struct {
		Files []string `json:"rule_files"`
	}
	if err := yaml.Unmarshal(text, &config); err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, name := range ruleFiles {
		want = append(want, name+".rules.yaml")
	}
	if !slices.Equal(config.Files, want) {
		t.Errorf("it loads %q, and the suite looks at %q", config.Files, want)
	}
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
	if chosen, err := choose("a-host-*, ways-are-cut", false); err != nil || len(chosen) != 3 {
		t.Errorf("there are %d (%v), want 3", len(chosen), err)
	}
	if _, err := choose("a-host-*,nothing", true); err == nil {
		t.Error("a name that there is not is taken")
	}
	if chosen, err := choose("*", false); err != nil || len(chosen) != len(shorter()) {
		t.Errorf("there are %d (%v) without those that are long, want %d", len(chosen), err, len(shorter()))
	}
	if chosen, err := choose("vms-boot-slowly, quiet*,a-host-*", false); err == nil {
		t.Errorf("a name that there is not beside a long one is taken: %d", len(chosen))
	}
	if chosen, err := choose("a-host-is-slow, vms-boot-slowly", false); err != nil || len(chosen) != 2 {
		t.Errorf("there are %d (%v) where a long one is named, want 2", len(chosen), err)
	}
	if chosen, err := choose("*", true); err != nil || len(chosen) != len(all()) || len(chosen) <= len(shorter()) {
		t.Errorf("there are %d (%v) with those that are long, want all %d", len(chosen), err, len(all()))
	}
}

// What has changed in the code must be followed by the edits that make a wrong manager of it.
func TestTheManagerThatPanicsIsMadeOfTheOneThatIsThere(t *testing.T) {
	t.Parallel()
	if _, err := world.Overlay("../../..", panicking...); err != nil {
		t.Error(err)
	}
}

// What is recorded is what would be recorded now: of the same deed, held for as long, by
// the same rules, and with the same demands.
func TestEveryScenarioHasARecordingAsItWouldBeMadeNow(t *testing.T) {
	t.Parallel()
	wanted := map[string]watch.Recording{quiet: {Does: quietDoes, Hold: quietHold}}
	for _, s := range all() {
		wanted[s.name] = watch.Recording{Does: upper(s.does) + ".", Hold: s.hold, Fires: s.fires()}
	}
	files, err := filepath.Glob(filepath.Join(shipped, "tests", "recorded", "*.test.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var rules []string
	for _, name := range ruleFiles {
		rules = append(rules, "../../"+name+".rules.yaml")
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(filepath.Base(file), ".test.yaml")
		recording, known := wanted[name]
		if !known {
			t.Errorf("%s is of no scenario", file)
			continue
		}
		delete(wanted, name)
		// How long it took, and when in it things went wrong, is its own.
		recording.Span = watch.Span{From: time.Unix(0, 0), Step: interval}
		recording.To = recording.From.Add(firstDuration(t, text, `(?m)^# .* every \w+ over (\w+)\.`))
		if name != quiet {
			recording.Fault = recording.From.Add(firstDuration(t, text, `eval_time: (\w+)`))
		}
		if head := recording.Head(rules...); !bytes.HasPrefix(text, head) {
			t.Errorf("%s does not begin with\n%s\n%s", file, head, makes(name))
		}
		if demands := recording.Demands(); !bytes.HasSuffix(text, demands) {
			t.Errorf("%s does not end with\n%s\n%s", file, demands, makes(name))
		}
	}
	for name := range wanted {
		t.Errorf("of %s there is no recording: %s", name, makes(name))
	}
}

// makes is the command that records a scenario.
func makes(name string) string {
	if name == quiet {
		return "make watch-record"
	}
	return "make watch-record ARGS='--scenarios " + name + "'"
}

// firstDuration is the first that a pattern finds in a text, in Prometheus' notation.
func firstDuration(t *testing.T, text []byte, pattern string) time.Duration {
	t.Helper()
	found := regexp.MustCompile(pattern).FindSubmatch(text)
	if found == nil {
		t.Fatalf("%s is not in\n%.600s", pattern, text)
	}
	d, err := model.ParseDuration(string(found[1]))
	if err != nil {
		t.Fatal(err)
	}
	return time.Duration(d)
}
