package daemon

import (
	"context"
	"slices"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/c4"
	"elemento.cloud/cluster-api-provider-elemento/daemon/rpc"
)

const (
	// patience is how long one DeleteVM call waits for what is under way, so
	// that a guest which stops quickly is gone after one call.
	patience = 500 * time.Millisecond
	// stopAgain is when a guest that still runs is asked to stop once more.
	stopAgain = 15 * time.Second
)

// deleting is one DeleteVM call. The caller holds the VM's lock.
type deleting struct {
	*tenant
	elsewhere []*host // the other hosts
	name      string
	force     time.Time // from when power may be cut
	until     time.Time // how long to wait
	// known are the volumes of the VM, by ID, that this call has seen.
	known map[string]c4.Volume
}

// run takes steps until nothing is left or something takes its time. Each step
// follows from what the host shows and from nothing else, so that a call may
// come from anywhere and any number of times.
func (d *deleting) run(ctx context.Context) (remaining []string, err error) {
	for absent, tries := 0, 0; ; {
		seen, err := patiently(ctx, d.look)
		if err != nil {
			return nil, err
		}
		vms := seen.named(d.name)
		if len(vms) == 0 {
			if err := d.settling(); err != nil {
				return []string{"maybe all of it; " + messageOf(err)}, nil
			}
		}
		var volumes []c4.Volume
		if len(vms) == 0 {
			if volumes, err = patiently(ctx, d.lookVolumes); err != nil {
				return nil, err
			}
			if volumes = volumesOf(d.name, volumes); len(volumes) == 0 && absent > 0 {
				if volumes, err = patiently(ctx, func(ctx context.Context) ([]c4.Volume, error) { return d.stillThere(ctx, d.known) }); err != nil {
					return nil, err
				}
			}
		}
		d.remember(vms, volumes)
		if len(vms)+len(volumes) > 0 {
			// A host may take a moment to do what it has agreed to.
			if absent = 0; tries > 1 && !d.pause(ctx, quickest) {
				return leftOver(vms, volumes), nil
			}
			tries++
			if len(vms) > 0 {
				remaining, err = patiently(ctx, func(ctx context.Context) ([]string, error) { return d.removeVMs(ctx, vms) })
			} else {
				err = patientlyDo(ctx, func(ctx context.Context) error { return d.removeVolumes(ctx, volumes) })
			}
			if err != nil || remaining != nil {
				return remaining, err
			}
			continue
		}
		// Nothing is to be seen. Believe it when it is so again a moment later,
		// and no request of ours can still land.
		if absent++; absent > 1 && !d.mayLand(d.name) {
			if err := d.removeOrphans(ctx, seen); err != nil {
				return []string{"port forwards that lead to the VM; " + messageOf(err)}, nil
			}
			d.forget(d.name)
			d.forgetCopy(bootVolumeName(d.name))
			return nil, nil
		}
		switch {
		case absent == 1: // slow hosts would never be asked twice in time
			if !wait(ctx, quickest) {
				return []string{"nothing that shows; the host has to be asked once more"}, nil
			}
		case !d.pause(ctx, slowest): // it may take minutes
			return []string{"maybe a request whose answer was lost and that may still take effect"}, nil
		}
	}
}

// remember notes which volumes the VM has had.
func (d *deleting) remember(vms []c4.VM, volumes []c4.Volume) {
	for _, vm := range vms {
		volumes = append(volumes, volumesOf(d.name, vm.Volumes)...)
	}
	for _, v := range volumes {
		d.known[v.VolumeID] = v
	}
}

// leftOver says for people what is left.
func leftOver(vms []c4.VM, volumes []c4.Volume) (left []string) {
	for _, vm := range vms {
		left = append(left, "VM, "+string(vm.State))
	}
	for _, v := range volumes {
		left = append(left, "volume "+v.Name)
	}
	return left
}

// pause waits a little, if the call has time.
func (d *deleting) pause(ctx context.Context, moment time.Duration) bool {
	return time.Now().Before(d.until) && wait(ctx, moment)
}

// removeVMs removes the VMs of the name (there should be one), unless that
// takes its time.
func (d *deleting) removeVMs(ctx context.Context, vms []c4.VM) (remaining []string, err error) {
	if time.Now().Before(d.force) {
		if down, err := d.shutDown(ctx, vms); err != nil || !down {
			return []string{"VM is shutting down"}, err
		}
	}
	switch err := patientlyDo(ctx, func(ctx context.Context) error { return d.removeForwards(ctx, vms) }); {
	case err != nil && !d.goesOn():
		return nil, err
	case err != nil || d.settling() != nil: // it may not list forwards yet
		d.mu.Lock()
		d.orphans[d.name] = vms
		d.mu.Unlock()
	}
	for _, vm := range vms {
		err := d.host.c4.Unregister(ctx, d.ref(vm))
		if code := c4.CodeOf(err); err != nil && code != c4.NotFound && code != c4.NotDone {
			return nil, d.host.changeFailed("removing VM "+d.name, err)
		}
	}
	d.host.capacityChanged()
	return nil, nil
}

// shutDown asks the guests to stop and waits a little for it; it is true too
// when the time has come to cut power.
func (d *deleting) shutDown(ctx context.Context, vms []c4.VM) (down bool, err error) {
	running := 0
	for _, vm := range vms {
		if vm.State != c4.ShutOff {
			running++
			if err := d.stop(ctx, vm); err != nil {
				return false, err
			}
		}
	}
	if running == 0 || !time.Now().Before(d.force) {
		return true, nil
	}
	ctx, cancel := context.WithDeadline(ctx, earlier(d.until, d.force))
	defer cancel()
	return d.await(ctx, d.name, isDown) || !time.Now().Before(d.force), nil
}

// stop asks the guest to shut down, once in a while.
func (d *deleting) stop(ctx context.Context, vm c4.VM) error {
	d.mu.Lock()
	asked := time.Since(d.stops[vm.UID]) < stopAgain
	d.mu.Unlock()
	if asked {
		return nil
	}
	// A host that takes long over it must not keep power from being cut in time.
	short, cancel := context.WithDeadline(ctx, earlier(time.Now().Add(lookTimeout), d.force))
	defer cancel()
	err := d.host.c4.Stop(short, d.ref(vm))
	switch code := c4.CodeOf(err); {
	case err == nil, code == c4.NotFound, code == c4.WrongState: // gone or down already
	case code == c4.Unsupported:
		d.force = time.Time{} // all that is left is to cut power
	case short.Err() != nil && ctx.Err() == nil: // asked, at all events
	default:
		return d.host.changeFailed("shutting down VM "+d.name, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for uid, at := range d.stops {
		if time.Since(at) > stopAgain {
			delete(d.stops, uid)
		}
	}
	d.stops[vm.UID] = time.Now()
	return nil
}

// removeForwards removes the forwards that lead to the VMs, while these are there if it
// can be: afterwards only this daemon's memory may say whose they were.
func (d *deleting) removeForwards(ctx context.Context, vms []c4.VM) error {
	if err := d.removeForwardsOf(ctx, d.host, vms); err != nil {
		return err
	}
	// Those of other hosts, which DeleteForward removes where they say whose
	// they are. Where they do not, there is no other time than now; but a VM
	// does not stay because another host is away.
	each(d.elsewhere, func(_ int, h *host) {
		if h.tellsOwners() || !h.worthAsking() {
			return
		}
		if err := d.removeForwardsOf(ctx, h, vms); err != nil {
			d.host.log.Warn("could not remove forwards to a VM", "vm", d.name, "host", h.ID, "client", d.clientUID, "err", err)
		}
	})
	return nil
}

// goesOn tells whether the forwards to the VM have failed to go for so long that its
// power is cut all the same.
func (d *deleting) goesOn() bool {
	if !d.forwarded.may(d.name, landsLate) {
		d.forwarded.add(d.name)
	}
	return !d.forwarded.may(d.name, landsSoon)
}

// removeOrphans removes the forwards of a VM that had to go before them. Its address may
// be that of another one by now.
func (d *deleting) removeOrphans(ctx context.Context, seen observation) error {
	d.mu.Lock()
	vms := slices.Clone(d.orphans[d.name])
	d.mu.Unlock()
	if len(vms) == 0 {
		return nil
	}
	for i := range vms {
		for _, other := range seen.vms {
			if other.vm.Address == vms[i].Address {
				vms[i].Address = ""
			}
		}
	}
	if err := d.removeForwards(ctx, vms); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.orphans, d.name)
	return nil
}

// removeForwardsOf removes those of one host.
func (d *deleting) removeForwardsOf(ctx context.Context, at *host, vms []c4.VM) error {
	all, err := at.forwards.get(ctx)
	if err != nil {
		if c4.CodeOf(err) == c4.Unsupported {
			return nil
		}
		return at.lookFailed("asking for its forwards", err)
	}
	leads := func(f c4.Forward) (bool, error) {
		if f.CreatorUID != "" && (f.CreatorUID != d.clientUID || at != d.host) {
			return false, nil
		}
		for _, vm := range vms {
			if leads, err := d.host.leadsTo(ctx, at, f, vm); leads || err != nil {
				return leads, err
			}
		}
		return false, nil
	}
	for _, f := range all {
		is, err := leads(f)
		if err == nil && is {
			err = at.removeForward(ctx, uint32(f.Port), leads)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// removeVolumes destroys the volumes of a VM that is gone. One that the host
// will not let go of shows again at the next look.
func (d *deleting) removeVolumes(ctx context.Context, volumes []c4.Volume) error {
	if err := d.unexport(ctx, volumes); err != nil {
		return err
	}
	err := d.destroyVolumes(ctx, volumes)
	if reasonOf(err) == rpc.Reason_REASON_IN_USE {
		return nil
	}
	return err
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
