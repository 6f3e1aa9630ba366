package main

import (
	"regexp"
	"testing"
)

func TestEachScenarioSaysWhatItIs(t *testing.T) {
	t.Parallel()
	valid := regexp.MustCompile(`^[a-z]+(-[a-z]+)*$`)
	seen := map[string]bool{}
	for _, s := range all() {
		if !valid.MatchString(s.name) || seen[s.name] {
			t.Errorf("%q: a name is in lower case with dashes, and one scenario's", s.name)
		}
		seen[s.name] = true
		for field, text := range map[string]string{"answers": s.answers, "does": s.does, "during": s.during, "after": s.after} {
			if text == "" {
				t.Errorf("%s does not say %s", s.name, field)
			}
		}
		if _, known := shapes[s.on]; s.on != none && !known {
			t.Errorf("%s acts on %q, which is no standing cluster", s.name, s.on)
		}
	}
	if len(seen) < 30 {
		t.Errorf("there are %d scenarios", len(seen))
	}
}

func TestScenariosAreChosenByPattern(t *testing.T) {
	t.Parallel()
	for patterns, want := range map[string]int{"lost-register-reply": 1, "*": len(all()), "vm-crashes, host-lost": 2} {
		chosen, err := choose(patterns)
		if err != nil || len(chosen) != want {
			t.Errorf("%q chooses %d scenarios (%v), want %d", patterns, len(chosen), err, want)
		}
	}
	for _, patterns := range []string{"no-such-thing", "vm-crashes,no-such-thing", ""} {
		if _, err := choose(patterns); err == nil {
			t.Errorf("%q has a name that there is not, which is no error", patterns)
		}
	}
}

func TestAVolumeIsThatOfAVM(t *testing.T) {
	t.Parallel()
	if owner := ownerOf("small-1-md-0-x-e61010f5-seed"); owner != "small-1-md-0-x-e61010f5" {
		t.Errorf("the volume is %s's", owner)
	}
}
