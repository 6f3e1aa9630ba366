package fakeatomos

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"time"
)

// Fault is something that goes wrong on purpose. It is a value: what it
// matches, how often, and what happens then. All of Call, Host, VM and Owner
// must match; what is empty matches everything.
type Fault struct {
	// ID is given by the fake when the fault is added.
	ID string `json:"id,omitempty"`
	// Name is what people call it; nothing depends on it.
	Name string `json:"name,omitempty"`
	// Call is a pattern (path.Match, where "*" does not cross "/") for the name
	// of a C4 call, such as "POST matcher/register" or "* storage/*". It stays
	// empty for effects that come at boot.
	Call string `json:"call,omitempty"`
	// Host is the name of a host.
	Host string `json:"host,omitempty"`
	// VM is a pattern (path.Match) for the name of the VM that a call is about:
	// that which it names, that which holds the volume, or the forward's target.
	// What is about a volume or a network without a VM matches by its own name,
	// so that "vm-1*" finds also what is made for a VM before it.
	VM string `json:"vm,omitempty"`
	// Owner is the client UUID that a call carries, or the owner of what it is
	// about.
	Owner string `json:"owner,omitempty"`
	// Skip lets that many matching calls pass before the fault can fire.
	Skip int `json:"skip,omitempty"`
	// Times is how often it fires; 0 means always.
	Times int `json:"times,omitempty"`
	// Probability is that with which it fires on a matching call that is not
	// skipped, above 0 and up to 1; 0 means always.
	Probability float64 `json:"probability,omitempty"`
	// Seed is that of the fault's own source of chance: with the same one it
	// fires on the same ones of its matching calls.
	Seed int64 `json:"seed,omitempty"`
	// Effect is what happens.
	Effect Effect `json:"effect"`
	// Delay is how long DelayBefore and DelayAfter take; a file says "200ms".
	Delay time.Duration `json:"-"`
	// Status and Body are the answer of Refuse.
	Status int    `json:"status,omitempty"`
	Body   string `json:"body,omitempty"`
}

// Effect says what a fault does, and whether that is before or after the
// effect of the call.
type Effect string

// Effects that come before that of the call, or in place of it.
const (
	// DelayBefore holds the call up before it has its effect, which comes
	// afterwards even if the caller has hung up by then.
	DelayBefore Effect = "DelayBefore"
	// Refuse answers Status and Body instead of doing anything.
	Refuse Effect = "Refuse"
	// Pretend answers like a success and does nothing: the destroy that says yes
	// and leaves the volume. A call that only reads is answered truly.
	Pretend Effect = "Pretend"
	// LoseRequest cuts the connection instead of doing anything.
	LoseRequest Effect = "LoseRequest"
	// Hang does nothing and says nothing until the caller has hung up.
	Hang Effect = "Hang"
)

// Effects on the reply of a call that has had its own.
const (
	// DelayAfter holds up the reply.
	DelayAfter Effect = "DelayAfter"
	// MalformedReply replaces the body by broken JSON.
	MalformedReply Effect = "MalformedReply"
	// WrongJSON replaces the body by JSON that is no reply of any call.
	WrongJSON Effect = "WrongJSON"
	// HalfReply cuts the connection in the middle of the body.
	HalfReply Effect = "HalfReply"
	// NoContent answers 204 without a body where a success was due.
	NoContent Effect = "NoContent"
	// LoseReply cuts the connection instead of replying.
	LoseReply Effect = "LoseReply"
	// HangAfter says nothing until the caller has hung up.
	HangAfter Effect = "HangAfter"
)

// Effects on boots instead of calls. They match by Host, VM and Owner; Skip,
// Times and Probability count boots, reboots included.
const (
	// HangBoot lets the VM run without ever coming up: no guest, no address, and
	// no heed of stop. Reboot, or what takes its power, ends it.
	HangBoot Effect = "HangBoot"
	// HideAddress lets the guest come up; C4 does not show its address until the
	// VM boots again.
	HideAddress Effect = "HideAddress"
)

// Effects lists every effect.
func Effects() []Effect {
	return []Effect{
		DelayBefore, Refuse, Pretend, LoseRequest, Hang,
		DelayAfter, MalformedReply, WrongJSON, HalfReply, NoContent, LoseReply, HangAfter,
		HangBoot, HideAddress,
	}
}

func (e Effect) atBoot() bool { return e == HangBoot || e == HideAddress }

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
	if f.Effect.atBoot() && f.Call != "" {
		return fmt.Errorf("call %q: %s comes at boot and at no call; leave it empty", f.Call, f.Effect)
	}
	if _, err := path.Match(f.VM, ""); err != nil {
		return fmt.Errorf("vm %q: %w", f.VM, err)
	}
	if f.Skip < 0 || f.Times < 0 {
		return errors.New("skip and times must not be negative")
	}
	if !(f.Probability >= 0 && f.Probability <= 1) {
		return fmt.Errorf("probability %v is not between 0 and 1", f.Probability)
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

// matches tells whether a fault is about a call, or about a boot where the
// call is empty.
func (f Fault) matches(call, host string, s subject) bool {
	if f.Effect.atBoot() != (call == "") || f.Host != "" && f.Host != host || f.Owner != "" && f.Owner != s.owner {
		return false
	}
	name := s.vm
	if name == "" {
		name = s.name
	}
	return (f.Call == "" || fits(f.Call, call)) && (f.VM == "" || name != "" && fits(f.VM, name))
}

func fits(pattern, name string) bool {
	hit, err := path.Match(pattern, name)
	return err == nil && hit
}
