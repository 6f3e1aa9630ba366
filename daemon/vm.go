package daemon

import (
	"context"
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

// holdVM is hold for a VM that has to be there.
func (s *service) holdVM(ctx context.Context, req aboutVM) (t *tenant, vm *seenVM, unlock func(), err error) {
	t, unlock, err = s.hold(ctx, req)
	if err != nil {
		return nil, nil, nil, err
	}
	if vm, err = t.find(ctx, req.GetVmName()); err != nil {
		unlock()
		return nil, nil, nil, err
	}
	return t, vm, unlock, nil
}

// notFound is the failure of who needs a VM that the host does not list.
func (t *tenant) notFound(name string) error {
	if err := t.settling(); err != nil {
		return err
	}
	return failf(rpc.Reason_REASON_VM_NOT_FOUND, t.host.ID, "host %s has no VM %s of this client", t.host.ID, name)
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
	return nil, t.notFound(name)
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
	// The host tells of what it takes when it is made; an image may be copied until then.
	s.reservations.put(vmKey{req.ClientUid, req.VmName}, req.Host, req.Spec)
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
	d := &deleting{tenant: t, elsewhere: s.hosts.besides(t.host), name: req.VmName, until: time.Now().Add(patience), known: map[string]c4.Volume{}}
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
	// The VM is what was asked for; not every host can tell what it uses, and
	// none may hold the answer up.
	ctx, cancel := context.WithTimeout(ctx, straggle)
	defer cancel()
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
	t, vm, unlock, err := s.holdVM(ctx, req)
	if err != nil {
		return nil, err
	}
	defer unlock()
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
