package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// An hour of a workload, as it is usually.
var hour = settings{Duration: time.Hour, Seed: 1, Lanes: 2}

// process is one of the harness that has begun a run, or goes on with one.
func process(t *testing.T, out string, s settings) *checkpoint {
	t.Helper()
	c, err := resume(out, s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.die)
	return c
}

// die has the process be killed: its locks are gone, and nothing is written.
func (c *checkpoint) die() { _ = c.lock.Close() }

// work has a process write down that it has run the workload for so long, and
// something else that it leaves.
func (c *checkpoint) work(t *testing.T, span time.Duration, leaves string) {
	t.Helper()
	p := c.now()
	p.Begun = time.Now().Add(-span)
	if err := c.mark(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(c.out, leaves), nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

func isThere(t *testing.T, path ...string) bool {
	t.Helper()
	_, err := os.Stat(filepath.Join(path...))
	return err == nil
}

func about(span, want time.Duration) bool { return span > want-time.Minute && span < want+time.Minute }

func TestARunGoesOnWhereItWasKilled(t *testing.T) {
	t.Parallel()
	out := t.TempDir()
	first := process(t, out, hour)
	first.work(t, 20*time.Minute, "suite.log")
	first.work(t, 20*time.Minute, "tmp")
	first.die()
	second := process(t, out, hour)
	if isThere(t, out, "tmp") || isThere(t, out, "part-1", "tmp") {
		t.Error("temporary files, with kubeconfigs in them, are still there")
	}
	if !about(second.left(), 40*time.Minute) {
		t.Errorf("after 20 of 60 minutes %s are left", second.left())
	}
	if isThere(t, out, "suite.log") || !isThere(t, out, "part-1", "suite.log") {
		t.Error("what the first process has left was not put aside")
	}
	second.work(t, 30*time.Minute, "suite.log")
	second.die()
	third := process(t, out, hour)
	if !about(third.left(), 10*time.Minute) || !about(third.elapsed(), 50*time.Minute) {
		t.Errorf("after 20 and 30 of 60 minutes %s have passed and %s are left", third.elapsed(), third.left())
	}
	if want := []string{filepath.Join(out, "part-1"), filepath.Join(out, "part-2"), out}; !slices.Equal(third.dirs(), want) {
		t.Errorf("the parts are in %q, want %q", third.dirs(), want)
	}
}

func TestARunOfSeveralProcessesIsReportedAsOne(t *testing.T) {
	t.Parallel()
	out := t.TempDir()
	first := process(t, out, hour)
	first.work(t, 20*time.Minute, "suite.log")
	first.die()
	process(t, out, hour).die() // killed before its workload began
	third := process(t, out, hour)
	third.work(t, 40*time.Minute, "suite.log")
	parts := third.parts()
	if len(parts) != 2 {
		t.Fatalf("the report has %d parts, want those two that did something", len(parts))
	}
	if first, last := parts[0].End.Sub(parts[0].Start), parts[1].End.Sub(parts[1].Start); !about(first, 20*time.Minute) || !about(last, 40*time.Minute) {
		t.Errorf("its parts are %s and %s long, want 20 and 40 minutes", first, last)
	}
}

func TestARunThatHasEndedIsBegunAnew(t *testing.T) {
	t.Parallel()
	out := t.TempDir()
	first := process(t, out, hour)
	first.work(t, 20*time.Minute, "suite.log")
	first.die()
	second := process(t, out, hour)
	second.work(t, 40*time.Minute, "suite.log")
	if err := second.end(); err != nil {
		t.Fatal(err)
	}
	second.die()
	third := process(t, out, settings{Duration: 2 * time.Hour, Seed: 5, Lanes: 1})
	if len(third.Parts) != 1 || third.left() != 2*time.Hour {
		t.Errorf("it is the %d. part and has %s left, want a new run of 2 hours", len(third.Parts), third.left())
	}
	if isThere(t, out, "part-1") {
		t.Error("parts of the run before are still there")
	}
}

func TestARunGoesOnWithItsOwnSettingsOnly(t *testing.T) {
	t.Parallel()
	out := t.TempDir()
	first := process(t, out, hour)
	first.work(t, 20*time.Minute, "suite.log")
	first.die()
	for name, change := range map[string]func(*settings){
		"duration": func(s *settings) { s.Duration = 2 * time.Hour },
		"seed":     func(s *settings) { s.Seed = 2 },
		"lanes":    func(s *settings) { s.Lanes = 3 },
		"faults":   func(s *settings) { s.Faults = "plan.yaml" },
	} {
		other := hour
		change(&other)
		if _, err := resume(out, other); err == nil || !strings.Contains(err.Error(), "--duration 1h0m0s --seed 1 --lanes 2") {
			t.Errorf("with another %s it says %v, want what the settings were", name, err)
		}
	}
	if !isThere(t, out, "suite.log") {
		t.Error("what was left is no longer there")
	}
	if c := process(t, out, hour); len(c.Parts) != 2 {
		t.Errorf("afterwards it is the %d. part, want the second", len(c.Parts))
	}
}

func TestARunGoesOnWithItsOwnPlanOnly(t *testing.T) {
	t.Parallel()
	out, file := t.TempDir(), filepath.Join(t.TempDir(), "plan.yaml")
	planned := func(every string) settings {
		if err := os.WriteFile(file, []byte("events: [{do: crash-vm, every: "+every+"}]"), 0o600); err != nil {
			t.Fatal(err)
		}
		_, hash, err := readPlan(file)
		if err != nil {
			t.Fatal(err)
		}
		return settings{Duration: time.Hour, Seed: 1, Lanes: 2, Faults: file, FaultsHash: hash}
	}
	first := process(t, out, planned("1m"))
	first.work(t, 20*time.Minute, "suite.log")
	first.die()
	if _, err := resume(out, planned("2m")); err == nil || !strings.Contains(err.Error(), "something else in "+file) {
		t.Errorf("with another plan in the file it says %v", err)
	}
	if c := process(t, out, planned("1m")); len(c.Parts) != 2 {
		t.Errorf("with the plan that it had it is the %d. part, want the second", len(c.Parts))
	}
}

func TestADirectoryIsThatOfOneProcess(t *testing.T) {
	t.Parallel()
	out := t.TempDir()
	process(t, out, hour)
	if _, err := resume(out, hour); err == nil || !strings.Contains(err.Error(), "another run is going on") {
		t.Errorf("a second process is told %v", err)
	}
}

func TestARunThatWasKilledAtItsEndStillComesToIt(t *testing.T) {
	t.Parallel()
	out := t.TempDir()
	first := process(t, out, hour)
	first.work(t, 61*time.Minute, "suite.log")
	first.die()
	if second := process(t, out, hour); second.left() != least {
		t.Errorf("%s are left, want %s", second.left(), least)
	}
}

func TestACheckpointThatCannotBeReadIsNotLost(t *testing.T) {
	t.Parallel()
	out := t.TempDir()
	if err := os.WriteFile(filepath.Join(out, checkpointFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := resume(out, hour); err == nil || !strings.Contains(err.Error(), "remove it") {
		t.Errorf("it says %v, want what to do", err)
	}
}
