package fakeatomos

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/c4"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos/guest"
)

// phase is where a VM is between its power states.
type phase int

const (
	off phase = iota
	starting
	on
	stopping
	rebooting
)

// The power of a VM changes in steps that may take time (BootTime, a guest that
// ends). They run one after the other in a goroutine that exists only while
// there are any. Calls decide under the host's lock and leave the steps to it.
// Functions here are called with that lock held; steps run without it.

// then appends a step.
func (h *Host) then(v *vm, step func()) {
	v.steps = append(v.steps, step)
	if v.stepping {
		return
	}
	v.stepping = true
	h.fake.work.Go(func() {
		for {
			h.mu.Lock()
			if len(v.steps) == 0 {
				v.stepping = false
				h.mu.Unlock()
				return
			}
			step := v.steps[0]
			v.steps = v.steps[1:]
			h.mu.Unlock()
			step()
		}
	})
}

// transition begins a change of power in place of the one under way. Its
// context ends when the next one begins or the host loses power.
func (h *Host) transition(v *vm, to phase) context.Context {
	if v.interrupt != nil {
		v.interrupt()
	}
	ctx, cancel := context.WithCancel(h.power)
	v.interrupt, v.phase = cancel, to
	return ctx
}

// powerOn starts a VM that is off.
func (h *Host) powerOn(v *vm) {
	ctx := h.transition(v, starting)
	h.tellVM(v, "started")
	boot := h.bootTime
	if boot == 0 {
		h.poweredOn(v)
		if h.fake.opts.Guests == nil {
			if h.comesUp(v) {
				h.booted(v)
			}
			return
		}
	}
	h.then(v, func() { h.boot(ctx, v, boot) })
}

// powerOff shuts a VM down that is not off. One whose boot hangs does not heed.
func (h *Host) powerOff(v *vm) {
	if v.hung {
		return
	}
	ctx := h.transition(v, stopping)
	h.tellVM(v, "stopping")
	if h.fake.opts.StopTime == 0 && h.fake.opts.Guests == nil {
		h.poweredOff(v, "off")
		return
	}
	h.then(v, func() {
		if !sleep(ctx, h.fake.opts.StopTime) {
			return
		}
		heeds := !v.guestUp || h.fake.opts.Guests.Shutdown(ctx, v.UID)
		if heeds {
			h.endGuest(v)
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		switch {
		case ctx.Err() != nil:
		case heeds:
			h.poweredOff(v, "off")
		default:
			v.phase = on
			h.tellVM(v, "running")
		}
	})
}

// guestEnded switches a VM off whose guest has ended by itself. Where the power
// changes already, what changes it sees to the rest.
func (h *Host) guestEnded(v *vm) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch v.phase {
	case on:
		h.log.Info("guest has ended by itself", "vm", v.Name, "uid", v.UID)
		h.cutPower(v, "crashed")
	case stopping:
		h.cutPower(v, "off")
	}
}

// powerCycle reboots a VM that is on; the hypervisor shows it running all the
// while, without an address until the guest is back.
func (h *Host) powerCycle(v *vm) {
	ctx := h.transition(v, rebooting)
	v.bootedAt, v.hung, v.hidden = time.Time{}, false, false
	h.changed(v)
	h.tellVM(v, "rebooted")
	boot := h.bootTime
	h.then(v, func() {
		if sleep(ctx, h.fake.opts.StopTime) {
			if v.guestUp { // one that does not heed is reset
				h.fake.opts.Guests.Shutdown(ctx, v.UID)
			}
			h.endGuest(v)
			h.boot(ctx, v, boot)
		}
	})
}

// cutPower switches a VM off at once, which the history calls off or crashed. The
// channel closes when its guest has ended.
func (h *Host) cutPower(v *vm, event string) <-chan struct{} {
	h.poweredOff(v, event)
	h.transition(v, off)
	ended := make(chan struct{})
	h.then(v, func() {
		h.endGuest(v)
		close(ended)
	})
	return ended
}

// remove switches a VM off at once and forgets it, which the history calls
// removed or vanished. The channel closes when it is gone.
func (h *Host) remove(v *vm, event string) <-chan struct{} {
	v.removing = true
	h.cutPower(v, "off")
	gone := make(chan struct{})
	h.then(v, func() {
		if g := h.fake.opts.Guests; g != nil {
			g.Remove(v.UID)
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		h.forget(v)
		h.tellVM(v, event)
		close(gone)
	})
	return gone
}

// boot is the step that starts the guest.
func (h *Host) boot(ctx context.Context, v *vm, after time.Duration) {
	if !sleep(ctx, after) {
		return
	}
	h.mu.Lock()
	if ctx.Err() != nil {
		h.mu.Unlock()
		return
	}
	if v.phase != on {
		h.poweredOn(v)
	}
	if !h.comesUp(v) {
		h.mu.Unlock()
		return
	}
	machine := h.machine(v)
	h.mu.Unlock()

	var failed error
	if g := h.fake.opts.Guests; g != nil {
		v.guestUp = true
		failed = g.Boot(ctx, machine)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if ctx.Err() != nil {
		return
	}
	if failed != nil {
		h.log.Warn("guest did not come up", "vm", v.Name, "err", failed)
		h.tellFailure(v, failed)
	}
	if errors.Is(failed, guest.ErrNotStarted) {
		v.hung = true
		return
	}
	h.booted(v)
}

// endGuest is the step that ends the guest. Only steps touch guestUp.
func (h *Host) endGuest(v *vm) {
	if v.guestUp {
		h.fake.opts.Guests.PowerOff(v.UID)
		v.guestUp = false
	}
}

func (h *Host) poweredOn(v *vm) {
	v.phase, v.State, v.runningSince = on, c4.Running, time.Now()
	h.changed(v)
	h.tellVM(v, "running")
}

// comesUp lets the faults at boot in and tells whether the VM gets beyond them.
func (h *Host) comesUp(v *vm) bool {
	for _, f := range h.fake.faults.fire("", h.opts.Name, subject{vm: v.Name, name: v.Name, owner: v.Owner, id: v.UID}) {
		switch f.Effect {
		case HangBoot:
			v.hung = true
		case HideAddress:
			v.hidden = true
		}
	}
	return !v.hung
}

func (h *Host) poweredOff(v *vm, event string) {
	wasOff := v.phase == off
	v.phase, v.State, v.runningSince, v.bootedAt = off, c4.ShutOff, time.Time{}, time.Time{}
	v.hung, v.hidden = false, false
	h.changed(v)
	if !wasOff {
		h.tellVM(v, event)
	}
}

// booted marks the guest's early boot as done: it has asked for its address.
func (h *Host) booted(v *vm) {
	v.bootedAt = time.Now()
	h.changed(v)
	h.tellVM(v, "booted")
}

// machine is the VM as its guest sees it at boot.
func (h *Host) machine(v *vm) guest.VM {
	m := guest.VM{
		ID: v.UID, Name: v.Name, Address: v.address(),
		Processors: v.Pledge.CPU.Slots, MemoryMiB: v.Pledge.Mem.Capacity,
	}
	address, leases := m.Address, &h.fake.leases
	m.Reachable = func(source netip.Addr) bool { return leases.reachable(source, address) }
	m.Ended = func() { h.guestEnded(v) }
	if len(v.NICs) > 0 {
		m.MAC = v.NICs[0].MAC
		n := h.networks[v.NICs[0].Network]
		m.Bridged = n != nil && n.bridged()
	}
	for _, id := range v.Volumes {
		vol := h.volumes[id]
		if vol == nil {
			continue
		}
		if vol.Bootable && vol.Image != "" {
			m.Image, m.KubernetesVersion = vol.Image, h.fake.opts.Images[vol.Image]
		}
		if vol.CloudInit {
			m.UserData, m.MetaData, m.NetworkConfig = vol.files["user-data"], vol.files["meta-data"], vol.files["network-config"]
		}
	}
	return m
}
