package daemon

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"elemento.cloud/cluster-api-provider-elemento/c4"
	"elemento.cloud/cluster-api-provider-elemento/daemon/rpc"
)

const (
	// expectation is how long the daemon looks often for something that a call
	// set in motion. After that the normal interval has to do.
	expectation = 2 * time.Minute
	// quickest and slowest bound the time between looks meanwhile.
	quickest = 25 * time.Millisecond
	slowest  = 250 * time.Millisecond
)

// observation is what a host reported of a client's VMs at one moment. It is
// never changed once it is made.
type observation struct {
	// at is when the host was asked; zero means never.
	at time.Time
	// version grows when something in vms changed.
	version uint64
	// vms has one VM for a name; where the host has several, the one to keep.
	vms map[string]*seenVM
	// doubles has all VMs of those names that several have.
	doubles map[string][]c4.VM
}

// seenVM is a VM, and how callers see it. While a VM stays as it is, later
// observations share it.
type seenVM struct {
	vm  c4.VM
	msg *rpc.VM
}

// named returns all VMs of that name, the one to keep first.
func (o observation) named(name string) []c4.VM {
	if d := o.doubles[name]; d != nil {
		return d
	}
	if s := o.vms[name]; s != nil {
		return []c4.VM{s.vm}
	}
	return nil
}

// tenant is what this daemon knows of one client's VMs on one host.
type tenant struct {
	host      *host
	clientUID string
	vms       shared[observation]
	volumes   shared[[]c4.Volume]
	poller    poller
	// locks lets one call at a time act on a VM, by name.
	locks keyLock[string]
	// suspects are VMs, by name, of which a request ended without an answer.
	suspects late[string]
	// registered are VMs, by name, that the host was asked to make and that no call
	// has seen yet.
	registered late[string]
	// held are VMs, by name, of which volumes turned out to be held while the host
	// showed no VM.
	held late[string]
	// unseen are volumes, by name, that the host was asked for and that no look
	// has shown yet.
	unseen late[string]

	// forwarded are VMs, by name, that cannot be removed because the forwards to them
	// cannot.
	forwarded late[string]

	mu       sync.Mutex
	listing  *c4.Listing
	seen     observation
	expected map[string]expected
	// orphans are VMs, by name, that were removed before the forwards to them. Nothing
	// else may tell whose these were.
	orphans map[string][]c4.VM
	// copies are those of images to volumes, by the volume's name.
	copies map[string]*copying
	// stops is when a VM, by UID, was last asked to shut down.
	stops map[string]time.Time

	// standing is how the host answers this question. Guarded by the host's mutex.
	standing standing
}

// expected is a change that a call has set in motion.
type expected struct {
	since time.Time
	met   func(*seenVM) bool // nil stands for a VM that is not there
}

func newTenant(h *host, clientUID string) *tenant {
	t := &tenant{host: h, clientUID: clientUID, expected: map[string]expected{}, stops: map[string]time.Time{}, orphans: map[string][]c4.VM{}, copies: map[string]*copying{}}
	t.vms = shared[observation]{ask: t.askVMs, spawn: h.spawn}
	t.volumes = shared[[]c4.Volume]{ask: t.askVolumes, spawn: h.spawn}
	t.poller = poller{
		look: func(ctx context.Context) {
			h.guarded(ctx, func() {
				if o, err := t.vms.get(ctx); err == nil {
					t.settleLate(ctx, o)
				}
			})
		},
		pace:  t.pace,
		spawn: h.spawn,
	}
	return t
}

// look asks the host for the client's VMs.
func (t *tenant) look(ctx context.Context) (observation, error) {
	o, err := t.vms.get(ctx)
	if err != nil {
		return o, t.host.lookFailed("asking for its VMs", err)
	}
	return o, nil
}

// askVMs is the only one that writes what is seen; shared lets one run at a
// time.
func (t *tenant) askVMs(ctx context.Context) (observation, error) {
	t.mu.Lock()
	known, first := t.listing, t.seen.at.IsZero()
	t.mu.Unlock()
	began := time.Now()
	list, listing, changed, err := t.host.c4.VMs(ctx, t.clientUID, known)
	news := t.host.answered(err, &t.standing)
	if err != nil {
		if news {
			t.poller.announce()
		}
		return observation{}, err
	}
	var names map[string]string
	if changed {
		waited := known == nil && !first // in vain, for the names at the last look
		var all bool
		if names, all = t.namesFor(ctx, list, waited); !all {
			listing = nil // the next answer tells more, even if it is the same
		}
		for _, vm := range list {
			for _, v := range vm.Volumes {
				t.unseen.landed(v.Name, began)
			}
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	next := t.seen
	next.at = began
	if changed {
		next = t.seen.advance(began, list, func(vm c4.VM) *rpc.VM { return vmMessage(t.host, vm, names) })
		news = news || next.version != t.seen.version
	}
	t.listing, t.seen = listing, next
	for name, e := range t.expected {
		if e.met(next.vms[name]) {
			delete(t.expected, name)
		}
	}
	if news {
		t.poller.announce()
	}
	return next, nil
}

// namesFor returns the names of networks, asking for them if one is new, and tells
// whether these are all that the VMs are on. Where they were waited for before, they
// are not for long: a host that does not tell of its networks tells of its VMs.
func (t *tenant) namesFor(ctx context.Context, list []c4.VM, waited bool) (names map[string]string, all bool) {
	known := func() bool {
		names = t.host.networkNames()
		return !slices.ContainsFunc(list, func(vm c4.VM) bool {
			return slices.ContainsFunc(vm.Networks, func(n c4.NetworkRef) bool { _, is := names[n.NetworkUID]; return !is })
		})
	}
	if known() {
		return names, true
	}
	if waited {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, slowest)
		defer cancel()
	}
	_, _ = t.host.networks.get(ctx)
	all = known()
	return names, all
}

// advance returns the observation that follows o. Of what did not change it
// keeps the very same messages, so that two observations compare by pointer.
func (o observation) advance(at time.Time, list []c4.VM, message func(c4.VM) *rpc.VM) observation {
	next := observation{at: at, version: o.version, vms: make(map[string]*seenVM, len(list))}
	for _, vm := range list {
		if _, twice := next.vms[vm.Name]; twice {
			if next.doubles == nil {
				next.doubles = map[string][]c4.VM{}
			}
			if next.doubles[vm.Name] == nil {
				next.doubles[vm.Name] = []c4.VM{next.vms[vm.Name].vm}
			}
			next.doubles[vm.Name] = append(next.doubles[vm.Name], vm)
		}
		next.vms[vm.Name] = &seenVM{vm: vm}
	}
	for name, all := range next.doubles {
		slices.SortFunc(all, byKeeping)
		next.vms[name] = &seenVM{vm: all[0]}
	}
	differs := len(next.vms) != len(o.vms)
	for name, s := range next.vms {
		before := o.vms[name]
		// A network whose name was not known may have one now.
		if before != nil && s.vm.Same(before.vm) && len(before.msg.Networks) == len(s.vm.Networks) {
			s.msg = before.msg
			continue
		}
		s.msg = message(s.vm)
		if before != nil && proto.Equal(before.msg, s.msg) {
			s.msg = before.msg
		} else {
			differs = true
		}
	}
	if differs || o.at.IsZero() {
		next.version++
	}
	return next
}

// byKeeping sorts VMs of one name so that the one to keep comes first,
// whichever daemon decides: the one that holds the boot volume, then the
// oldest, then the smaller UID.
func byKeeping(a, b c4.VM) int {
	holds := func(vm c4.VM) bool {
		return slices.ContainsFunc(vm.Volumes, func(v c4.Volume) bool { return v.Name == bootVolumeName(vm.Name) })
	}
	if x, y := holds(a), holds(b); x != y {
		if x {
			return -1
		}
		return 1
	}
	return cmp.Or(compareAge(a.Created, b.Created), cmp.Compare(a.UID, b.UID))
}

// compareAge puts the older first and the unknown last.
func compareAge(a, b time.Time) int {
	switch {
	case a.IsZero() && b.IsZero():
		return 0
	case a.IsZero():
		return 1
	case b.IsZero():
		return -1
	}
	return a.Compare(b)
}

func (t *tenant) askVolumes(ctx context.Context) ([]c4.Volume, error) {
	began := time.Now()
	all, err := t.host.c4.Volumes(ctx, t.clientUID)
	if err != nil {
		return nil, err
	}
	// The list has the public volumes of others too.
	own := slices.DeleteFunc(all, func(v c4.Volume) bool {
		return v.CreatorID != t.clientUID && (v.CreatorID != "" || !v.Own)
	})
	for _, v := range own {
		t.unseen.landed(v.Name, began)
	}
	return own, nil
}

// lookVolumes asks the host for the volumes that the client owns.
func (t *tenant) lookVolumes(ctx context.Context) ([]c4.Volume, error) {
	volumes, err := t.volumes.get(ctx)
	if err != nil {
		return nil, t.host.lookFailed("asking for its volumes", err)
	}
	return volumes, nil
}

// settling is the host's for this client.
func (t *tenant) settling() error { return t.host.settling(&t.standing) }

// last returns the newest observation without asking; silent is true when the
// host did not answer since.
func (t *tenant) last() (o observation, silent bool) {
	t.mu.Lock()
	o = t.seen
	t.mu.Unlock()
	return o, o.at.IsZero() || t.health() == rpc.HostHealth_HOST_HEALTH_UNREACHABLE
}

// health is the host's for this client, to whom it is silent when it lists no VMs,
// and only then: what it does not tell of itself makes nothing unknown of them.
func (t *tenant) health() rpc.HostHealth {
	t.host.mu.Lock()
	defer t.host.mu.Unlock()
	return t.host.healthIf(t.standing.silent)
}

// pace is the time until the next look: the interval, or less while something
// is expected, the less the younger the expectation. A host is never asked
// more than a fifth of the time.
func (t *tenant) pace(took time.Duration) (time.Duration, bool) {
	// A double that comes of a suspect is to be found without a call.
	watched := t.poller.watched() || t.suspects.any(landsLate, func(string) bool { return true })
	t.mu.Lock()
	defer t.mu.Unlock()
	youngest := expectation
	for name, e := range t.expected {
		if since := time.Since(e.since); since < expectation {
			youngest = min(youngest, since)
		} else {
			delete(t.expected, name) // also while the host does not answer
		}
	}
	switch {
	case len(t.expected) > 0:
		return max(min(youngest/4, slowest), quickest, 4*took), true
	case watched:
		return t.host.interval, true
	}
	return 0, false
}

// expect looks often until the VM is as described (nil is none), or a while has
// passed.
func (t *tenant) expect(name string, met func(*seenVM) bool) {
	t.mu.Lock()
	t.expected[name] = expected{since: time.Now(), met: met}
	t.mu.Unlock()
	t.poller.kick()
}

// forget ends the expectation of a VM that is no more.
func (t *tenant) forget(name string) {
	t.mu.Lock()
	delete(t.expected, name)
	t.mu.Unlock()
}

// What can be expected of a VM.
func isUp(s *seenVM) bool   { return s != nil && s.vm.State == c4.Running && s.vm.Address != "" }
func isDown(s *seenVM) bool { return s == nil || s.vm.State == c4.ShutOff }

// await looks until the VM is as described or the context ends, and returns
// whether it is.
func (t *tenant) await(ctx context.Context, name string, met func(*seenVM) bool) bool {
	news := make(chan struct{}, 1)
	cancel := t.poller.subscribe(news)
	defer cancel()
	t.expect(name, met)
	for {
		if o, silent := t.last(); !silent && met(o.vms[name]) {
			return true
		}
		select {
		case <-news:
		case <-ctx.Done():
			return false
		}
	}
}

// suspect remembers that a request for the VM ended without an answer.
func (t *tenant) suspect(name string) {
	t.suspects.add(name)
	t.poller.kick()
}

// mayLand tells whether something of the VM's may still come to be that the
// host does not show.
func (t *tenant) mayLand(name string) bool {
	if c := t.copyOf(bootVolumeName(name)); c != nil && !c.hasEnded() {
		return true
	}
	return t.suspects.may(name, landsSoon) || t.unseen.any(landsLate, func(volume string) bool { return belongsTo(name, volume) })
}

// observed is the host with the client's VMs as callers see it.
func (t *tenant) observed(o observation, silent bool) *rpc.HostObservation {
	m := &rpc.HostObservation{Host: t.message(silent)}
	if !o.at.IsZero() {
		m.ObservedAt = timestamppb.New(o.at)
	}
	if !silent {
		m.Vms = o.messages()
	}
	return m
}

// message is the host as this client sees it: a host that answers others and
// not this client tells it nothing.
func (t *tenant) message(silent bool) *rpc.Host {
	m := t.host.message()
	if m.Health = t.health(); silent {
		m.Health = rpc.HostHealth_HOST_HEALTH_UNREACHABLE
	}
	return m
}

// messages returns the VMs by name.
func (o observation) messages() []*rpc.VM {
	list := make([]*rpc.VM, 0, len(o.vms))
	for _, s := range o.vms {
		list = append(list, s.msg)
	}
	slices.SortFunc(list, func(a, b *rpc.VM) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

// vmMessage is a VM as callers see it.
func vmMessage(h *host, vm c4.VM, networkNames map[string]string) *rpc.VM {
	m := &rpc.VM{
		Name: vm.Name, Host: h.ID, Domain: h.Domain, Uid: vm.UID, Address: vm.Address,
		PowerState: powerStates[vm.State], Slots: count(vm.Slots), MemoryMib: uint64(max(vm.MemoryMiB, 0)),
	}
	if !vm.Created.IsZero() {
		m.Created = timestamppb.New(vm.Created)
	}
	for _, v := range vm.Volumes {
		m.Volumes = append(m.Volumes, cmp.Or(v.Name, v.VolumeID))
	}
	for _, n := range vm.Networks {
		name, known := networkNames[n.NetworkUID]
		if !known { // the rest alone would look like all
			m.Networks = nil
			break
		}
		m.Networks = append(m.Networks, name)
	}
	return m
}

var powerStates = map[c4.PowerState]rpc.PowerState{
	c4.Running: rpc.PowerState_POWER_STATE_RUNNING,
	c4.ShutOff: rpc.PowerState_POWER_STATE_OFF,
	c4.Paused:  rpc.PowerState_POWER_STATE_PAUSED,
}
