package daemon

import (
	"cmp"
	"context"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/c4"
	"elemento.cloud/cluster-api-provider-elemento/daemon/rpc"
)

const (
	// straggle is how long many hosts are waited for when some answer late.
	straggle = 2 * time.Second
	// flock is how many VMs may be on their way to a host before another one
	// that fits less well is as good: hosts create VMs one after the other.
	flock = 4
)

// candidate is a host as a VM sees it.
type candidate struct {
	host     *host
	info     c4.HostInfo
	reserved reserved
	score    score
}

// score orders candidates; the smaller comes first.
type score struct {
	peers   int   // hosts with peers last
	sharing int   // 1 where slots would have to share threads
	flocks  int   // hosts that are busy with creating last
	room    int64 // MiB left afterwards; negated to spread
	chance  uint64
}

func (a score) compare(b score) int {
	return cmp.Or(cmp.Compare(a.peers, b.peers), cmp.Compare(a.sharing, b.sharing), cmp.Compare(a.flocks, b.flocks),
		cmp.Compare(a.room, b.room), cmp.Compare(a.chance, b.chance))
}

// lacks says what of the hardware a host does not have at all, however empty it
// is; "" when it has everything.
func lacks(info c4.HostInfo, spec *rpc.VMSpec) string {
	if a := architecture(spec); info.CPU.Arch != a {
		return fmt.Sprintf("architecture %s (it is %s)", a, cmp.Or(info.CPU.Arch, "unknown"))
	}
	for _, f := range spec.CpuFlags {
		if !slices.Contains(info.CPU.Flags, f) {
			return "CPU flag " + f
		}
	}
	if spec.RequireEcc && !info.Mem.IsECC {
		return "ECC memory"
	}
	if int64(spec.MemoryMib) > info.Mem.Size {
		return fmt.Sprintf("%d MiB of memory (it has %d)", spec.MemoryMib, info.Mem.Size)
	}
	if spec.FullPhysical && int(spec.Slots) > info.CPU.MaxCores {
		return fmt.Sprintf("%d cores (it has %d)", spec.Slots, info.CPU.MaxCores)
	}
	if int(spec.Slots) > info.CPU.MaxThreads {
		return fmt.Sprintf("%d hardware threads (it has %d)", spec.Slots, info.CPU.MaxThreads)
	}
	devices := devicesOf(spec)
	for _, d := range spec.PciDevices {
		if id := d.Vendor + ":" + d.Model; deviceCount(info, id, func(p c4.HostPCI) int { return p.Max }) < devices[id] {
			return fmt.Sprintf("%d PCI device(s) %s", devices[id], id)
		}
	}
	return ""
}

func deviceCount(info c4.HostInfo, id string, count func(c4.HostPCI) int) (n int) {
	for _, p := range info.PCI {
		if p.PCIID[0]+":"+p.PCIID[1] == id {
			n += count(p)
		}
	}
	return n
}

// fits tells whether there is room for the VM beside what is promised to
// others, as far as the host's own numbers tell.
func (c candidate) fits(spec *rpc.VMSpec) bool {
	if c.info.Mem.Avail-c.reserved.memory < int64(spec.MemoryMib) {
		return false
	}
	for id, n := range devicesOf(spec) {
		if deviceCount(c.info, id, func(p c4.HostPCI) int { return p.Avail })-c.reserved.devices[id] < n {
			return false
		}
	}
	return true
}

// allows compares what the host says of this very pledge with what is promised
// to others. Promised slots may share threads with these as far as the VM
// allows it.
func (c candidate) allows(spec *rpc.VMSpec, a c4.Allocation) bool {
	promised := c.reserved.threads
	if spec.FullPhysical {
		smt := smtOf(c.info)
		promised = (promised + smt - 1) / smt
	}
	return a.CanAllocate && a.AvailableSlots*int(spec.MaxOverprovision)-promised >= int(spec.Slots)
}

func smtOf(info c4.HostInfo) int { return max(info.CPU.SMTRatio, 1) }

// weigh scores a host. Control planes are spread: no peers, then the most room.
// Workers are packed: the least room that will do, so that large VMs find a
// place later.
func (c *candidate) weigh(req *rpc.PlaceVMRequest) {
	spec := req.Spec
	for _, p := range req.PeerHosts {
		if p == c.host.ID {
			c.score.peers++
		}
	}
	threads := int(spec.Slots)
	if spec.FullPhysical {
		threads *= smtOf(c.info)
	}
	if c.info.CPU.MaxThreads-c.info.CPU.UsedThreads-c.reserved.threads < threads {
		c.score.sharing = 1
	}
	c.score.flocks = c.reserved.vms / flock
	c.score.room = c.info.Mem.Avail - c.reserved.memory - int64(spec.MemoryMib)
	if req.Role == rpc.Role_ROLE_CONTROL_PLANE {
		c.score.room = -c.score.room
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(req.VmName + "\x00" + c.host.ID)) // never fails
	c.score.chance = h.Sum64()
}

func (s *service) PlaceVM(ctx context.Context, req *rpc.PlaceVMRequest) (*rpc.PlaceVMResponse, error) {
	if err := checkPlaceVM(req); err != nil {
		return nil, err
	}
	hosts, err := s.hosts.in(req.Domain)
	if err != nil {
		return nil, err
	}
	s.askHosts(ctx, hosts)
	// One at a time decides and reserves; the hosts are asked before and after.
	key := vmKey{req.ClientUid, req.VmName}
	refused := map[string]bool{}
	var failed error // of a host that did not say no
	for {
		chosen, why := s.choose(req, hosts, refused)
		if chosen == nil {
			return nil, cmp.Or(failed, why)
		}
		a, err := chosen.host.canAllocate(ctx, req.Spec)
		switch {
		case err != nil && c4.CodeOf(err) != c4.CannotPlace:
			failed = chosen.host.lookFailed("asking whether it has room", err)
		case err == nil && chosen.allows(req.Spec, a):
			return &rpc.PlaceVMResponse{Host: chosen.host.ID}, nil
		}
		if ctx.Err() != nil {
			s.reservations.drop(key.clientUID, key.name)
			return nil, cmp.Or(failed, gaveUp(ctx, rpc.Reason_REASON_NO_CAPACITY, chosen.host.ID, "no host was found in time that has room"))
		}
		refused[chosen.host.ID] = true
	}
}

// canAllocate asks whether the VM fits now. It takes half of the time that there
// is: what is left is for the other hosts.
func (h *host) canAllocate(ctx context.Context, spec *rpc.VMSpec) (c4.Allocation, error) {
	deadline, _ := ctx.Deadline() // every call has one
	short, cancel := context.WithTimeout(ctx, time.Until(deadline)/2)
	defer cancel()
	a, err := h.c4.CanAllocate(short, pledge(spec))
	if ctx.Err() == nil { // a caller who gives up says nothing about the host
		h.answered(err, nil)
	}
	return a, err
}

// askHosts brings what is known of the hosts' capacity up to date. It does not
// wait for hosts that are known not to answer, nor long for any.
func (s *service) askHosts(ctx context.Context, hosts []*host) {
	ctx, cancel := context.WithTimeout(ctx, straggle)
	defer cancel()
	each(hosts, func(_ int, h *host) {
		if !h.fresh() && h.worthAsking() {
			_, _ = h.info.get(ctx) // the host keeps the outcome
		}
	})
}

// choose returns the best candidate and reserves room on it, or why there is
// none.
func (s *service) choose(req *rpc.PlaceVMRequest, hosts []*host, refused map[string]bool) (*candidate, error) {
	s.choosing.Lock()
	defer s.choosing.Unlock()
	key := vmKey{req.ClientUid, req.VmName}
	var best *candidate
	var lacking []string
	silent := 0
	for _, h := range hosts {
		info, known := h.known()
		if !known {
			silent++
			continue
		}
		if what := lacks(info, req.Spec); what != "" {
			lacking = append(lacking, fmt.Sprintf("host %s has no %s", h.ID, what))
			continue
		}
		health := h.health()
		if health == rpc.HostHealth_HOST_HEALTH_READY { // and to the client?
			health = h.tenant(req.ClientUid).health()
		}
		switch health {
		case rpc.HostHealth_HOST_HEALTH_READY:
		case rpc.HostHealth_HOST_HEALTH_MAINTENANCE:
			continue
		default:
			silent++
			continue
		}
		if refused[h.ID] || slices.Contains(req.ExcludedHosts, h.ID) {
			continue
		}
		c := &candidate{host: h, info: info, reserved: s.reservations.on(h.ID, smtOf(info), key)}
		if !c.fits(req.Spec) {
			continue
		}
		if c.weigh(req); best == nil || c.score.compare(best.score) < 0 {
			best = c
		}
	}
	switch {
	case best != nil:
		s.reservations.put(key, best.host.ID, req.Spec)
		return best, nil
	case len(lacking) == len(hosts):
		return nil, failf(rpc.Reason_REASON_HARDWARE_ABSENT, "", "no host of domain %s can ever hold this VM: %s", req.Domain, strings.Join(lacking, "; "))
	}
	s.reservations.drop(key.clientUID, key.name)
	if silent == len(hosts) {
		return nil, failf(rpc.Reason_REASON_HOST_UNREACHABLE, "", "no host of domain %s answers", req.Domain)
	}
	return nil, failf(rpc.Reason_REASON_NO_CAPACITY, "", "no host of domain %s has room for this VM now: of %d hosts %d lack the hardware, %d do not answer, %d are full, excluded or in maintenance",
		req.Domain, len(hosts), len(lacking), silent, len(hosts)-len(lacking)-silent)
}

func (s *service) ListDomains(ctx context.Context, req *rpc.ListDomainsRequest) (*rpc.ListDomainsResponse, error) {
	if err := checkClient(req); err != nil {
		return nil, err
	}
	s.askHosts(ctx, s.hosts.all)
	res := &rpc.ListDomainsResponse{}
	for _, name := range s.hosts.domains() {
		d := &rpc.Domain{Name: name}
		for _, h := range s.hosts.all {
			if h.Domain == name {
				d.Hosts = append(d.Hosts, h.message())
			}
		}
		res.Domains = append(res.Domains, d)
	}
	return res, nil
}
