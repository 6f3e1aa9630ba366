package validate

import (
	"fmt"
	"slices"
	"strings"
	"time"

	fake "elemento.cloud/cluster-api-provider-elemento/fakeatomos/history"
)

// OneVM demands that a Machine never has more than one VM: the hosts never have
// two VMs of a name and an owner, switched on or not, but for the fencing window:
// while an ElementoCleanup names the host of each of them but one.
type OneVM struct {
	later
	objects
	living map[vmKey][]Event // as they were made
	judged int
}

// NewOneVM returns the validator for a new history.
func NewOneVM() *OneVM { return &OneVM{living: map[vmKey][]Event{}} }

// Name implements [Validator].
func (*OneVM) Name() string { return "OneVM" }

// Judged implements [Validator].
func (v *OneVM) Judged() (int, string) { return v.judged, "" }

// Observe implements [Validator].
func (v *OneVM) Observe(e Event) []Violation {
	found := v.pass(e)
	if c := v.observe(e); c != nil && !c.gone.IsZero() {
		v.released(c)
	}
	if e.Kind != fake.VM {
		return found
	}
	key := vmKey{e.Owner, e.VM}
	switch e.Event {
	case "made":
		same := func(o Event) bool { return o.UID == e.UID && o.Host == e.Host }
		if slices.ContainsFunc(v.living[key], same) {
			return found // told again, as after a start of the fake
		}
		v.judged++
		v.living[key] = append(v.living[key], e)
		if all := slices.Clone(v.living[key]); len(all) > 1 {
			v.after(slack, func() []Violation { return v.judge(e.Time, all) })
		}
	case "removed", "vanished":
		left := slices.DeleteFunc(v.living[key], func(o Event) bool { return o.UID == e.UID && o.Host == e.Host })
		if v.living[key] = left; len(left) == 0 {
			delete(v.living, key)
		}
	}
	return found
}

// judge decides about several VMs that were there at a time.
func (v *OneVM) judge(at time.Time, all []Event) []Violation {
	if !v.sees(at) {
		return nil
	}
	free := 0
	var hosts []string
	for _, vm := range all {
		hosts = append(hosts, vm.Host)
		if !v.owed(vm.VM, vm.Host, at) {
			free++
		}
	}
	if free <= 1 {
		return nil
	}
	return []Violation{{v.Name(), at, fmt.Sprintf("VM %s is there %d times, on %s", all[0].VM, len(all), strings.Join(hosts, " and ")), all}}
}

// released sees to it that a cleanup does not end before the VM that it names.
func (v *OneVM) released(c *cleanup) {
	at, last := c.gone, c.last
	v.after(slack, func() (found []Violation) {
		for key, all := range v.living {
			if key.vm != c.vm || len(all) < 2 {
				continue
			}
			stays := func(vm Event) bool { return vm.Host == c.host && vm.Time.Before(at) }
			if slices.ContainsFunc(all, stays) && !v.owed(c.vm, c.host, v.now) {
				found = append(found, Violation{
					v.Name(), at,
					fmt.Sprintf("VM %s is there %d times, and the ElementoCleanup for the one on %s has gone before it", c.vm, len(all), c.host),
					append(slices.Clone(all), last),
				})
			}
		}
		return found
	})
}

// Finish implements [Validator].
func (v *OneVM) Finish() []Violation { return v.rest() }
