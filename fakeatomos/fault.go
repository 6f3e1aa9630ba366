package fakeatomos

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"sync"
	"time"
)

// Fault is something that goes wrong on purpose. It is a value: what it
// matches, how often, and what happens then.
type Fault struct {
	// ID is given by the fake when the fault is added.
	ID string `json:"id,omitempty"`
	// Call is a pattern (path.Match, where "*" does not cross "/") for the name
	// of a C4 call, such as "POST matcher/register" or "* storage/*"; empty
	// matches every call.
	Call string `json:"call,omitempty"`
	// Host is the name of a host; empty matches every host.
	Host string `json:"host,omitempty"`
	// Skip lets that many matching calls pass before the fault fires.
	Skip int `json:"skip,omitempty"`
	// Times is how often it fires; 0 means always.
	Times int `json:"times,omitempty"`
	// Effect is what happens.
	Effect Effect `json:"effect"`
	// Delay is how long DelayBefore and DelayAfter take.
	Delay time.Duration `json:"-"`
	// Status and Body are the answer of Refuse.
	Status int    `json:"status,omitempty"`
	Body   string `json:"body,omitempty"`
}

// Effect says what a fault does, and whether that is before or after the
// effect of the call.
type Effect string

const (
	// DelayBefore holds the call up before it has its effect, which comes
	// afterwards even if the caller has hung up by then.
	DelayBefore Effect = "DelayBefore"
	// Refuse answers Status and Body instead of doing anything.
	Refuse Effect = "Refuse"
	// DelayAfter holds up the reply of a call that has had its effect.
	DelayAfter Effect = "DelayAfter"
	// MalformedReply replaces the body of the reply by broken JSON; the call
	// has had its effect.
	MalformedReply Effect = "MalformedReply"
	// LoseReply cuts the connection instead of replying; the call has had its
	// effect.
	LoseReply Effect = "LoseReply"
)

// Effects lists every effect.
func Effects() []Effect {
	return []Effect{DelayBefore, Refuse, DelayAfter, MalformedReply, LoseReply}
}

// faultJSON is how a fault is written: the delay as "200ms".
type faultJSON struct {
	*plainFault
	Delay duration `json:"delay,omitempty"`
}

type plainFault Fault

// MarshalJSON writes the delay as "200ms".
func (f Fault) MarshalJSON() ([]byte, error) {
	return json.Marshal(faultJSON{(*plainFault)(&f), duration(f.Delay)})
}

// UnmarshalJSON reads what MarshalJSON writes and refuses unknown fields.
func (f *Fault) UnmarshalJSON(b []byte) error {
	in := faultJSON{plainFault: (*plainFault)(f)}
	if err := decodeStrictly(b, &in); err != nil {
		return err
	}
	f.Delay = time.Duration(in.Delay)
	return nil
}

func (f Fault) check() error {
	if !slices.Contains(Effects(), f.Effect) {
		return fmt.Errorf("effect %q: use one of %v", f.Effect, Effects())
	}
	if _, err := path.Match(f.Call, ""); err != nil {
		return fmt.Errorf("call %q: %w", f.Call, err)
	}
	if f.Skip < 0 || f.Times < 0 {
		return errors.New("skip and times must not be negative")
	}
	delays := f.Effect == DelayBefore || f.Effect == DelayAfter
	if delays != (f.Delay > 0) {
		return fmt.Errorf("delay %s: DelayBefore and DelayAfter need a positive one, the others none", f.Delay)
	}
	if (f.Effect == Refuse) != (f.Status != 0) || f.Status != 0 && (f.Status < 200 || f.Status > 599) {
		return fmt.Errorf("status %d: Refuse needs one from 200 to 599, the others none", f.Status)
	}
	return nil
}

func (f Fault) matches(call, host string) bool {
	if f.Host != "" && f.Host != host {
		return false
	}
	if f.Call == "" {
		return true
	}
	hit, err := path.Match(f.Call, call)
	return err == nil && hit
}

// faultList holds the faults in force, in order.
type faultList struct {
	mu   sync.Mutex
	last int
	list []*Fault
}

func (l *faultList) add(f Fault) (string, error) {
	if err := f.check(); err != nil {
		return "", err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last++
	f.ID = strconv.Itoa(l.last)
	l.list = append(l.list, &f)
	return f.ID, nil
}

// remove takes out one fault, or all of them if id is empty.
func (l *faultList) remove(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = slices.DeleteFunc(l.list, func(f *Fault) bool { return id == "" || f.ID == id })
}

func (l *faultList) all() []Fault {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]Fault, 0, len(l.list))
	for _, f := range l.list {
		out = append(out, *f)
	}
	return out
}

// fire returns the faults that fire on a call and uses them up.
func (l *faultList) fire(call, host string) []Fault {
	l.mu.Lock()
	defer l.mu.Unlock()
	var firing []Fault
	spent := false
	for _, f := range l.list {
		if !f.matches(call, host) {
			continue
		}
		if f.Skip > 0 {
			f.Skip--
			continue
		}
		firing = append(firing, *f)
		if f.Times > 0 {
			f.Times--
			if f.Times == 0 {
				f.Times = -1
				spent = true
			}
		}
	}
	if spent {
		l.list = slices.DeleteFunc(l.list, func(f *Fault) bool { return f.Times < 0 })
	}
	return firing
}
