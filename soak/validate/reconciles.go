package validate

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	fake "elemento.cloud/cluster-api-provider-elemento/fakeatomos/history"
	"elemento.cloud/cluster-api-provider-elemento/soak/history"
)

// NoReconcileErrors demands that no reconcile loop of our manager fails while there
// is no fault: the counters that a sample of the manager tells do not grow between
// two samples, unless a fault was in force then or less than [Limits.Fault] before.
type NoReconcileErrors struct {
	later
	limits Limits
	faults faults
	before Event
	errors map[string]float64
	judged int
}

// NewNoReconcileErrors returns the validator for a new history.
func NewNoReconcileErrors(l Limits) *NoReconcileErrors {
	return &NoReconcileErrors{limits: l.complete()}
}

// Name implements [Validator].
func (*NoReconcileErrors) Name() string { return "NoReconcileErrors" }

// Judged implements [Validator].
func (v *NoReconcileErrors) Judged() (int, string) { return v.judged, "" }

// Observe implements [Validator].
func (v *NoReconcileErrors) Observe(e Event) []Violation {
	found := v.pass(e)
	v.faults.observe(e)
	if e.Kind != fake.Sample {
		return found
	}
	now, is := history.ReconcileErrors(e)
	if !is {
		return found
	}
	before, was := v.before, v.errors
	v.before, v.errors = e, now
	from := before.Time
	if was == nil {
		from = e.Time // they may be from before the history
		was = now
		if sum(now) > 0 {
			from = time.Time{}
			was = nil
		}
	}
	v.judged++
	if !grown(was, now) || v.faults.during(from.Add(-v.limits.Fault), e.Time) {
		return found
	}
	what := ""
	for _, controller := range slices.Sorted(maps.Keys(now)) {
		if n := now[controller] - was[controller]; n > 0 {
			what += fmt.Sprintf(" %s %v", controller, n)
		}
	}
	return append(found, Violation{v.Name(), e.Time, "reconcile loops have failed and there was no fault:" + what, []Event{before, e}})
}

func sum(counters map[string]float64) (all float64) {
	for _, n := range counters {
		all += n
	}
	return all
}

// grown tells whether a counter has grown. A process that has started again counts
// from nothing.
func grown(was, now map[string]float64) bool {
	if sum(now) < sum(was) {
		return sum(now) > 0
	}
	for controller, n := range now {
		if n > was[controller] {
			return true
		}
	}
	return false
}

// Finish implements [Validator].
func (v *NoReconcileErrors) Finish() []Violation { return v.rest() }

// faults are the times at which something went wrong on purpose.
type faults struct {
	// on are those that are in force, by what ends them.
	on map[string]bool
	// last is when one was in force last.
	last time.Time
	// hindered is when a call was befallen last by which a forward is led elsewhere, by
	// its host: one about forwards or networks there, or about VMs on any, which is "".
	hindered map[string]time.Time
}

// during tells whether a fault was in force between two times.
func (f *faults) during(from, to time.Time) bool {
	return len(f.on) > 0 || !f.last.IsZero() && !f.last.Before(from) && !f.last.After(to.Add(slack))
}

// disturbs tells whether something keeps our processes from leading a forward of a
// host elsewhere: they are disturbed, or the ways between them and to AtomOS, or a C4
// call that it takes has been befallen since a time. A host without power is no
// disturbance: it is what they are there for.
func (f *faults) disturbs(host string, since time.Time) bool {
	for what := range f.on {
		if strings.HasPrefix(what, "process ") || strings.HasPrefix(what, "way ") || strings.HasPrefix(what, "reach of ") {
			return true
		}
	}
	return f.hindered[host].After(since) || f.hindered[""].After(since)
}

func (f *faults) observe(e Event) {
	if f.on == nil {
		f.on, f.hindered = map[string]bool{}, map[string]time.Time{}
	}
	set := func(key string, on bool) {
		if on {
			f.on[key] = true
		} else {
			delete(f.on, key)
		}
		if at := history.Known(e); at.After(f.last) {
			f.last = at
		}
	}
	switch e.Kind {
	case fake.Fault:
		key := "fault " + e.ID + "/" + e.Name
		if e.ID == "" { // not one of the fake's, which are of calls and boots
			key = "way " + e.Name
		}
		switch e.Event {
		case "added":
			set(key, true)
		case "removed":
			set(key, false)
		default: // fired: one that was added, or one of a moment
			set(key, f.on[key])
			switch {
			case strings.Contains(e.Call, " network/"):
				f.hindered[e.Host] = e.Time
			case e.Call == "GET matcher/running":
				f.hindered[""] = e.Time
			}
		}
	case fake.Host:
		switch e.Event {
		case "up":
			if f.on["power of "+e.Host] { // it starts with up too
				set("power of "+e.Host, false)
			}
		case "down":
			set("power of "+e.Host, true)
		case "isolated", "reachable":
			set("reach of "+e.Host, e.Event == "isolated")
		case "maintenance", "normal":
			set("maintenance of "+e.Host, e.Event == "maintenance")
		default: // capacity, and what else befalls hosts
			set("", false)
		}
	case fake.VM:
		if e.Event == "crashed" || e.Event == "vanished" || e.Event == "changed" {
			set("", false)
		}
	case fake.Process:
		switch e.Event {
		case "stopped", "killed", "ended", "paused":
			set("process "+e.Name, true)
		case "started", "resumed":
			if f.on["process "+e.Name] {
				set("process "+e.Name, false)
			}
		}
	}
}
