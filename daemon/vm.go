package daemon

import (
	"context"
	"slices"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/c4"
	"elemento.cloud/cluster-api-provider-elemento/daemon/rpc"
)

// aboutVM is what requests that name one VM have in common.
type aboutVM interface {
	GetClientUid() string
	GetHost() string
	GetVmName() string
}

// hold finds what is known of the VM's client on its host, and takes the VM's
// lock.
func (s *service) hold(ctx context.Context, req aboutVM) (t *tenant, unlock func(), err error) {
	h, err := s.hosts.get(req.GetHost())
	if err != nil {
		return nil, nil, err
	}
	t = h.tenant(req.GetClientUid())
	unlock, ok := t.locks.lock(ctx, req.GetVmName())
	if !ok {
		return nil, nil, gaveUp(ctx, rpc.Reason_REASON_WRONG_STATE, h.ID, "another call for VM "+req.GetVmName()+" is under way and takes long")
	}
	return t, unlock, nil
}

func vmNotFound(h *host, name string) error {
	return failf(rpc.Reason_REASON_VM_NOT_FOUND, h.ID, "host %s has no VM %s of this client", h.ID, name)
}

// find looks for the VM on its host.
func (t *tenant) find(ctx context.Context, name string) (*seenVM, error) {
	seen, err := t.look(ctx)
	if err != nil {
		return nil, err
	}
	if vm := seen.vms[name]; vm != nil {
		return vm, nil
	}
	return nil, vmNotFound(t.host, name)
}

func (s *service) EnsureVM(ctx context.Context, req *rpc.EnsureVMRequest) (*rpc.EnsureVMResponse, error) {
	if err := checkEnsureVM(req); err != nil {
		return nil, err
	}
	t, unlock, err := s.hold(ctx, req)
	if err != nil {
		return nil, err
	}
	defer unlock()
	vm, err := (&ensuring{tenant: t, req: req, name: req.VmName, imageURL: s.imageURL}).run(ctx)
	if err != nil {
		return nil, err
	}
	s.reservations.drop(req.ClientUid, req.VmName)
	return &rpc.EnsureVMResponse{Vm: vm.msg}, nil
}

func (s *service) DeleteVM(ctx context.Context, req *rpc.DeleteVMRequest) (*rpc.DeleteVMResponse, error) {
	if err := checkVM(req); err != nil {
		return nil, err
	}
	t, unlock, err := s.hold(ctx, req)
	if err != nil {
		return nil, err
	}
	defer unlock()
	s.reservations.drop(req.ClientUid, req.VmName)
	d := &deleting{tenant: t, elsewhere: s.hosts.besides(t.host), name: req.VmName, until: time.Now().Add(patience)}
	if req.ForceAfter != nil {
		d.force = req.ForceAfter.AsTime()
	}
	if deadline, ok := ctx.Deadline(); ok {
		d.until = earlier(d.until, deadline.Add(-slowest)) // time to answer
	}
	remaining, err := d.run(ctx)
	if err != nil {
		return nil, err
	}
	return &rpc.DeleteVMResponse{Gone: len(remaining) == 0, Remaining: remaining}, nil
}

func (s *service) GetVM(ctx context.Context, req *rpc.GetVMRequest) (*rpc.GetVMResponse, error) {
	if err := checkVM(req); err != nil {
		return nil, err
	}
	h, err := s.hosts.get(req.Host)
	if err != nil {
		return nil, err
	}
	t := h.tenant(req.ClientUid)
	vm, err := t.find(ctx, req.VmName)
	if err != nil {
		return nil, err
	}
	res := &rpc.GetVMResponse{Vm: vm.msg}
	// The VM is what was asked for; not every host can tell what it uses.
	if u, err := h.c4.Usage(ctx, t.ref(vm.vm)); err == nil {
		res.Usage = &rpc.VMUsage{CpuMillis: uint64(max(u.CPUMillis, 0)), MemoryMib: uint64(max(u.MemoryMiB, 0)), DiskBytes: uint64(max(u.DiskBytes, 0))}
	}
	return res, nil
}

func (s *service) ListVMs(ctx context.Context, req *rpc.ListVMsRequest) (*rpc.ListVMsResponse, error) {
	if err := checkClient(req); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, straggle)
	defer cancel()
	res := &rpc.ListVMsResponse{Hosts: make([]*rpc.HostObservation, len(s.hosts.all))}
	each(s.hosts.all, func(i int, h *host) {
		t := h.tenant(req.ClientUid)
		o, err := t.vms.get(ctx)
		if err != nil {
			res.Hosts[i] = t.observed(observation{}, true)
			return
		}
		res.Hosts[i] = t.observed(o, false)
	})
	return res, nil
}

// wishedStates says what a power action leads to.
var wishedStates = map[rpc.PowerAction]func(*seenVM) bool{
	rpc.PowerAction_POWER_ACTION_ON:     isUp,
	rpc.PowerAction_POWER_ACTION_OFF:    isDown,
	rpc.PowerAction_POWER_ACTION_REBOOT: isUp,
}

func (s *service) SetVMPower(ctx context.Context, req *rpc.SetVMPowerRequest) (*rpc.SetVMPowerResponse, error) {
	if err := checkSetVMPower(req); err != nil {
		return nil, err
	}
	t, unlock, err := s.hold(ctx, req)
	if err != nil {
		return nil, err
	}
	defer unlock()
	vm, err := t.find(ctx, req.VmName)
	if err != nil {
		return nil, err
	}
	act := map[rpc.PowerAction]func(context.Context, c4.VMRef) error{
		rpc.PowerAction_POWER_ACTION_ON:     t.host.c4.Start,
		rpc.PowerAction_POWER_ACTION_OFF:    t.host.c4.Stop,
		rpc.PowerAction_POWER_ACTION_REBOOT: t.host.c4.Reboot,
	}[req.Action]
	err = act(ctx, t.ref(vm.vm))
	failed := error(nil)
	if err != nil {
		failed = t.host.changeFailed("changing the power of VM "+req.VmName, err)
	}
	if failed != nil && reasonOf(failed) != rpc.Reason_REASON_WRONG_STATE {
		return nil, failed
	}
	if vm, err = t.find(ctx, req.VmName); err != nil {
		return nil, err
	}
	// What is to be started runs already, what is to be stopped is off: fine.
	already := req.Action == rpc.PowerAction_POWER_ACTION_ON && vm.vm.State == c4.Running || req.Action == rpc.PowerAction_POWER_ACTION_OFF && isDown(vm)
	if failed != nil && !already {
		return nil, failed
	}
	if met := wishedStates[req.Action]; !met(vm) {
		t.expect(req.VmName, met)
	}
	return &rpc.SetVMPowerResponse{Vm: vm.msg}, nil
}

// attached tells whether the VM has the volume.
func attached(vm c4.VM, volumeID string) bool {
	return slices.ContainsFunc(vm.Volumes, func(v c4.Volume) bool { return v.VolumeID == volumeID })
}

func (s *service) AttachVolume(ctx context.Context, req *rpc.AttachVolumeRequest) (*rpc.AttachVolumeResponse, error) {
	if err := checkAttachVolume(req); err != nil {
		return nil, err
	}
	t, unlock, err := s.hold(ctx, req)
	if err != nil {
		return nil, err
	}
	defer unlock()
	vm, err := t.find(ctx, req.VmName)
	if err != nil {
		return nil, err
	}
	volumes, err := t.lookVolumes(ctx)
	if err != nil {
		return nil, err
	}
	name := dataVolumeName(req.VmName, req.Volume.Name)
	v, found := volumeNamed(name, volumes)
	if found && attached(vm.vm, v.VolumeID) {
		return &rpc.AttachVolumeResponse{}, nil
	}
	if !found {
		if t.unseen.may(name, landsLate) {
			return nil, notShown(t.host, name)
		}
		v.VolumeID, err = t.making(name)(t.host.c4.CreateVolume(ctx, dataVolume(req.ClientUid, name, req.Volume)))
		if err != nil {
			return nil, t.host.changeFailed("making data volume "+req.Volume.Name, err)
		}
	}
	err = t.host.c4.Attach(ctx, c4.AttachRequest{ClientUID: req.ClientUid, VMUID: vm.vm.UID, VolumeID: v.VolumeID})
	if c4.CodeOf(err) == c4.NotFound {
		return nil, t.host.failed("attaching data volume "+req.Volume.Name, err, rpc.Reason_REASON_WRONG_STATE, "the host does not show the new volume yet, or the VM has just gone")
	}
	if err != nil {
		return nil, t.host.changeFailed("attaching data volume "+req.Volume.Name, err)
	}
	t.poller.kick()
	return &rpc.AttachVolumeResponse{}, nil
}

func (s *service) DetachVolume(ctx context.Context, req *rpc.DetachVolumeRequest) (*rpc.DetachVolumeResponse, error) {
	if err := checkDetachVolume(req); err != nil {
		return nil, err
	}
	t, unlock, err := s.hold(ctx, req)
	if err != nil {
		return nil, err
	}
	defer unlock()
	seen, err := t.look(ctx)
	if err != nil {
		return nil, err
	}
	volumes, err := t.lookVolumes(ctx)
	if err != nil {
		return nil, err
	}
	name := dataVolumeName(req.VmName, req.VolumeName)
	volumes = slices.DeleteFunc(volumes, func(v c4.Volume) bool { return v.Name != name })
	if vm := seen.vms[req.VmName]; vm != nil {
		for _, v := range volumes {
			if !attached(vm.vm, v.VolumeID) {
				continue
			}
			err := t.host.c4.Detach(ctx, c4.AttachRequest{ClientUID: req.ClientUid, VMUID: vm.vm.UID, VolumeID: v.VolumeID})
			if err != nil && c4.CodeOf(err) != c4.NotFound {
				return nil, t.host.changeFailed("detaching data volume "+req.VolumeName, err)
			}
		}
	}
	if err := t.destroyVolumes(ctx, volumes); err != nil {
		return nil, err
	}
	t.poller.kick()
	return &rpc.DetachVolumeResponse{}, nil
}

func (s *service) AttachNetwork(ctx context.Context, req *rpc.AttachNetworkRequest) (*rpc.AttachNetworkResponse, error) {
	if err := checkAttachNetwork(req); err != nil {
		return nil, err
	}
	t, unlock, err := s.hold(ctx, req)
	if err != nil {
		return nil, err
	}
	defer unlock()
	vm, err := t.find(ctx, req.VmName)
	if err != nil {
		return nil, err
	}
	uid, err := t.host.ensureNetwork(ctx, req.ClientUid, req.Network)
	if err != nil {
		return nil, err
	}
	if slices.Contains(vm.vm.Networks, c4.NetworkRef{NetworkUID: uid}) {
		return &rpc.AttachNetworkResponse{}, nil
	}
	err = t.host.c4.Attach(ctx, c4.AttachRequest{ClientUID: req.ClientUid, VMUID: vm.vm.UID, NetworkUID: uid})
	if err != nil {
		return nil, t.host.changeFailed("attaching network "+req.Network.Name, err)
	}
	t.poller.kick()
	return &rpc.AttachNetworkResponse{}, nil
}

func (s *service) DetachNetwork(ctx context.Context, req *rpc.DetachNetworkRequest) (*rpc.DetachNetworkResponse, error) {
	if err := checkDetachNetwork(req); err != nil {
		return nil, err
	}
	t, unlock, err := s.hold(ctx, req)
	if err != nil {
		return nil, err
	}
	defer unlock()
	vm, err := t.find(ctx, req.VmName)
	if err != nil {
		return nil, err
	}
	networks, err := t.host.lookNetworks(ctx)
	if err != nil {
		return nil, err
	}
	for _, n := range networks {
		if n.Name != req.NetworkName || !slices.Contains(vm.vm.Networks, c4.NetworkRef{NetworkUID: n.NetworkUID}) {
			continue
		}
		err := t.host.c4.Detach(ctx, c4.AttachRequest{ClientUID: req.ClientUid, VMUID: vm.vm.UID, NetworkUID: n.NetworkUID})
		if err != nil && c4.CodeOf(err) != c4.NotFound {
			return nil, t.host.changeFailed("detaching network "+req.NetworkName, err)
		}
	}
	t.poller.kick()
	return &rpc.DetachNetworkResponse{}, nil
}
