package daemon

import (
	"context"
	"slices"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/c4"
	"elemento.cloud/cluster-api-provider-elemento/daemon/rpc"
)

// What comes and goes while a VM lives. A host is not believed when it says that
// it has done it: these calls return once it shows so.

func (s *service) AttachVolume(ctx context.Context, req *rpc.AttachVolumeRequest) (*rpc.AttachVolumeResponse, error) {
	if err := checkAttachVolume(req); err != nil {
		return nil, err
	}
	t, vm, unlock, err := s.holdVM(ctx, req)
	if err != nil {
		return nil, err
	}
	defer unlock()
	name := dataVolumeName(req.VmName, req.Volume.Name)
	if hasVolume(vm, name, nil) {
		return &rpc.AttachVolumeResponse{}, nil
	}
	v, err := t.ensureDataVolume(ctx, name, req.Volume)
	if err != nil {
		return nil, err
	}
	has := func(vm *seenVM) bool { return hasVolume(vm, name, []c4.Volume{v}) }
	if !has(vm) {
		err = t.attach(ctx, vm, c4.AttachRequest{VolumeID: v.VolumeID}, "data volume "+req.Volume.Name, has)
	}
	if err != nil {
		return nil, err
	}
	return &rpc.AttachVolumeResponse{}, nil
}

// ensureDataVolume returns the data volume of that name, which it makes if there
// is none.
func (t *tenant) ensureDataVolume(ctx context.Context, name string, spec *rpc.Volume) (c4.Volume, error) {
	volumes, err := t.lookVolumes(ctx)
	if err != nil {
		return c4.Volume{}, err
	}
	if v, found := volumeNamed(name, volumes); found {
		return v, nil
	}
	if t.unseen.may(name, landsLate) {
		return c4.Volume{}, notShown(t.host, name)
	}
	id, err := t.making(name)(t.host.c4.CreateVolume(ctx, dataVolume(t.clientUID, name, spec)))
	if err != nil {
		return c4.Volume{}, t.host.changeFailed("making data volume "+spec.Name, err)
	}
	return c4.Volume{VolumeID: id, Name: name}, nil
}

// hasVolume tells whether the VM has a volume of that name, or one of these: not
// every host tells the names of a VM's volumes.
func hasVolume(vm *seenVM, name string, these []c4.Volume) bool {
	return vm != nil && slices.ContainsFunc(vm.vm.Volumes, func(v c4.Volume) bool {
		return name != "" && v.Name == name || slices.ContainsFunc(these, func(t c4.Volume) bool { return t.VolumeID == v.VolumeID })
	})
}

func hasNetwork(vm *seenVM, uid string) bool {
	return vm != nil && slices.Contains(vm.vm.Networks, c4.NetworkRef{NetworkUID: uid})
}

// attach gives the VM what it is to have.
func (t *tenant) attach(ctx context.Context, vm *seenVM, r c4.AttachRequest, what string, has func(*seenVM) bool) error {
	r.ClientUID, r.VMUID = t.clientUID, vm.vm.UID
	err := t.host.c4.Attach(ctx, r)
	if code := c4.CodeOf(err); code == c4.NotFound {
		return t.host.failed("attaching "+what, err, rpc.Reason_REASON_WRONG_STATE, "the host does not show it yet, or the VM has just gone")
	} else if err != nil && !code.Ambiguous() {
		return t.host.changeFailed("attaching "+what, err)
	}
	return t.shown(ctx, vm.vm.Name, "attaching "+what, err, has)
}

// detach takes from the VM what it has.
func (t *tenant) detach(ctx context.Context, vm *seenVM, r c4.AttachRequest, what string, has func(*seenVM) bool) error {
	r.ClientUID, r.VMUID = t.clientUID, vm.vm.UID
	err := t.host.c4.Detach(ctx, r)
	if code := c4.CodeOf(err); err != nil && code != c4.NotFound && !code.Ambiguous() {
		return t.host.changeFailed("detaching "+what, err)
	}
	return t.shown(ctx, vm.vm.Name, "detaching "+what, err, func(vm *seenVM) bool { return !has(vm) })
}

// shown looks, for a moment, until the host shows what a change that ended with
// err has led to.
func (t *tenant) shown(ctx context.Context, name, what string, err error, met func(*seenVM) bool) error {
	defer t.poller.kick()
	until := time.Now().Add(patience)
	for pause := quickest; ; pause = min(2*pause, slowest) {
		seen, lookErr := t.look(ctx)
		switch {
		case lookErr != nil && err != nil:
			return t.host.changeFailed(what, err)
		case lookErr != nil:
			return lookErr
		case met(seen.vms[name]):
			return nil
		case err != nil && c4.CodeOf(err).Ambiguous():
			return t.host.changeFailed(what, err)
		case !time.Now().Before(until) || !wait(ctx, pause):
			return failf(rpc.Reason_REASON_OUTCOME_UNKNOWN, t.host.ID, "host %s: %s: the host has agreed and does not show it yet", t.host.ID, what)
		}
	}
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
	if err := t.removeDataVolume(ctx, req.VmName, req.VolumeName); err != nil {
		return nil, err
	}
	return &rpc.DetachVolumeResponse{}, nil
}

// removeDataVolume detaches a data volume from the VM, if there is one, and
// destroys it until the host shows neither.
func (t *tenant) removeDataVolume(ctx context.Context, vmName, volumeName string) error {
	name := dataVolumeName(vmName, volumeName)
	until := time.Now().Add(patience)
	known := map[string]c4.Volume{} // those that this call has seen, by ID
	for pause := quickest; ; pause = min(2*pause, slowest) {
		seen, err := t.look(ctx)
		if err != nil {
			return err
		}
		all, err := t.lookVolumes(ctx)
		if err != nil {
			return err
		}
		vm := seen.vms[vmName]
		for _, v := range all {
			if v.Name == name {
				known[v.VolumeID] = v
			}
		}
		var held []c4.Volume
		if vm != nil {
			for _, v := range vm.vm.Volumes {
				if _, is := known[v.VolumeID]; is || v.Name == name {
					known[v.VolumeID] = v
					held = append(held, v)
				}
			}
		}
		left, err := t.stillThere(ctx, known)
		switch {
		case err != nil:
			return err
		case len(left) == 0 && len(held) == 0 && t.unseen.may(name, landsLate):
			return notShown(t.host, name)
		case len(left) == 0 && len(held) == 0:
			return t.settling()
		case !time.Now().Before(until):
			return failf(rpc.Reason_REASON_OUTCOME_UNKNOWN, t.host.ID, "host %s still shows volume %s, which it was told to destroy", t.host.ID, name)
		}
		for _, v := range held {
			has := func(vm *seenVM) bool { return hasVolume(vm, "", []c4.Volume{v}) }
			if err := t.detach(ctx, vm, c4.AttachRequest{VolumeID: v.VolumeID}, "data volume "+volumeName, has); err != nil {
				return err
			}
		}
		if err := t.destroyVolumes(ctx, left); err != nil {
			return err
		}
		if !wait(ctx, pause) {
			return gaveUp(ctx, rpc.Reason_REASON_OUTCOME_UNKNOWN, t.host.ID, "host "+t.host.ID+" was told to destroy volume "+name)
		}
	}
}

func (s *service) AttachNetwork(ctx context.Context, req *rpc.AttachNetworkRequest) (*rpc.AttachNetworkResponse, error) {
	if err := checkAttachNetwork(req); err != nil {
		return nil, err
	}
	t, vm, unlock, err := s.holdVM(ctx, req)
	if err != nil {
		return nil, err
	}
	defer unlock()
	uid, err := t.host.ensureNetwork(ctx, req.ClientUid, req.Network)
	if err != nil {
		return nil, err
	}
	has := func(vm *seenVM) bool { return hasNetwork(vm, uid) }
	if !has(vm) {
		err = t.attach(ctx, vm, c4.AttachRequest{NetworkUID: uid}, "network "+req.Network.Name, has)
	}
	if err != nil {
		return nil, err
	}
	return &rpc.AttachNetworkResponse{}, nil
}

func (s *service) DetachNetwork(ctx context.Context, req *rpc.DetachNetworkRequest) (*rpc.DetachNetworkResponse, error) {
	if err := checkDetachNetwork(req); err != nil {
		return nil, err
	}
	t, vm, unlock, err := s.holdVM(ctx, req)
	if err != nil {
		return nil, err
	}
	defer unlock()
	networks, err := t.host.lookNetworks(ctx)
	if err != nil {
		return nil, err
	}
	for _, on := range vm.vm.Networks {
		i := slices.IndexFunc(networks, func(n c4.Network) bool { return n.NetworkUID == on.NetworkUID })
		if i < 0 { // no list at all reads as an empty one
			return nil, failf(rpc.Reason_REASON_HOST_FAILED, t.host.ID, "host %s does not show network %s, which VM %s is on", t.host.ID, on.NetworkUID, req.VmName)
		}
		n, has := networks[i], func(vm *seenVM) bool { return hasNetwork(vm, on.NetworkUID) }
		if n.Name != req.NetworkName {
			continue
		}
		if err := t.detach(ctx, vm, c4.AttachRequest{NetworkUID: n.NetworkUID}, "network "+req.NetworkName, has); err != nil {
			return nil, err
		}
	}
	return &rpc.DetachNetworkResponse{}, nil
}
