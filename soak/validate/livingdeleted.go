package validate

import (
	"fmt"
	"slices"

	fake "elemento.cloud/cluster-api-provider-elemento/fakeatomos/history"
)

// NoLivingDeleted demands that no call removes a VM whose Machine lives: one whose
// ElementoMachine nobody has deleted and is assigned to that host. The double of a
// VM that stays may be removed, and a VM on a host that the machine has left, for
// which there is an ElementoCleanup.
type NoLivingDeleted struct {
	later
	objects
	living map[vmKey][]Event
	judged int
}

// NewNoLivingDeleted returns the validator for a new history.
func NewNoLivingDeleted() *NoLivingDeleted {
	return &NoLivingDeleted{living: map[vmKey][]Event{}}
}

// Name implements [Validator].
func (*NoLivingDeleted) Name() string { return "NoLivingDeleted" }

// Judged implements [Validator].
func (v *NoLivingDeleted) Judged() (int, string) { return v.judged, "" }

// Observe implements [Validator].
func (v *NoLivingDeleted) Observe(e Event) []Violation {
	found := v.pass(e)
	v.observe(e)
	if e.Kind != fake.VM {
		return found
	}
	key := vmKey{e.Owner, e.VM}
	switch e.Event {
	case "made":
		v.living[key] = append(v.living[key], e)
	case "removed", "vanished":
		left := slices.DeleteFunc(v.living[key], func(o Event) bool { return o.UID == e.UID && o.Host == e.Host })
		if v.living[key] = left; len(left) == 0 {
			delete(v.living, key)
		}
		if e.Event == "removed" && len(left) == 0 {
			v.judged++
			v.after(slack, func() []Violation { return v.judge(e) })
		}
	}
	return found
}

// judge decides about a VM that was removed.
func (v *NoLivingDeleted) judge(removed Event) []Violation {
	m := v.lives(removed.VM, removed.Time)
	if m == nil || !v.sees(removed.Time) || m.host(removed.Time) != removed.Host || v.owed(removed.VM, removed.Host, removed.Time) {
		return nil
	}
	return []Violation{{
		v.Name(), removed.Time,
		fmt.Sprintf("VM %s was removed from %s, and its ElementoMachine %s lives", removed.VM, removed.Host, m.name),
		[]Event{m.last, removed},
	}}
}

// Finish implements [Validator].
func (v *NoLivingDeleted) Finish() []Violation { return v.rest() }
