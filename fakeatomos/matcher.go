package fakeatomos

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"github.com/google/uuid"

	"elemento.cloud/cluster-api-provider-elemento/c4"
)

// communityVMs is how many VMs a host of the Community Edition takes.
const communityVMs = 2

// vm is a VM of a host.
type vm struct {
	vmRecord
	State c4.PowerState

	// What follows ends with power.
	phase        phase
	runningSince time.Time
	bootedAt     time.Time // zero until the guest has its address
	removing     bool
	guestUp      bool
	hung         bool // its boot never ends
	hidden       bool // C4 does not show its address
	interrupt    context.CancelFunc
	steps        []func()
	stepping     bool
}

// vmRecord is what of a VM survives power.
type vmRecord struct {
	UID      string    `json:"uid"`
	Owner    string    `json:"owner"`
	Name     string    `json:"name"`
	Pledge   c4.Pledge `json:"pledge"`
	Threads  []int     `json:"threads"`
	Volumes  []string  `json:"volumes"`
	NICs     []nic     `json:"nics"`
	Sequence int64     `json:"sequence"`
	// Arrived is when the register arrived, Created when it took effect, and
	// Dated what the host's clock showed then.
	Arrived time.Time `json:"arrived"`
	Created time.Time `json:"created"`
	Dated   time.Time `json:"dated"`
}

// nic is an interface of a VM. Its address, from the network's DHCP range, is
// the VM's for life; zero when the network gives none.
type nic struct {
	Network string     `json:"network"`
	MAC     string     `json:"mac"`
	Address netip.Addr `json:"address,omitzero"`
}

func (v *vm) limit() int { return limitOf(v.Pledge) }

// address is that of the first interface.
func (v *vm) address() netip.Addr {
	if len(v.NICs) == 0 {
		return netip.Addr{}
	}
	return v.NICs[0].Address
}

// shows tells whether C4 shows the address of an interface: its guest has asked
// for it, and there is one.
func (v *vm) shows(n nic) bool {
	return !v.bootedAt.IsZero() && !v.hidden && n.Address.IsValid()
}

// find returns a VM of a client, nil if it has none of that UID here.
func (h *Host) find(ref c4.VMRef) *vm {
	if v := h.vms[ref.VMUID]; v != nil && v.Owner == ref.ClientUID {
		return v
	}
	return nil
}

// inOrder lists the VMs as they were made.
func (h *Host) inOrder() []*vm {
	return slices.SortedFunc(maps.Values(h.vms), func(a, b *vm) int { return cmp.Compare(a.Sequence, b.Sequence) })
}

// changed notes that a VM shows something new.
func (h *Host) changed(v *vm) { delete(h.listed, v.Owner) }

// keepVM saves a VM that was changed.
func (h *Host) keepVM(v *vm) {
	h.changed(v)
	h.state.put("vms", v.UID, v.vmRecord)
	h.tellVM(v, "changed")
}

// forget is the end of a VM: what it held is free again.
func (h *Host) forget(v *vm) {
	for _, n := range v.NICs {
		h.fake.leases.release(n.Address)
	}
	for _, id := range v.Volumes {
		if vol := h.volumes[id]; vol != nil && vol.Reserved != "" {
			vol.Reserved = ""
			h.keepVolume(vol, "changed")
		}
	}
	delete(h.vms, v.UID)
	h.changed(v)
	h.state.delete("vms", v.UID)
}

func (h *Host) canAllocate(_ *request, p c4.Pledge) answer {
	if wrong := checkPledge(p); wrong != "" {
		return refuse(http.StatusBadRequest, "%s", wrong)
	}
	h.lock()
	defer h.mu.Unlock()
	_, a := h.allocate(p)
	return ok(a)
}

func (h *Host) register(r *request, in c4.RegisterRequest) answer {
	if in.ClientUID == "" || in.Name == "" {
		return refuse(http.StatusBadRequest, "client_uid and vm_name must not be empty")
	}
	if wrong := checkPledge(in.Pledge); wrong != "" {
		return refuse(http.StatusBadRequest, "req.%s", wrong)
	}
	h.lock()
	defer h.mu.Unlock()
	if h.community && len(h.vms) >= communityVMs {
		return refuse(http.StatusForbidden, "license_required")
	}
	v := &vm{vmRecord: vmRecord{
		UID: uuid.NewString(), Owner: in.ClientUID, Name: in.Name, Pledge: in.Pledge,
		Arrived: r.arrived, Created: time.Now(), Dated: h.now(),
	}, State: c4.ShutOff}
	for _, wanted := range in.Volumes {
		if refusal := h.connectVolume(v, wanted.VolumeID); refusal != nil {
			return *refusal
		}
	}
	threads, a := h.allocate(in.Pledge)
	if !a.CanAllocate {
		return noContent
	}
	v.Threads = threads
	for _, n := range in.Networks {
		if refusal := h.connectNetwork(v, n.NetworkUID); refusal != nil {
			for _, n := range v.NICs {
				h.fake.leases.release(n.Address)
			}
			return *refusal
		}
	}
	v.Sequence = h.next()
	h.vms[v.UID] = v
	h.changed(v)
	h.state.put("vms", v.UID, v.vmRecord)
	h.tellVM(v, "made")
	h.powerOn(v)
	r.entry.ID = v.UID
	h.log.Info("vm registered", "vm", v.Name, "uid", v.UID, "owner", v.Owner)
	shown := h.show(v)
	raw, err := json.Marshal(shown.ReqJSON)
	if err != nil {
		return refuse(http.StatusInternalServerError, "%v", err)
	}
	return ok(c4.RegisterReply{Registered: true, UniqueID: v.UID, ReqJSON: raw, XML: shown.XML})
}

func (h *Host) unregister(_ *request, ref c4.VMRef) answer {
	gone, refusal := h.beginRemoval(ref)
	if refusal != nil {
		return *refusal
	}
	<-gone
	h.lock() // the reply needs power too
	defer h.mu.Unlock()
	return ok(c4.UnregisterReply{Unregistered: true, UniqueID: ref.VMUID})
}

func (h *Host) beginRemoval(ref c4.VMRef) (<-chan struct{}, *answer) {
	h.lock()
	defer h.mu.Unlock()
	v := h.find(ref)
	if v == nil {
		a := notFound()
		return nil, &a
	}
	if v.removing {
		return nil, &noContent
	}
	h.log.Info("vm unregistered", "vm", v.Name, "uid", v.UID, "owner", v.Owner)
	return h.remove(v, "removed"), nil
}

func (h *Host) start(_ *request, ref c4.VMRef) answer {
	h.lock()
	defer h.mu.Unlock()
	v := h.find(ref)
	if v == nil {
		return notFound()
	}
	if v.phase != off || v.removing {
		return refuse(http.StatusConflict, "the VM is not shut off")
	}
	h.powerOn(v)
	return ok("OK")
}

func (h *Host) stop(_ *request, ref c4.VMRef) answer {
	h.lock()
	defer h.mu.Unlock()
	v := h.find(ref)
	if v == nil {
		return notFound()
	}
	switch v.phase {
	case off:
		return refuse(http.StatusConflict, "the VM is shut off")
	case stopping:
	default:
		h.powerOff(v)
	}
	return ok("OK")
}

func (h *Host) reboot(_ *request, ref c4.VMRef) answer {
	h.lock()
	defer h.mu.Unlock()
	v := h.find(ref)
	if v == nil {
		return notFound()
	}
	if v.phase != on {
		return refuse(http.StatusConflict, "the VM is not running")
	}
	h.powerCycle(v)
	return ok("OK")
}

// running lists all VMs of a client, whatever their power state. The reply is
// the same bytes as long as nothing changes.
func (h *Host) running(_ *request, ref c4.ClientRef) answer {
	h.lock()
	defer h.mu.Unlock()
	if !h.lists() {
		return ok(c4.RunningReply{VMs: []c4.RunningVM{}})
	}
	if raw, ok := h.listed[ref.ClientUID]; ok {
		return answer{status: http.StatusOK, body: raw}
	}
	list := c4.RunningReply{VMs: []c4.RunningVM{}}
	for _, v := range h.inOrder() {
		if v.Owner == ref.ClientUID {
			list.VMs = append(list.VMs, h.show(v))
		}
	}
	raw, err := json.Marshal(list)
	if err != nil {
		return refuse(http.StatusInternalServerError, "%v", err)
	}
	if len(list.VMs) > 0 { // else anyone could fill the cache with names
		h.listed[ref.ClientUID] = raw
	}
	return answer{status: http.StatusOK, body: raw}
}

// show is a VM as C4 tells it.
func (h *Host) show(v *vm) c4.RunningVM {
	p := v.Pledge
	firmware := cmp.Or(p.Misc.Firmware, "bios")
	rec := c4.VMRecord{
		Name: v.Name, Slots: p.CPU.Slots, Overprovision: v.limit(), AllowSMT: !p.CPU.FullPhysical,
		Arch: p.CPU.Arch, Flags: p.CPU.Flags,
		RAMSize: math.Round(float64(p.Mem.Capacity)/1024*1e6) / 1e6, ReqECC: p.Mem.RequireECC,
		OSFamily: p.Misc.OSFamily, OSFlavour: p.Misc.OSFlavour, Firmware: firmware,
		QEMUAgent: false, Autostart: true, CreationDate: c4.Date{Time: v.Dated}, States: v.State,
		Volumes: []c4.Volume{}, PCIDevs: []string{}, NetDevs: []string{}, Networks: []c4.NetworkRef{}, Tags: p.Misc.Tags,
	}
	for _, device := range sortedKeys(p.PCI.Devices) {
		for range p.PCI.Devices[device] {
			rec.PCIDevs = append(rec.PCIDevs, device)
		}
	}
	for _, id := range v.Volumes {
		if vol := h.volumes[id]; vol != nil {
			rec.Volumes = append(rec.Volumes, h.showVolume(vol, v.Owner))
		}
	}
	for i, n := range v.NICs {
		rec.Networks = append(rec.Networks, c4.NetworkRef{NetworkUID: n.Network})
		rec.NetDevs = append(rec.NetDevs, n.MAC)
		network := h.networks[n.Network]
		if i > 0 || network == nil {
			continue
		}
		rec.NetworkConfig = &c4.NetworkConfig{
			Name: network.Name, Interface: "vnet" + fmt.Sprint(v.Sequence), Type: "network",
			Source: network.DeviceName, Model: "virtio", MAC: n.MAC,
		}
		if v.shows(n) {
			address := n.Address.String()
			rec.NetworkConfig.IPv4 = &address
		}
	}
	return c4.RunningVM{
		UniqueID: v.UID, ReqJSON: rec,
		XML: "<domain type='kvm'><uuid>" + v.UID + "</uuid></domain>",
	}
}

// usage is the metering log, whose shape is not public.
func (h *Host) usage(r *request) answer {
	for _, key := range []string{"start_date", "end_date"} {
		if r.query.Get(key) == "" {
			return refuse(http.StatusBadRequest, "%s is missing", key)
		}
	}
	h.lock()
	defer h.mu.Unlock()
	type metered struct {
		VMUID     string    `json:"vm_uid"`
		ClientUID string    `json:"client_uid"`
		Slots     int       `json:"slots"`
		RAM       int64     `json:"ram"`
		Since     time.Time `json:"since"`
	}
	list := []metered{}
	for _, v := range h.inOrder() {
		list = append(list, metered{v.UID, v.Owner, v.Pledge.CPU.Slots, v.Pledge.Mem.Capacity, v.Dated})
	}
	return ok(map[string]any{"usage": list})
}

func (h *Host) vmUsage(_ *request, ref c4.VMRef) answer {
	u, runs, refusal := h.diskUsage(ref)
	if refusal != nil {
		return *refusal
	}
	if g := h.fake.opts.Guests; g != nil && runs { // which may take its time
		u.CPUMillis, u.MemoryMiB = g.Usage(ref.VMUID)
	}
	return ok(u)
}

// diskUsage is what of a VM's usage the host itself knows, and whether it runs.
func (h *Host) diskUsage(ref c4.VMRef) (u c4.VMUsage, runs bool, refusal *answer) {
	h.lock()
	defer h.mu.Unlock()
	v := h.find(ref)
	if v == nil {
		a := notFound()
		return u, false, &a
	}
	for _, id := range v.Volumes {
		if vol := h.volumes[id]; vol != nil {
			u.DiskBytes += vol.SizeOnDisk
		}
	}
	return u, v.State == c4.Running, nil
}

func (h *Host) attach(_ *request, in c4.AttachRequest) answer {
	h.lock()
	defer h.mu.Unlock()
	v := h.find(c4.VMRef{ClientUID: in.ClientUID, VMUID: in.VMUID})
	if v == nil || v.removing {
		return notFound()
	}
	var refusal *answer
	switch {
	case (in.VolumeID == "") == (in.NetworkUID == ""):
		return refuse(http.StatusBadRequest, "give one of volumeID and network_uid")
	case in.VolumeID != "":
		refusal = h.connectVolume(v, in.VolumeID)
	default:
		refusal = h.connectNetwork(v, in.NetworkUID)
	}
	if refusal != nil {
		return *refusal
	}
	h.keepVM(v)
	return ok("OK")
}

func (h *Host) detach(_ *request, in c4.AttachRequest) answer {
	h.lock()
	defer h.mu.Unlock()
	v := h.find(c4.VMRef{ClientUID: in.ClientUID, VMUID: in.VMUID})
	if v == nil || v.removing {
		return notFound()
	}
	switch {
	case (in.VolumeID == "") == (in.NetworkUID == ""):
		return refuse(http.StatusBadRequest, "give one of volumeID and network_uid")
	case in.VolumeID != "":
		i := slices.Index(v.Volumes, in.VolumeID)
		if i < 0 {
			return notFound()
		}
		if vol := h.volumes[in.VolumeID]; vol != nil && vol.Bootable && !vol.CloudInit && v.phase != off {
			return refuse(http.StatusConflict, "the VM runs from this volume")
		}
		v.Volumes = slices.Delete(v.Volumes, i, i+1)
	default:
		i := slices.IndexFunc(v.NICs, func(n nic) bool { return n.Network == in.NetworkUID })
		if i < 0 {
			return notFound()
		}
		h.fake.leases.release(v.NICs[i].Address)
		v.NICs = slices.Delete(v.NICs, i, i+1)
	}
	h.keepVM(v)
	return ok("OK")
}

// connectVolume gives a volume to a VM, unless it has it already.
func (h *Host) connectVolume(v *vm, id string) *answer {
	vol, refusal := h.usableVolume(id, v.Owner)
	if refusal != nil {
		return refusal
	}
	if slices.Contains(v.Volumes, id) {
		return nil
	}
	if !vol.Shareable && !h.fake.opts.NoBootVolumeFence {
		if holders := h.holders(id); len(holders) > 0 || vol.Reserved != "" && vol.Reserved != v.Owner {
			a := refuse(http.StatusConflict, "[VolumeAlreadyExported] volume %s is in use", id)
			return &a
		}
	}
	v.Volumes = append(v.Volumes, id)
	return nil
}

// connectNetwork puts a VM on a network, unless it is on it already.
func (h *Host) connectNetwork(v *vm, uid string) *answer {
	n := h.networks[uid]
	if n == nil {
		a := notFound()
		return &a
	}
	if slices.ContainsFunc(v.NICs, func(n nic) bool { return n.Network == uid }) {
		return nil
	}
	mac := newMAC()
	v.NICs = append(v.NICs, nic{Network: uid, MAC: mac, Address: h.lease(n, v.UID, mac)})
	return nil
}

// newMAC draws an address from the range that QEMU uses.
func newMAC() string {
	mac := net.HardwareAddr{0x52, 0x54, 0, 0, 0, 0}
	_, _ = rand.Read(mac[3:]) // never fails
	return mac.String()
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
