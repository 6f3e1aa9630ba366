package fleet

import (
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"elemento.cloud/cluster-api-provider-elemento/daemon/rpc"
)

// Sighting is what the daemons last told of a VM and of the host it belongs on.
// Its messages are shared: do not change them.
type Sighting struct {
	// Host is nil while no daemon has told of it.
	Host *rpc.Host
	// VM is nil if the host's last answer was without it.
	VM *rpc.VM
	// ObservedAt is when the host gave that answer, by the daemon's clock.
	ObservedAt time.Time
	// Absent counts the host's last answers in a row without the VM: 1, or 2 for
	// twice and more often. A host that does not answer adds none.
	Absent int
}

// Reachable tells that the host answers.
func (s Sighting) Reachable() bool { return reachable(s.Host) }

func reachable(h *rpc.Host) bool {
	return h.GetHealth() == rpc.HostHealth_HOST_HEALTH_READY || h.GetHealth() == rpc.HostHealth_HOST_HEALTH_MAINTENANCE
}

// view is what one daemon tells of one host.
type view struct {
	host       *rpc.Host
	observedAt time.Time
	vms        map[string]*rpc.VM
	// unlisted tells that the stream began while the host was silent, so that
	// what it has is not told yet: the first change in which it answers names all
	// of its VMs as changed and, with nothing to compare to, none as removed.
	unlisted bool
	// answers counts what the host answered, and left says how many there were
	// when a VM was last among them; entries go once they say nothing that
	// their absence would not.
	answers int
	left    map[string]int
}

// answered counts an answer of the host, and returns the VMs whose absence it
// proves: the host has been without them twice.
func (v *view) answered(at time.Time) (proven []string) {
	if at.Equal(v.observedAt) { // told before; an earlier one is of a clock that went back
		return nil
	}
	v.observedAt = at
	v.answers++
	for name, last := range v.left {
		switch missed := v.answers - last; {
		case missed == 2:
			proven = append(proven, name)
		case missed > 2:
			delete(v.left, name)
		}
	}
	return proven
}

func (v *view) put(vm *rpc.VM) {
	v.vms[vm.GetName()] = vm
	delete(v.left, vm.GetName())
}

// list takes in all the VMs that the host has.
func (v *view) list(vms []*rpc.VM) {
	present := make(map[string]bool, len(vms))
	for _, vm := range vms {
		present[vm.GetName()] = true
		v.put(vm)
	}
	for name := range v.vms {
		if !present[name] {
			v.remove(name)
		}
	}
	v.unlisted = false
}

// change takes in what is new since the last answer.
func (v *view) change(changed []*rpc.VM, removed []string) {
	for _, vm := range changed {
		v.put(vm)
	}
	for _, name := range removed {
		v.remove(name)
	}
}

func (v *view) remove(name string) {
	if _, ok := v.vms[name]; ok {
		delete(v.vms, name)
		v.left[name] = v.answers - 1 // the answer without it is already counted
	}
}

func (v *view) absent(name string) int {
	if _, ok := v.vms[name]; ok {
		return 0
	}
	return min(2, v.answers-v.left[name])
}

// merged is what the daemons together tell of one host: one of their views, and
// what has been passed on of it.
type merged struct {
	view   *view
	health rpc.HostHealth
	told   map[string]*rpc.VM
}

// observe takes in one message of a daemon's stream.
func (m *Member) observe(d *daemon, message *rpc.WatchVMsResponse) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d.heard = time.Now()
	first := !d.alive
	d.alive = true

	switch event := message.GetEvent().(type) {
	case *rpc.WatchVMsResponse_Snapshot:
		d.interval = event.Snapshot.GetInterval().AsDuration()
		for id := range d.views {
			if !slices.ContainsFunc(event.Snapshot.GetHosts(), func(o *rpc.HostObservation) bool { return o.GetHost().GetId() == id }) {
				delete(d.views, id)
				m.settle(id)
			}
		}
		for _, o := range event.Snapshot.GetHosts() {
			v := d.view(o.GetHost())
			v.unlisted = true
			if reachable(o.GetHost()) {
				v.answered(o.GetObservedAt().AsTime())
				v.list(o.GetVms())
			}
			m.settle(o.GetHost().GetId())
		}
		if !m.isSynced {
			m.isSynced = true
			close(m.synced)
		}
	case *rpc.WatchVMsResponse_Change:
		v := d.view(event.Change.GetHost())
		if len(event.Change.GetChanged())+len(event.Change.GetRemoved()) > 0 {
			streamLag.Observe(max(0, time.Since(event.Change.GetObservedAt().AsTime()).Seconds()))
		}
		if reachable(event.Change.GetHost()) {
			for _, name := range v.answered(event.Change.GetObservedAt().AsTime()) {
				m.fleet.changes.add(Change{ClientUID: m.clientUID, VM: name})
			}
			if v.unlisted {
				v.list(event.Change.GetChanged())
			} else {
				v.change(event.Change.GetChanged(), event.Change.GetRemoved())
			}
		}
		m.settle(event.Change.GetHost().GetId())
	case *rpc.WatchVMsResponse_Freshness:
		for id, at := range event.Freshness.GetObservedAt() {
			if v, ok := d.views[id]; ok {
				// The first answer without a VM comes as a change; the second,
				// which proves its absence, may be news by freshness alone.
				for _, name := range v.answered(at.AsTime()) {
					m.fleet.changes.add(Change{ClientUID: m.clientUID, VM: name})
				}
				m.settle(id)
			}
		}
	}
	if first {
		m.fleet.changes.add(Change{ClientUID: m.clientUID})
		m.settleAll()
	}
}

// disconnected forgets nothing of what a daemon told, but trusts the others more.
func (m *Member) disconnected(d *daemon) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if d.alive {
		d.alive = false
		m.fleet.changes.add(Change{ClientUID: m.clientUID})
		m.settleAll()
	}
}

func (m *Member) settleAll() {
	for id := range m.merged {
		m.settle(id)
	}
}

// settle chooses whose view of a host counts and notes what is new by it. A
// daemon that we hear counts before one that we do not, a host that answers one
// daemon is up, one that has told one of them that it is in maintenance is, and of two
// answers the newer one counts.
func (m *Member) settle(id string) {
	var best *view
	var bestAlive bool
	for _, d := range m.daemons {
		v, ok := d.views[id]
		if !ok {
			continue
		}
		better := best == nil
		if !better {
			switch up, bestUp := reachable(v.host), reachable(best.host); {
			case d.alive != bestAlive:
				better = d.alive
			case up != bestUp:
				better = up
			case up && v.host.GetHealth() != best.host.GetHealth():
				better = v.host.GetHealth() == rpc.HostHealth_HOST_HEALTH_MAINTENANCE // the other was not told yet
			default:
				better = v.observedAt.After(best.observedAt)
			}
		}
		if better {
			best, bestAlive = v, d.alive
		}
	}

	known, ok := m.merged[id]
	if !ok {
		known = &merged{told: map[string]*rpc.VM{}}
		m.merged[id] = known
	}
	known.view = best
	var vms map[string]*rpc.VM
	if best == nil {
		delete(m.merged, id)
	} else {
		if known.health != best.host.GetHealth() {
			known.health = best.host.GetHealth()
			m.fleet.changes.add(Change{ClientUID: m.clientUID, Host: id})
		}
		vms = best.vms
	}
	for name, vm := range vms {
		before, ok := known.told[name]
		switch {
		case before == vm:
		case ok && proto.Equal(before, vm):
			vms[name] = before // one message for all views, the same the next time
		default:
			known.told[name] = vm
			m.fleet.changes.add(Change{ClientUID: m.clientUID, VM: name})
		}
	}
	for name := range known.told {
		if _, ok := vms[name]; !ok {
			delete(known.told, name)
			m.fleet.changes.add(Change{ClientUID: m.clientUID, VM: name})
		}
	}
}

// Look returns what is known of a VM on the host that it belongs on. It asks no
// one; the zero Sighting means that nothing is known.
func (m *Member) Look(host, vm string) Sighting {
	m.mu.Lock()
	defer m.mu.Unlock()
	known, ok := m.merged[host]
	if !ok {
		return Sighting{}
	}
	v := known.view
	return Sighting{Host: v.host, VM: v.vms[vm], ObservedAt: v.observedAt, Absent: v.absent(vm)}
}

// Hosts returns the hosts that the daemons tell of, ordered by id.
func (m *Member) Hosts() []*rpc.Host {
	m.mu.Lock()
	defer m.mu.Unlock()
	hosts := make([]*rpc.Host, 0, len(m.merged))
	for _, known := range m.merged {
		hosts = append(hosts, known.view.host)
	}
	slices.SortFunc(hosts, func(a, b *rpc.Host) int { return strings.Compare(a.GetId(), b.GetId()) })
	return hosts
}

// vmHosts are all VMs that the hosts have for the client: the host of each name.
func (m *Member) vmHosts() map[string]string {
	m.mu.Lock()
	defer m.mu.Unlock()
	hosts := map[string]string{}
	for id, known := range m.merged {
		for name := range known.view.vms {
			hosts[name] = id
		}
	}
	return hosts
}
