package validate

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	fake "elemento.cloud/cluster-api-provider-elemento/fakeatomos/history"
)

// NothingLeft demands that nothing outlives its owner: no VM, volume or seed on a
// host to which no ElementoMachine of that VM is assigned, no network or forward of
// an ElementoCluster that is gone, for longer than [Limits.Left], unless an
// ElementoCleanup names it; and no ElementoCleanup whose host is there, for longer
// than [Limits.Cleanup]. At the end nothing at all is left that has no owner, a VM
// or volume that never had one neither. Networks that no ElementoCluster ever named
// belong to others.
type NothingLeft struct {
	later
	objects
	limits Limits
	things map[thing]*left
	away   map[string]bool      // hosts that are down or cannot be reached
	back   map[string]time.Time // when the hosts came back
	swept  time.Time
	judged int
	// recorded tells that the history tells of objects at all, and untold how much
	// is left of which it does not tell whose it is.
	recorded bool
	untold   int
}

// thing is something on a host.
type thing struct {
	kind            fake.Kind
	host, name, uid string
}

// left is a thing that is there.
type left struct {
	made Event
	// vm is what a VM or volume belongs to.
	vm string
	// known tells that there was an owner once, orphan since when there is none;
	// told that it was complained of.
	known, told bool
	orphan      time.Time
}

// NewNothingLeft returns the validator for a new history.
func NewNothingLeft(l Limits) *NothingLeft {
	return &NothingLeft{limits: l.complete(), things: map[thing]*left{}, away: map[string]bool{}, back: map[string]time.Time{}}
}

// Name implements [Validator].
func (*NothingLeft) Name() string { return "NothingLeft" }

// Judged implements [Validator].
func (v *NothingLeft) Judged() (int, string) {
	if v.untold > 0 {
		return v.judged, fmt.Sprintf("%d VMs and volumes are left, and the history tells of no objects, that may own them", v.untold)
	}
	return v.judged, ""
}

// Observe implements [Validator].
func (v *NothingLeft) Observe(e Event) []Violation {
	found := v.pass(e)
	switch e.Kind {
	case fake.Object:
		v.recorded = true
		v.observe(e)
		v.look(v.now)
	case fake.Host:
		v.host(e)
	case fake.VM, fake.Volume, fake.Network, fake.Forward:
		v.note(e)
	}
	if v.now.Sub(v.swept) < time.Second {
		return found
	}
	v.swept = v.now
	v.look(v.now)
	return append(found, v.complain(v.now, v.limits.Left, false)...)
}

func (v *NothingLeft) host(e Event) {
	switch e.Event {
	case "down", "isolated":
		v.away[e.Host] = true
	case "up", "reachable":
		delete(v.away, e.Host)
		v.back[e.Host] = e.Time
	}
}

func (v *NothingLeft) note(e Event) {
	name := e.Name
	switch e.Kind {
	case fake.VM:
		name = e.VM
	case fake.Forward:
		name = fmt.Sprintf("of port %d", portOf(e))
	}
	key := thing{e.Kind, e.Host, name, e.UID}
	switch e.Event {
	case "made":
		if v.things[key] != nil {
			return
		}
		v.judged++
		l := &left{made: e, orphan: e.Time}
		switch e.Kind {
		case fake.VM:
			l.vm = e.VM
		case fake.Volume:
			l.vm = vmOfVolume(e.Name)
		}
		v.things[key] = l
	case "removed", "vanished":
		delete(v.things, key)
	}
}

// look finds out what has no owner.
func (v *NothingLeft) look(at time.Time) {
	for key, l := range v.things {
		owned, known := v.ownerOf(key, l, at)
		l.known = l.known || known
		switch {
		case owned:
			l.orphan, l.told = time.Time{}, false
		case l.orphan.IsZero():
			l.orphan = at
		}
	}
}

func (v *NothingLeft) ownerOf(key thing, l *left, at time.Time) (owned, known bool) {
	switch key.kind {
	case fake.VM, fake.Volume:
		return v.owned(l.vm, key.host, at)
	case fake.Network:
		for _, c := range v.clusters {
			if c.network == key.name && c.managed {
				owned, known = owned || c.exists(at), true
			}
		}
		return owned || v.owes(at, func(c *cleanup) bool { return c.network == key.name && c.host == key.host }), known
	default:
		port := portOf(l.made)
		for _, c := range v.clusters {
			if c.endpointHost == key.host && c.endpoint.Port == port {
				owned, known = owned || c.exists(at), true
			}
		}
		return owned || v.owes(at, func(c *cleanup) bool { return c.port == port && c.host == key.host }), known
	}
}

func (v *NothingLeft) owes(at time.Time, about func(*cleanup) bool) bool {
	for _, c := range v.cleanups {
		if c.exists(at) && about(c) {
			return true
		}
	}
	return false
}

// complain tells of what has had no owner for so long; at the end also of what
// never had one.
func (v *NothingLeft) complain(at time.Time, after time.Duration, end bool) (found []Violation) {
	if !end && !v.sees(at) {
		return nil // an owner may have come that nobody has told of yet
	}
	for _, key := range slices.SortedFunc(maps.Keys(v.things), thing.compare) {
		l := v.things[key]
		never := end && !l.known && v.sees(l.made.Time) && (key.kind == fake.VM || key.kind == fake.Volume)
		if l.told || l.orphan.IsZero() || at.Sub(l.orphan) < after || !l.known && !never {
			continue
		}
		if l.told = true; never && !v.recorded {
			v.untold++
			continue
		}
		why := "its owner is gone"
		if never {
			why = "nobody has ever owned it"
		}
		found = append(found, Violation{
			v.Name(), at, fmt.Sprintf("%s %s is on %s and %s, since %s", key.kind, key.name, key.host, why, l.orphan.Format("15:04:05.000")), []Event{l.made},
		})
	}
	for uid, c := range v.cleanups {
		since := c.created
		if v.back[c.host].After(since) {
			since = v.back[c.host]
		}
		if !end {
			after = v.limits.Cleanup
		}
		if !c.gone.IsZero() || v.away[c.host] || at.Sub(since) < after {
			continue
		}
		found = append(found, Violation{
			v.Name(), at, fmt.Sprintf("ElementoCleanup %s is there, and so is host %s, since %s", c.name, c.host, since.Format("15:04:05.000")), []Event{c.last},
		})
		if !end {
			delete(v.cleanups, uid) // said once
		}
	}
	return found
}

func (t thing) compare(o thing) int {
	return strings.Compare(string(t.kind)+t.host+t.name+t.uid, string(o.kind)+o.host+o.name+o.uid)
}

// Finish implements [Validator].
func (v *NothingLeft) Finish() []Violation {
	found := v.rest()
	v.look(v.now)
	// What was made a moment before the end may belong to somebody of whom the
	// history does not tell any more.
	return append(found, v.complain(v.now, slack, true)...)
}
