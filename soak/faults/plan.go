// Package faults makes things go wrong beside a workload: some all the time, some
// now and then, as a plan says that a person can read and write. What happens when
// follows from the plan's seed; it happens one thing at a time, so that what is meant
// to survive any one failure is not asked to survive two.
package faults

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"sigs.k8s.io/yaml"

	"elemento.cloud/cluster-api-provider-elemento/fakeatomos"
)

// Plan says what goes wrong.
type Plan struct {
	// Seed is that of all chance: when something happens, and what it befalls.
	Seed int64 `json:"seed"`
	// Background are faults of the fake that are there from the beginning to the
	// end. What befalls them follows from the plan's seed, and so they have none.
	Background []fakeatomos.Fault `json:"background,omitempty"`
	// Events happen now and then.
	Events []Event `json:"events,omitempty"`
}

// Event is something that happens again and again.
type Event struct {
	// Do is what happens.
	Do Action `json:"do"`
	// Every is the mean time between two of them; they come at random.
	Every Duration `json:"every"`
	// For is how long it lasts, for what does not end by itself.
	For Duration `json:"for,omitempty"`
}

// Action is what an event does.
type Action string

// The actions. Which host, daemon or VM it befalls is drawn.
const (
	CrashVM       Action = "crash-vm"        // a VM loses power
	VanishVM      Action = "vanish-vm"       // a worker's VM is taken away with its volumes
	ChangeVM      Action = "change-vm"       // a VM has other memory than it was given
	HostDown      Action = "host-down"       // a host loses power, and its VMs with it
	HostIsolated  Action = "host-isolated"   // a host does not answer, its VMs go on
	HostSlow      Action = "host-slow"       // a host takes half a second for each call
	HostFull      Action = "host-full"       // a host has room for nothing more
	Maintenance   Action = "maintenance"     // a host wants no new VMs
	KillDaemon    Action = "kill-daemon"     // a daemon ends without a word
	KillDaemons   Action = "kill-daemons"    // all of them do
	KillManager   Action = "kill-manager"    // our manager ends without a word
	StopAPIServer Action = "stop-api-server" // the management cluster is away
	Partition     Action = "partition"       // the way between two of the chain is cut
	Rotate        Action = "rotate"          // a daemon and the manager get new certificates
)

// Duration is one that a file writes as "90s".
type Duration time.Duration

// UnmarshalJSON reads "90s".
func (d *Duration) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("want a duration such as \"90s\": %w", err)
	}
	parsed, err := time.ParseDuration(s)
	*d = Duration(parsed)
	return err
}

// MarshalJSON writes "1m30s".
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(time.Duration(d).String()) }

// Parse reads a plan: YAML in which a field that is unknown is an error. Errors
// name the entry that is wrong, and what of it.
func Parse(file []byte) (Plan, error) {
	var p Plan
	if err := yaml.UnmarshalStrict(file, &p); err != nil {
		return p, err
	}
	if len(p.Background) == 0 && len(p.Events) == 0 {
		return p, errors.New("the plan has neither background nor events: nothing would go wrong")
	}
	for i, f := range p.Background {
		if f.Seed != 0 {
			return p, fmt.Errorf("background[%d].seed of %q: leave it out, it follows from the plan's", i, f.Name)
		}
	}
	for i, e := range p.Events {
		a, known := actions[e.Do]
		switch {
		case !known:
			return p, fmt.Errorf("events[%d].do %q: use one of %v", i, e.Do, slices.Sorted(maps.Keys(actions)))
		case e.Every <= 0:
			return p, fmt.Errorf("events[%d].every of %s: give the mean time between two, such as \"5m\"", i, e.Do)
		case a.lasts != (e.For > 0):
			return p, fmt.Errorf("events[%d].for of %s: %s", i, e.Do, map[bool]string{true: "say how long it lasts, such as \"30s\"", false: "leave it out, this ends by itself"}[a.lasts])
		}
	}
	return p, nil
}

// background are the faults that are always there, each with a seed.
func (p Plan) background() []fakeatomos.Fault {
	all := slices.Clone(p.Background)
	for i := range all {
		all[i].Seed = p.Seed*int64(len(all)) + int64(i) + 1
	}
	return all
}

// Due are the actions that come in so much time, and how often, by the plan's
// timetable.
func (p Plan) Due(within time.Duration) map[Action]int {
	due := map[Action]int{}
	if len(p.Events) == 0 {
		return due
	}
	for table := p.timetable(); ; {
		e, at := table.draw()
		if at > within {
			return due
		}
		due[e.Do]++
	}
}

// timetable tells when what happens. It depends on nothing but the plan.
type timetable struct {
	events []Event
	rand   []*rand.Rand
	next   []time.Duration
}

func (p Plan) timetable() *timetable {
	t := &timetable{events: p.Events, next: make([]time.Duration, len(p.Events))}
	for n := range p.Events {
		t.rand = append(t.rand, rand.New(rand.NewPCG(uint64(p.Seed), uint64(n)+1)))
		t.next[n] = t.pause(n)
	}
	return t
}

// pause is the time to the next event of its kind.
func (t *timetable) pause(n int) time.Duration {
	return time.Duration(t.rand[n].ExpFloat64() * float64(t.events[n].Every))
}

// draw returns the next event, and when it is due from the beginning.
func (t *timetable) draw() (Event, time.Duration) {
	n := slices.Index(t.next, slices.Min(t.next))
	due := t.next[n]
	t.next[n] += t.pause(n)
	return t.events[n], due
}
