package main

import (
	"slices"
	"testing"
)

func TestPartsRunInTheirOrderAndBringWhatTheyNeed(t *testing.T) {
	t.Parallel()
	for only, want := range map[string][]string{
		"requests,stages": {"stages", "requests"},
		"rest":            {"growth", "rest"},
		"growth":          {"growth"},
		"removal":         {"growth", "removal"},
		"layers":          {"layers"},
	} {
		b := &bench{}
		if err := b.choose(only); err != nil || !slices.Equal(names(b.parts), want) {
			t.Errorf("--only %s runs %q (%v), want %q", only, names(b.parts), err, want)
		}
	}
	if err := (&bench{}).choose("requests,nothing"); err == nil {
		t.Error("a part that there is not is run")
	}
}
