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
	"slices"
	"time"

	"sigs.k8s.io/yaml"

	"elemento.cloud/cluster-api-provider-elemento/fakeatomos"
)

// Plan says what goes wrong.
type Plan struct {
	// Seed is that of all chance.
	Seed int64 `json:"seed"`
	// Background are faults of the fake that are there from the beginning to the
	// end. One without a seed of its own gets one from the plan's.
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
	for i := range p.Background {
		if p.Background[i].Seed == 0 {
			p.Background[i].Seed = p.Seed + int64(i) + 1
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
