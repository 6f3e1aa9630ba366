package validate

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"

	fake "elemento.cloud/cluster-api-provider-elemento/fakeatomos/history"
	"elemento.cloud/cluster-api-provider-elemento/soak/history"
)

// VMModel demands that all calls for a VM on a host, as the manager, the harness and
// the daemons saw them, agree with a VM that does one thing after the other: that
// there is an order of the calls, which leaves each between its begin and its end, in
// which every answer is the one that the following VM gives (they are linearizable).
//
// The VM is there or not; if it is there it has an identity (C4's uniqueID) and a
// power state. At first it is not there.
//
//   - EnsureVM that succeeds finds the VM, with its identity, or makes one that is
//     on its way up. One that is refused for the lack of room, hardware or image
//     finds no VM. One that fails otherwise may have made it or not.
//   - GetVM finds the VM, with its identity, or says that there is none.
//   - DeleteVM that says gone leaves no VM. One that does not, or fails, may have
//     begun to stop it, may have removed it, or neither.
//   - SetVMPower that succeeds has a VM that was off on its way up, or one that ran
//     on its way down; after a reboot, as after a failure, it may be either. Attaching
//     and detaching change nothing of this. All of them need the VM if they succeed,
//     and say that there is none only then.
//   - A VM that runs is not seen off, and one that is off not running, unless
//     something was asked for or happened: a crash and the loss of the host's power
//     leave it off, power that comes back starts it, and a VM that vanishes is not
//     there any more.
//   - A call whose effect nobody knows (lost, or cut short at the daemon's end) may
//     take effect at any time from then on, to the end of time, or never. The model
//     forks there; it does not count how often, so that it may believe in an effect
//     too many, never in one too few.
type VMModel struct {
	later
	vms    map[placed]*calls
	living map[placed]int       // how many there are, which should be one
	ends   map[string]time.Time // when processes were killed
	judged int
	// undecided counts VMs of which it cannot tell.
	undecided int
}

const (
	// mostOperations is how many operations of a VM are judged at most.
	mostOperations = 5000
	// decideWithin is how long one VM may take to be judged.
	decideWithin = 10 * time.Second
	// quiet is how long a VM that is gone must have had no call to be judged.
	quiet = time.Minute
	// longest is more than any call takes that may remove a VM.
	longest = 40 * time.Second
	// both is how close together a manager and a daemon must have been killed for
	// calls to be in neither's log.
	both = time.Minute
)

// placed names a VM on a host.
type placed struct {
	vmKey
	host string
}

// calls are the operations on a VM.
type calls struct {
	operations []porcupine.Operation
	gone, seen time.Time
}

// power of a VM.
type power int

const (
	anyPower power = iota
	running
	off
	rising
	falling
)

// state of the model. The zero value is no VM.
type state struct {
	there bool
	// uid is empty where nobody has told it yet.
	uid   string
	power power
	// mayMake, mayRemove and mayPower tell that a call may still take effect.
	mayMake, mayRemove, mayPower bool
}

// operation is one of the model, with its outcome.
type operation struct {
	event Event
	// what is the method of a call or the event of the world.
	what   string
	code   string
	result history.Result
}

// NewVMModel returns the validator for a new history.
func NewVMModel() *VMModel {
	return &VMModel{vms: map[placed]*calls{}, living: map[placed]int{}, ends: map[string]time.Time{}}
}

// Name implements [Validator].
func (*VMModel) Name() string { return "VMModel" }

// Judged implements [Validator].
func (v *VMModel) Judged() (int, string) {
	if v.undecided > 0 {
		return v.judged, fmt.Sprintf("of %d VMs it could not tell in time", v.undecided)
	}
	return v.judged, ""
}

// methods are those that the model knows.
var methods = []string{"EnsureVM", "GetVM", "DeleteVM", "SetVMPower", "AttachVolume", "DetachVolume", "AttachNetwork", "DetachNetwork"}

// Observe implements [Validator].
func (v *VMModel) Observe(e Event) []Violation {
	found := v.pass(e)
	switch e.Kind {
	case fake.RPC:
		if e.VM != "" && e.Host != "" && slices.Contains(methods, e.Name) {
			v.call(e)
		}
	case fake.VM:
		v.vm(e)
	case fake.Host:
		if e.Event == "down" || e.Event == "up" {
			for key := range v.vms {
				if key.host == e.Host {
					v.add(key, operation{event: e, what: e.Event}, e.Time, e.Time)
				}
			}
		}
	case fake.Process:
		if e.Event == "killed" {
			v.killed(e)
		}
	}
	return found
}

// vm takes down what befalls a VM, and its removal by somebody else: in the time of
// no call that could have removed it.
func (v *VMModel) vm(e Event) {
	key := placed{vmKey{e.Owner, e.VM}, e.Host}
	switch e.Event {
	case "made":
		v.living[key]++
	case "crashed":
		v.befall(key, e)
	case "vanished":
		v.less(key)
		v.befall(key, e)
	case "removed":
		if v.less(key); v.living[key] > 0 {
			return // it was a double
		}
		v.after(longest, func() []Violation {
			if c := v.vms[key]; c != nil && !slices.ContainsFunc(c.operations, func(o porcupine.Operation) bool { return removes(o, e.Time) }) {
				e.Event = "vanished"
				v.befall(key, e)
			}
			return nil
		})
	}
}

func (v *VMModel) less(key placed) {
	if v.living[key]--; v.living[key] <= 0 {
		delete(v.living, key)
	}
}

func (v *VMModel) befall(key placed, e Event) {
	if v.vms[key] != nil {
		v.add(key, operation{event: e, what: e.Event}, e.Time, e.Time)
	}
}

// removes tells whether an operation may have removed the VM at that time.
func removes(o porcupine.Operation, at time.Time) bool {
	in, _ := o.Input.(operation)
	late := in.what == "killed" || in.result.Lost || unknown(in)
	return (in.what == "DeleteVM" || in.what == "EnsureVM" || in.what == "killed") && o.Call <= at.UnixNano() && (late || at.UnixNano() <= o.Return)
}

// killed takes down that calls may be in no log, where both their ends were killed.
func (v *VMModel) killed(e Event) {
	isDaemon, isManager := strings.HasPrefix(e.Name, "daemon"), strings.HasPrefix(e.Name, "elemento")
	if !isDaemon && !isManager {
		return
	}
	v.ends[e.Name] = e.Time
	for other, at := range v.ends {
		if strings.HasPrefix(other, "daemon") == isDaemon || e.Time.Sub(at) > both {
			continue
		}
		for key := range v.vms {
			v.add(key, operation{event: e, what: "killed"}, e.Time.Add(-both), e.Time)
		}
	}
}

func (v *VMModel) call(e Event) {
	key := placed{vmKey{e.Owner, e.VM}, e.Host}
	result := history.ResultOf(e)
	end := e.Ended
	if end.Before(e.Time) {
		end = e.Time
	}
	c := v.add(key, operation{event: e, what: e.Name, code: e.Code, result: result}, e.Time, end)
	if c.gone = (time.Time{}); e.Name == "DeleteVM" && e.Code == "OK" && result.Gone {
		c.gone = v.now
		v.after(quiet, func() []Violation {
			if v.vms[key] != c || c.gone.IsZero() || v.now.Sub(c.seen) < quiet {
				return nil // it is not over
			}
			delete(v.vms, key)
			return v.check(key, c)
		})
	}
}

func (v *VMModel) add(key placed, o operation, begin, end time.Time) *calls {
	c := v.vms[key]
	if c == nil {
		c = &calls{}
		v.vms[key] = c
	}
	if o.event.Kind == fake.RPC {
		c.seen = v.now
	}
	if len(c.operations) <= mostOperations {
		c.operations = append(c.operations, porcupine.Operation{Input: o, Call: begin.UnixNano(), Return: end.UnixNano()})
	}
	return c
}

// check judges a VM.
func (v *VMModel) check(key placed, c *calls) []Violation {
	v.judged++
	if len(c.operations) > mostOperations {
		v.undecided++
		return nil
	}
	switch porcupine.CheckOperationsTimeout(model, c.operations, decideWithin) {
	case porcupine.Ok:
		return nil
	case porcupine.Unknown:
		v.undecided++
		return nil
	}
	events := decisive(c.operations)
	last := events[len(events)-1]
	return []Violation{{
		v.Name(), history.Known(last),
		fmt.Sprintf("the calls for VM %s on %s are not those of one VM, at the latest with %s, which ended %s", key.vm, key.host, last.Name+last.Event, last.Code),
		events,
	}}
}

// decisive are the operations up to the first at whose end there is no order any
// more, the last dozen of them.
func decisive(operations []porcupine.Operation) []Event {
	sorted := slices.Clone(operations)
	slices.SortStableFunc(sorted, func(a, b porcupine.Operation) int { return int(max(-1, min(1, a.Return-b.Return))) })
	bad := len(sorted)
	for good := 0; bad-good > 1; {
		if n := (good + bad) / 2; porcupine.CheckOperationsTimeout(model, until(sorted, n), decideWithin) == porcupine.Ok {
			good = n
		} else {
			bad = n
		}
	}
	var events []Event
	for _, o := range sorted[max(0, bad-12):bad] {
		in, _ := o.Input.(operation)
		events = append(events, in.event)
	}
	return events
}

// until are the operations of which n have ended; what the others come to that have
// begun is not known yet.
func until(sorted []porcupine.Operation, n int) []porcupine.Operation {
	begun := slices.Clone(sorted[:n])
	end := sorted[n-1].Return
	for _, o := range sorted[n:] {
		if in, _ := o.Input.(operation); o.Call <= end && in.event.Kind == fake.RPC {
			in.code, in.result = "Unknown", history.Result{Lost: true}
			o.Input, o.Return = in, end
			begun = append(begun, o)
		}
	}
	return begun
}

// Finish implements [Validator].
func (v *VMModel) Finish() []Violation {
	found := v.rest()
	for key, c := range v.vms {
		found = append(found, v.check(key, c)...)
	}
	v.vms = map[placed]*calls{}
	slices.SortFunc(found, func(a, b Violation) int { return a.Time.Compare(b.Time) })
	return found
}

var model = (&porcupine.NondeterministicModel{
	Init: func() []any { return []any{state{}} },
	Step: func(before, input, _ any) (after []any) {
		s, _ := before.(state)
		o, _ := input.(operation)
		for _, s := range s.may() {
			for _, next := range s.step(o) {
				after = append(after, next)
			}
		}
		return after
	},
}).ToModel()

// may is what the state may be by now, from calls that have not shown their effect.
func (s state) may() []state {
	all := []state{s}
	reach := func(next state) {
		if !slices.Contains(all, next) {
			all = append(all, next)
		}
	}
	for i := 0; i < len(all); i++ {
		now := all[i]
		if now.there && now.mayRemove {
			reach(now.removed())
		}
		if !now.there && now.mayMake {
			reach(now.made("", anyPower))
		}
		if now.there && (now.mayPower || now.mayRemove) && now.power != anyPower {
			now.power = anyPower
			reach(now)
		}
	}
	return all
}

func (s state) removed() state { s.there, s.uid, s.power = false, "", anyPower; return s }

func (s state) made(uid string, p power) state { s.there, s.uid, s.power = true, uid, p; return s }

// absent are the refusals of EnsureVM that tell that there is no VM.
var absent = []string{"REASON_NO_CAPACITY", "REASON_LICENSE_REQUIRED", "REASON_HARDWARE_ABSENT", "REASON_IMAGE_NOT_FOUND"}

// harmless are the refusals that come before any effect.
var harmless = []string{
	"REASON_INVALID_REQUEST", "REASON_CLIENT_FORBIDDEN", "REASON_DOMAIN_UNKNOWN", "REASON_HOST_UNKNOWN", "REASON_HOST_UNTRUSTED",
	"REASON_DRAINING", "REASON_UNSUPPORTED", "InvalidArgument", "PermissionDenied", "Unauthenticated", "Unimplemented",
}

const vmNotFound = "REASON_VM_NOT_FOUND"

// step is what the state may be after an operation; nothing if the operation cannot
// have had this outcome.
func (s state) step(o operation) []state {
	switch o.what {
	case "vanished":
		return []state{s.removed()}
	case "crashed", "down", "up":
		if s.there {
			s.power = off
			if o.what == "up" {
				s.power = rising
			}
		}
		return []state{s}
	case "killed":
		s.mayMake, s.mayRemove, s.mayPower = true, true, true
		return []state{s}
	}
	ok := o.code == "OK"
	switch {
	case o.code == vmNotFound && o.what != "DeleteVM":
		if s.there {
			return nil
		}
		return []state{s}
	case !ok && slices.Contains(harmless, o.code) && !o.result.Lost:
		return []state{s}
	}
	switch o.what {
	case "GetVM":
		if !ok {
			return []state{s}
		}
		return s.observed(o.result)
	case "EnsureVM":
		return s.ensured(o, ok)
	case "DeleteVM":
		return s.deleted(o, ok)
	case "SetVMPower":
		return s.powered(o, ok)
	default: // attaching and detaching
		if ok && !s.there {
			return nil
		}
		return []state{s}
	}
}

// observed is the state after somebody has seen the VM.
func (s state) observed(r history.Result) []state {
	if !s.there || s.uid != "" && r.UID != "" && s.uid != r.UID {
		return nil
	}
	if s.uid == "" {
		s.uid = r.UID
	}
	switch {
	case strings.HasSuffix(r.Power, "RUNNING"):
		switch s.power {
		case off:
			return nil
		case rising:
			s.power = running
		}
	case strings.HasSuffix(r.Power, "OFF"):
		switch s.power {
		case running:
			return nil
		case falling:
			s.power = off
		}
	}
	return []state{s}
}

func (s state) ensured(o operation, ok bool) []state {
	switch {
	case ok && s.there:
		return s.observed(o.result)
	case ok:
		return s.made("", rising).observed(o.result)
	case slices.Contains(absent, o.code) && !o.result.Lost:
		if s.there {
			return nil
		}
		return []state{s}
	}
	if unknown(o) {
		s.mayMake = true
		return []state{s}
	}
	if s.there {
		return []state{s}
	}
	return []state{s, s.made("", rising)}
}

func (s state) deleted(o operation, ok bool) []state {
	switch {
	case ok && o.result.Gone:
		return []state{s.removed()}
	case ok || !unknown(o):
		all := []state{s, s.removed()}
		if s.there && s.power != falling {
			s.power = falling
			all = append(all, s)
		}
		return all
	}
	s.mayRemove = true
	return []state{s}
}

func (s state) powered(o operation, ok bool) []state {
	if ok && !s.there {
		return nil
	}
	if !ok && unknown(o) {
		s.mayPower = true
		return []state{s}
	}
	s.power = s.power.after(o.result.Action, ok)
	return s.observed(o.result)
}

// after is the power of a VM that was asked for an action.
func (p power) after(action string, ok bool) power {
	switch {
	case ok && action == "POWER_ACTION_ON" && (p == off || p == rising):
		return rising
	case ok && action == "POWER_ACTION_ON" && p == running, ok && action == "POWER_ACTION_OFF" && p == off:
		return p // as it was already
	case ok && action == "POWER_ACTION_OFF" && (p == running || p == falling):
		return falling
	default: // it was on its way elsewhere, or nobody knows what it was asked for
		return anyPower
	}
}

// unknown tells whether an operation may take effect after its end.
func unknown(o operation) bool {
	switch o.code {
	case "REASON_OUTCOME_UNKNOWN", "REASON_HOST_UNREACHABLE", "Canceled", "DeadlineExceeded", "Unavailable", "Unknown", "Internal", "REASON_HOST_FAILED", "REASON_UNSPECIFIED":
		return true
	}
	return o.result.Lost
}
