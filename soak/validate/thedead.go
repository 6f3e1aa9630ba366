package validate

import (
	"fmt"
	"slices"
	"time"

	fake "elemento.cloud/cluster-api-provider-elemento/fakeatomos/history"
)

// stale is for how long after the deletion of an ElementoMachine the manager may
// still ask for its VM: deletions are told in whole seconds, and take a moment to
// be known.
const stale = 5 * time.Second

// NothingForTheDead demands that nothing is made for a Machine that is deleted: no
// VM or volume after its ElementoMachine is gone, and no EnsureVM after somebody has
// deleted it.
type NothingForTheDead struct {
	later
	objects
	judged int
}

// NewNothingForTheDead returns the validator for a new history.
func NewNothingForTheDead() *NothingForTheDead { return &NothingForTheDead{} }

// Name implements [Validator].
func (*NothingForTheDead) Name() string { return "NothingForTheDead" }

// Judged implements [Validator].
func (v *NothingForTheDead) Judged() (int, string) { return v.judged, "" }

// Observe implements [Validator].
func (v *NothingForTheDead) Observe(e Event) []Violation {
	found := v.pass(e)
	v.observe(e)
	vm := e.VM
	if e.Kind == fake.Volume {
		vm = vmOfVolume(e.Name)
	}
	switch {
	case vm == "":
	case (e.Kind == fake.VM || e.Kind == fake.Volume) && e.Event == "made":
		v.after(slack, func() []Violation { return v.made(vm, e) })
	case e.Kind == fake.RPC && e.End == "manager" && e.Name == "EnsureVM":
		v.after(slack, func() []Violation { return v.asked(vm, e) })
	}
	return found
}

// made decides about something that was made.
func (v *NothingForTheDead) made(vm string, e Event) []Violation {
	all := v.byVM[vm]
	if len(all) == 0 {
		return nil
	}
	v.judged++
	if slices.ContainsFunc(all, func(m *machine) bool { return m.exists(e.Time) }) {
		return nil
	}
	what := string(e.Kind) + " " + e.Name
	if e.Kind == fake.VM {
		what = "VM " + vm
	}
	return []Violation{{v.Name(), e.Time, fmt.Sprintf("%s was made on %s after its ElementoMachine %s was gone", what, e.Host, all[0].name), []Event{all[0].last, e}}}
}

// asked decides about a VM that was asked for.
func (v *NothingForTheDead) asked(vm string, e Event) []Violation {
	all := v.byVM[vm]
	if len(all) == 0 {
		return nil
	}
	v.judged++
	dead := func(m *machine) bool {
		return !m.exists(e.Time) || !m.deleting.IsZero() && e.Time.Sub(m.deleting) > stale
	}
	if slices.ContainsFunc(all, func(m *machine) bool { return !dead(m) }) {
		return nil
	}
	return []Violation{{v.Name(), e.Time, fmt.Sprintf("VM %s was asked for although its ElementoMachine %s was deleted", vm, all[0].name), []Event{all[0].last, e}}}
}

// Finish implements [Validator].
func (v *NothingForTheDead) Finish() []Violation { return v.rest() }
