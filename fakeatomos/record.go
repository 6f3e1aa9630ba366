package fakeatomos

import (
	"hash/maphash"
	"sync"

	"elemento.cloud/cluster-api-provider-elemento/fakeatomos/history"
)

// record measures a call that has ended, and puts it into the journal, if it changes
// something, and into the history, unless it only says what it said before.
func (h *Host) record(call *route, r *request, a answer) {
	h.fake.metrics.observe(r.entry)
	if call.changes {
		h.fake.journal.add(*r.entry)
	}
	if h.fake.opts.History == nil || !call.changes && len(r.entry.Faults) == 0 && h.fake.polls.same(call.name, h.opts.Name, r, a) {
		return
	}
	h.fake.opts.History.Add(r.entry.event())
}

// event is an entry as the history has it.
func (e JournalEntry) event() history.Event {
	return history.Event{
		Time: e.Arrived, Ended: e.Answered, Kind: history.Call, Host: e.Host, Call: e.Call,
		VM: e.VM, Name: e.Name, Owner: e.Owner, UID: e.ID, Status: e.Status, Applied: e.Applied, Faults: e.Faults, ID: e.RequestID,
	}
}

// polls knows what was answered last to calls that only read, so that the
// history has them when they tell something new.
type polls struct {
	mu   sync.Mutex
	last map[uint64]uint64
}

// mostPolls bounds polls; what is forgotten is told once more.
const mostPolls = 10_000

var pollSeed = maphash.MakeSeed()

// same tells whether a call was answered the same way the last time.
func (p *polls) same(call, host string, r *request, a answer) bool {
	var question, reply maphash.Hash
	question.SetSeed(pollSeed)
	reply.SetSeed(pollSeed)
	for _, part := range []string{host, call, r.rest, r.query.Encode(), string(r.body)} {
		_, _ = question.WriteString(part + "\x00") // never fails
	}
	_, raw, err := a.encode()
	if err != nil {
		return false
	}
	_, _ = reply.Write(raw)
	_ = reply.WriteByte(byte(a.status % 251))
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.last) >= mostPolls || p.last == nil {
		p.last = map[uint64]uint64{}
	}
	before, known := p.last[question.Sum64()]
	p.last[question.Sum64()] = reply.Sum64()
	return known && before == reply.Sum64()
}

// The host and what it has tell the history what became of them; all with the
// host's lock held, so that the order of the lines is that of the events.

func (h *Host) tell(event string, detail any) {
	e := history.Event{Kind: history.Host, Event: event, Host: h.opts.Name, Name: h.opts.Domain}
	if detail != nil {
		e.Detail = history.Detail(detail)
	}
	h.fake.opts.History.Add(e)
}

func (h *Host) tellVM(v *vm, event string) {
	if h.fake.opts.History == nil {
		return
	}
	e := history.Event{Kind: history.VM, Event: event, Host: h.opts.Name, VM: v.Name, UID: v.UID, Owner: v.Owner}
	if a := v.address(); a.IsValid() {
		e.Address = a.String()
	}
	if event == "made" || event == "changed" {
		networks := []string{}
		for _, n := range v.NICs {
			networks = append(networks, n.Network)
		}
		e.Detail = history.Detail(map[string]any{
			"slots": v.Pledge.CPU.Slots, "memoryMiB": v.Pledge.Mem.Capacity, "volumes": append([]string{}, v.Volumes...), "networks": networks,
		})
	}
	h.fake.opts.History.Add(e)
}

// tellFailure says why the guest of a VM did not come up.
func (h *Host) tellFailure(v *vm, why error) {
	h.fake.opts.History.Add(history.Event{
		Kind: history.VM, Event: "failed", Host: h.opts.Name, VM: v.Name, UID: v.UID, Owner: v.Owner,
		Detail: history.Detail(map[string]string{"error": why.Error()}),
	})
}

func (h *Host) tellVolume(v *volume, event string) {
	if h.fake.opts.History == nil {
		return
	}
	h.fake.opts.History.Add(history.Event{
		Kind: history.Volume, Event: event, Host: h.opts.Name, Name: v.Name, UID: v.ID, Owner: v.Owner,
		Detail: history.Detail(map[string]any{"size": v.Size, "seed": v.CloudInit, "complete": v.complete(), "reserved": v.Reserved}),
	})
}

func (h *Host) tellNetwork(n *network, event string) {
	h.fake.opts.History.Add(history.Event{
		Kind: history.Network, Event: event, Host: h.opts.Name, Name: n.Name, UID: n.NetworkUID, Owner: n.CreatorUID, Address: n.IP.Address,
	})
}

func (h *Host) tellForward(fw *forward, event string) {
	e := history.Event{
		Kind: history.Forward, Event: event, Host: h.opts.Name, UID: fw.ForwardUID, Owner: fw.CreatorUID,
		Detail: history.Detail(map[string]any{"port": fw.Port, "targetPort": fw.TargetPort, "target": fw.Target, "targetVMUID": fw.TargetVMUID}),
	}
	if v := h.vms[fw.TargetVMUID]; v != nil {
		e.VM = v.Name
	}
	h.fake.opts.History.Add(e)
}
