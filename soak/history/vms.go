package history

import (
	"fmt"
	"path/filepath"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/fakeatomos/history"
)

// register is the call that makes a VM.
const register = "POST matcher/register"

// VMs is what the fake has told of an owner's VMs.
type VMs struct {
	// Made counts how often a VM of a name was made.
	Made map[string]int
	// stays are those of all VMs, in the order in which they were made, and asked the
	// calls that made them.
	stays []stay
	asked []Event
}

// stay is a VM's time on its host: when it was made, up for the first time, and gone.
type stay struct {
	vm                string
	made, booted, end time.Time
}

// ReadVMs reads what the fake has told in the history of a run. It is an error if it has
// told of no VM of the owner.
func ReadVMs(dir, owner string) (*VMs, error) {
	v := &VMs{Made: map[string]int{}}
	there := map[string]int{} // places in stays
	_, err := history.Read(filepath.Join(dir, AtomOS), 0, func(e Event) error {
		if e.Kind == history.Call && e.Call == register && e.Owner == owner {
			v.asked = append(v.asked, e)
		}
		if e.Kind != history.VM || e.Owner != owner {
			return nil
		}
		key := e.Host + " " + e.UID
		i, is := there[key]
		switch {
		case e.Event == "made" && !is: // it may be told again, as after a start of the fake
			v.Made[e.VM]++
			there[key] = len(v.stays)
			v.stays = append(v.stays, stay{vm: e.VM, made: e.Time})
		case e.Event == "booted" && is && v.stays[i].booted.IsZero():
			v.stays[i].booted = e.Time
		case (e.Event == "removed" || e.Event == "vanished") && is:
			v.stays[i].end = e.Time
			delete(there, key)
		}
		return nil
	})
	if err == nil && len(v.stays) == 0 {
		err = fmt.Errorf("the history in %s tells of no VM of %s", dir, owner)
	}
	return v, err
}

// Twice are the VMs that were made more than once.
func (v *VMs) Twice() (names []string) {
	for vm, n := range v.Made {
		if n > 1 {
			names = append(names, vm)
		}
	}
	return names
}

// Most is how many VMs there were at a time since a moment, at most.
func (v *VMs) Most(since time.Time) (most int) {
	at := func(t time.Time) (n int) {
		for _, s := range v.stays {
			if !s.made.After(t) && (s.end.IsZero() || s.end.After(t)) {
				n++
			}
		}
		return n
	}
	most = at(since)
	for _, s := range v.stays {
		if s.made.After(since) {
			most = max(most, at(s.made))
		}
	}
	return most
}

// Since counts the VMs that were made after a moment.
func (v *VMs) Since(moment time.Time) (n int) {
	for _, s := range v.stays {
		if s.made.After(moment) {
			n++
		}
	}
	return n
}

// Booting counts the VMs that were there at a moment and whose guests were not up yet.
func (v *VMs) Booting(at time.Time) (n int) {
	for _, s := range v.stays {
		up := !s.booted.IsZero() && !s.booted.After(at)
		gone := !s.end.IsZero() && !s.end.After(at)
		if !s.made.After(at) && !up && !gone {
			n++
		}
	}
	return n
}

// Registering counts the calls that make VMs which were under way at a moment. The fake
// tells of a call when it is over.
func (v *VMs) Registering(at time.Time) (n int) {
	for _, call := range v.asked {
		if !call.Time.After(at) && call.Ended.After(at) {
			n++
		}
	}
	return n
}
