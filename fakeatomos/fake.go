package fakeatomos

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"

	"elemento.cloud/cluster-api-provider-elemento/fakeatomos/guest"
)

// Fake is a running fake AtomOS.
type Fake struct {
	opts    Options
	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	hosts   []*Host
	byName  map[string]*Host
	leases  leases
	faults  faultList
	journal journal
	calls   callCounts
	metrics *metrics
	polls   polls
	control *controlServer
	// work counts the goroutines that change power states or forward.
	work  sync.WaitGroup
	close sync.Once
}

// Start brings up all hosts, with the state that StateDir keeps. The fake lives
// until Close or the end of ctx.
func Start(ctx context.Context, o Options) (*Fake, error) {
	o, err := o.complete()
	if err != nil {
		return nil, fmt.Errorf("fakeatomos: %w", err)
	}
	f := &Fake{opts: o, byName: map[string]*Host{}}
	f.metrics = newMetrics(f)
	f.faults.fired = f.metrics.fired
	f.faults.history = o.History
	f.ctx, f.cancel = context.WithCancel(context.WithoutCancel(ctx))
	if err := f.start(); err != nil {
		f.Close()
		return nil, fmt.Errorf("fakeatomos: %w", err)
	}
	context.AfterFunc(ctx, f.Close)
	return f, nil
}

func (f *Fake) start() error {
	for i, fault := range f.opts.Faults {
		if _, err := f.AddFault(fault); err != nil {
			return fmt.Errorf("faults[%d] %q: %w", i, fault.Name, err)
		}
	}
	for _, ho := range f.opts.Hosts {
		h, err := newHost(f, ho)
		if err != nil {
			return fmt.Errorf("host %s: %w", ho.Name, err)
		}
		f.hosts = append(f.hosts, h)
		f.byName[ho.Name] = h
	}
	if lasting, ok := f.opts.Guests.(guest.Lasting); ok {
		var ids []string
		for _, h := range f.hosts {
			ids = slices.AppendSeq(ids, maps.Keys(h.vms))
		}
		if err := lasting.Keep(f.ctx, ids); err != nil {
			return fmt.Errorf("guests of before: %w", err)
		}
	}
	for _, h := range f.hosts {
		if err := h.Up(); err != nil {
			return err
		}
	}
	if f.opts.Control != "" {
		control, err := serveControl(f, f.opts.Control)
		if err != nil {
			return fmt.Errorf("control: %w", err)
		}
		f.control = control
	}
	return nil
}

// Close switches everything off and returns when nothing of it runs any more.
// What StateDir holds stays.
func (f *Fake) Close() {
	f.close.Do(func() {
		if f.control != nil {
			f.control.close()
		}
		for _, h := range f.hosts {
			h.Down()
		}
		f.cancel()
		f.work.Wait()
	})
}

// Hosts returns the hosts in the order of Options.
func (f *Fake) Hosts() []*Host { return f.hosts }

// Host returns the host of that name.
func (f *Fake) Host(name string) (*Host, error) {
	if h := f.byName[name]; h != nil {
		return h, nil
	}
	return nil, fmt.Errorf("fakeatomos: no host is called %q", name)
}

// ControlURL is the address of the control listener, or "".
func (f *Fake) ControlURL() string {
	if f.control == nil {
		return ""
	}
	return f.control.url
}

// AddFault puts a fault in force, after those that are, and returns its ID.
func (f *Fake) AddFault(fault Fault) (string, error) { return f.faults.add(fault) }

// RemoveFaults takes out the fault of that ID, or all if it is empty.
func (f *Fake) RemoveFaults(id string) { f.faults.remove(id) }

// Faults lists the faults in force.
func (f *Fake) Faults() []Fault { return f.faults.all() }

// Calls returns how many C4 calls arrived, by host and call.
func (f *Fake) Calls() map[string]map[string]int64 { return f.calls.snapshot() }

// Journal returns the changing calls after the entry of that number, as far as
// they are remembered.
func (f *Fake) Journal(since int64) []JournalEntry { return f.journal.since(since) }

// leases are the addresses in use by guests. They are unique over the whole
// fake, because guests may share one machine.
type leases struct {
	mu      sync.Mutex
	holders map[netip.Addr]lease
}

// lease tells who holds an address.
type lease struct {
	host *Host
	vm   string
	// bridged addresses are reachable from everywhere.
	bridged bool
}

var errNoAddress = errors.New("no address of the DHCP range is free")

// take reserves the first free address from first to last.
func (l *leases) take(first, last netip.Addr, holder lease) (netip.Addr, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for a := first; a.IsValid() && !last.Less(a); a = a.Next() {
		if _, taken := l.holders[a]; !taken {
			l.set(a, holder)
			return a, nil
		}
	}
	return netip.Addr{}, errNoAddress
}

// claim reserves a given address and tells whether that was possible.
func (l *leases) claim(a netip.Addr, holder lease) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, taken := l.holders[a]; taken {
		return false
	}
	l.set(a, holder)
	return true
}

func (l *leases) set(a netip.Addr, holder lease) {
	if l.holders == nil {
		l.holders = map[netip.Addr]lease{}
	}
	l.holders[a] = holder
}

func (l *leases) release(a netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.holders, a)
}

func (l *leases) holder(a netip.Addr) (lease, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	found, ok := l.holders[a]
	return found, ok
}

// reachable tells whether a connection from source can reach the guest that
// holds address: on a bridged network from everywhere, behind NAT from its own
// host and that host's guests.
func (l *leases) reachable(source, address netip.Addr) bool {
	target, ok := l.holder(address)
	if !ok {
		return false
	}
	if target.bridged || source == target.host.opts.Address {
		return true
	}
	from, ok := l.holder(source)
	return ok && from.host == target.host
}
