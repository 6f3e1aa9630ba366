package main

import (
	"testing"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/e2e/life"
)

var start = time.Now()

// at is a moment some seconds after the start.
func at(second int) time.Time { return start.Add(time.Duration(second) * time.Second) }

func worker(name string, stages map[life.Stage]int) life.Life {
	l := life.Life{Machine: name, At: map[life.Stage]time.Time{}}
	for stage, second := range stages {
		l.At[stage] = at(second)
	}
	return l
}

func TestAPhaseHasEndedWhenTheLastMachineIsAsItShouldBe(t *testing.T) {
	t.Parallel()
	controlPlane := worker("cp", map[life.Stage]int{life.Running: 1})
	controlPlane.ControlPlane = true
	for name, c := range map[string]struct {
		lives   []life.Life
		workers int
		since   int // seconds; 0 for not yet
	}{
		"all run":                 {[]life.Life{controlPlane, worker("a", map[life.Stage]int{life.Running: 5}), worker("b", map[life.Stage]int{life.Running: 4})}, 2, 5},
		"one does not run yet":    {[]life.Life{controlPlane, worker("a", map[life.Stage]int{life.Running: 5}), worker("b", map[life.Stage]int{life.Provisioned: 4})}, 2, 0},
		"one is not there yet":    {[]life.Life{controlPlane, worker("a", map[life.Stage]int{life.Running: 5})}, 2, 0},
		"one leaves":              {[]life.Life{controlPlane, worker("a", map[life.Stage]int{life.Running: 5, life.Deleted: 6})}, 1, 0},
		"one is still to go":      {[]life.Life{controlPlane, worker("a", map[life.Stage]int{life.Running: 5})}, 0, 0},
		"one has gone":            {[]life.Life{controlPlane, worker("a", map[life.Stage]int{life.Running: 5, life.Deleted: 6, life.Gone: 7, life.MachineGone: 8})}, 0, 8},
		"one never was":           {[]life.Life{controlPlane, worker("a", map[life.Stage]int{life.Running: 5}), worker("", map[life.Stage]int{life.Deleted: 2, life.Gone: 3})}, 1, 5},
		"what never was is to go": {[]life.Life{controlPlane, worker("a", map[life.Stage]int{life.Running: 5}), worker("", map[life.Stage]int{life.Deleted: 2})}, 1, 0},
	} {
		since, yes := settled(c.lives, 1, c.workers)
		if yes != (c.since > 0) || yes && !since.Equal(at(c.since)) {
			t.Errorf("%s: %v, since %s after the start", name, yes, since.Sub(start))
		}
	}
}

func TestAPhaseHasTheStagesThatBeganInIt(t *testing.T) {
	t.Parallel()
	lives := []life.Life{
		worker("made before", map[life.Stage]int{life.BootstrapReady: 1, life.Provisioned: 3, life.Deleted: 4, life.Gone: 6}),
		worker("on its way", map[life.Stage]int{life.BootstrapReady: 4}),
		worker("made now", map[life.Stage]int{life.BootstrapReady: 5, life.Provisioned: 6}),
		worker("", map[life.Stage]int{life.Deleted: 4, life.Gone: 5}),
	}
	for of, want := range map[stage]sample{
		making:   {machine: "made now", stage: making.name, took: time.Second},
		unmaking: {machine: "made before", stage: unmaking.name, took: 2 * time.Second},
	} {
		if got := taken(lives, of, at(2)); len(got) != 1 || got[0] != want {
			t.Errorf("of %s are taken %v, want %v", of.name, got, want)
		}
	}
}
