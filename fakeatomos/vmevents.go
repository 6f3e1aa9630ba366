package fakeatomos

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"elemento.cloud/cluster-api-provider-elemento/fakeatomos/guest"
)

// What befalls VMs without any call. A VM is named as its owner does or by UID;
// an empty host means wherever it is, and several of one name are all meant. It
// is an error if there is none. What a boot does is up to the faults HangBoot and
// HideAddress.

// CrashVM takes a VM's power, without a shutdown. It stays off until it is
// started, or its host comes back.
func (f *Fake) CrashVM(host, name string) error {
	return f.eachVM(host, name, func(h *Host, v *vm) (<-chan struct{}, error) {
		return h.cutPower(v, "crashed"), nil
	})
}

// VanishVM takes a VM away, and with volumes also those that nobody else holds.
func (f *Fake) VanishVM(host, name string, volumes bool) error {
	return f.eachVM(host, name, func(h *Host, v *vm) (<-chan struct{}, error) {
		held := slices.Clone(v.Volumes)
		gone := h.remove(v, "vanished")
		if !volumes {
			return gone, nil
		}
		allGone := make(chan struct{})
		h.then(v, func() {
			h.mu.Lock()
			defer h.mu.Unlock()
			for _, id := range held {
				if vol := h.volumes[id]; vol != nil && len(h.holders(id)) == 0 {
					h.dropVolume(vol)
				}
			}
			close(allGone)
		})
		return allGone, nil
	})
}

// CutVM cuts the network of a VM that runs on: nobody reaches its guest, which
// reaches nobody, also after it was off, until MendVM.
func (f *Fake) CutVM(host, name string) error {
	return f.wire(host, name, "cut", guest.Wired.Cut)
}

// MendVM gives a VM its network back.
func (f *Fake) MendVM(host, name string) error {
	return f.wire(host, name, "mended", guest.Wired.Mend)
}

func (f *Fake) wire(host, name, event string, do func(guest.Wired, string) error) error {
	wired, ok := f.opts.Guests.(guest.Wired)
	if !ok {
		return errors.New("fakeatomos: these guests have no network to cut")
	}
	var mu sync.Mutex
	var failed []error
	err := f.eachVM(host, name, func(h *Host, v *vm) (<-chan struct{}, error) {
		done := make(chan struct{})
		h.then(v, func() {
			defer close(done)
			if err := do(wired, v.UID); err != nil {
				mu.Lock()
				defer mu.Unlock()
				failed = append(failed, fmt.Errorf("fakeatomos: VM %s on host %s: %w", v.Name, h.Name(), err))
				return
			}
			h.mu.Lock()
			defer h.mu.Unlock()
			h.tellVM(v, event)
		})
		return done, nil
	})
	return errors.Join(append(failed, err)...)
}

// Change is what somebody changes about a VM by hand. What is zero stays.
type Change struct {
	Slots     int   `json:"slots,omitempty"`
	MemoryMiB int64 `json:"memoryMiB,omitempty"`
	// AttachVolume and DetachVolume are IDs of volumes of the host,
	// AttachNetwork and DetachNetwork UIDs of its networks.
	AttachVolume  string `json:"attachVolume,omitempty"`
	DetachVolume  string `json:"detachVolume,omitempty"`
	AttachNetwork string `json:"attachNetwork,omitempty"`
	DetachNetwork string `json:"detachNetwork,omitempty"`
}

// ChangeVM changes a VM by hand, whether it runs or not. An error means that the
// host has no room or no such volume or network, and that the VM is as it was.
func (f *Fake) ChangeVM(host, name string, change Change) error {
	if change == (Change{}) || change.Slots < 0 || change.MemoryMiB < 0 {
		return errors.New("fakeatomos: a change must change something, and to a positive size")
	}
	return f.eachVM(host, name, func(h *Host, v *vm) (<-chan struct{}, error) { return nil, h.change(v, change) })
}

// change is called with the lock held.
func (h *Host) change(v *vm, c Change) error {
	as := &vm{vmRecord: v.vmRecord}
	as.Volumes, as.NICs = slices.Clone(v.Volumes), slices.Clone(v.NICs)
	if c.Slots > 0 {
		as.Pledge.CPU.Slots = c.Slots
	}
	if c.MemoryMiB > 0 {
		as.Pledge.Mem.Capacity = c.MemoryMiB
	}
	if c.Slots > 0 || c.MemoryMiB > 0 {
		delete(h.vms, v.UID) // what it has is room for what it gets
		threads, room := h.allocate(as.Pledge)
		h.vms[v.UID] = v
		if !room.CanAllocate {
			return fmt.Errorf("fakeatomos: host %s has no room for %d slots and %d MiB", h.Name(), as.Pledge.CPU.Slots, as.Pledge.Mem.Capacity)
		}
		as.Threads = threads
	}
	if c.DetachVolume != "" {
		i := slices.Index(as.Volumes, c.DetachVolume)
		if i < 0 {
			return fmt.Errorf("fakeatomos: VM %s does not hold the volume %s", v.Name, c.DetachVolume)
		}
		as.Volumes = slices.Delete(as.Volumes, i, i+1)
	}
	if c.AttachVolume != "" {
		if refusal := h.connectVolume(as, c.AttachVolume); refusal != nil {
			return fmt.Errorf("fakeatomos: volume %s cannot be attached to VM %s: %v", c.AttachVolume, v.Name, refusal.body)
		}
	}
	detached := slices.IndexFunc(as.NICs, func(n nic) bool { return n.Network == c.DetachNetwork })
	if c.DetachNetwork != "" && detached < 0 {
		return fmt.Errorf("fakeatomos: VM %s is not on the network %s", v.Name, c.DetachNetwork)
	}
	if c.AttachNetwork != "" {
		if refusal := h.connectNetwork(as, c.AttachNetwork); refusal != nil {
			return fmt.Errorf("fakeatomos: host %s has no network %s", h.Name(), c.AttachNetwork)
		}
	}
	if c.DetachNetwork != "" {
		h.fake.leases.release(as.NICs[detached].Address)
		as.NICs = slices.Delete(as.NICs, detached, detached+1)
	}
	v.vmRecord = as.vmRecord
	h.keepVM(v)
	return nil
}

// eachVM does something to all VMs that are meant, with their host's lock held,
// and waits until it is done.
func (f *Fake) eachVM(host, name string, do func(*Host, *vm) (<-chan struct{}, error)) error {
	hosts := f.hosts
	if host != "" {
		h, err := f.Host(host)
		if err != nil {
			return err
		}
		hosts = []*Host{h}
	}
	var errs []error
	var done []<-chan struct{}
	known := false
	for _, h := range hosts {
		h.mu.Lock()
		for _, v := range h.inOrder() {
			if v.Name != name && v.UID != name || v.removing {
				continue
			}
			known = true
			wait, err := do(h, v)
			errs = append(errs, err)
			if wait != nil {
				done = append(done, wait)
			}
		}
		h.mu.Unlock()
	}
	for _, d := range done {
		<-d
	}
	if !known {
		return fmt.Errorf("fakeatomos: no VM is called %q%s", name, onHost(host))
	}
	return errors.Join(errs...)
}

func onHost(host string) string {
	if host == "" {
		return ""
	}
	return " on host " + host
}
