package fakeatomos

import (
	"fmt"
	"net/http"
	"sync"
	"time"
)

// What befalls hosts, besides Up and Down. Nothing of it survives the process.

// Isolate cuts the host's C4 services off: connections to them are refused.
// Calls under way go on and have their effect; VMs and forwards run on.
func (h *Host) Isolate() {
	h.switching.Lock()
	defer h.switching.Unlock()
	h.mu.Lock()
	if h.isolated {
		h.mu.Unlock()
		return
	}
	h.isolated = true
	h.tell("isolated", nil)
	servers := h.servers
	h.servers = nil
	h.mu.Unlock()
	h.closeServices(servers)
	h.log.Info("host isolated")
}

// Reconnect ends Isolate. An error means that an address is taken; the host
// stays isolated then.
func (h *Host) Reconnect() error {
	h.switching.Lock()
	defer h.switching.Unlock()
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.isolated {
		return nil
	}
	if h.up {
		if err := h.openServices(); err != nil {
			return err
		}
	}
	h.isolated = false
	h.tell("reachable", nil)
	h.log.Info("host reachable")
	return nil
}

// closeServices ends servers that are the host's no more. The caller holds
// switching and not the lock.
func (h *Host) closeServices(servers []*http.Server) {
	for _, s := range servers {
		_ = s.Close()
	}
	h.serving.Wait()
}

// SetMaintenance sets what the host says of itself; nothing else changes.
func (h *Host) SetMaintenance(on bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.maintenance = on
	if on {
		h.tell("maintenance", nil)
	} else {
		h.tell("normal", nil)
	}
}

// SetSlow holds every call to the host up for so long before its effect; 0 ends
// it.
func (h *Host) SetSlow(delay time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.slow = max(delay, 0)
	h.tell("slow", map[string]string{"delay": h.slow.String()})
}

// SetBootTime sets how long VMs of the host take from start to running, from now on,
// in the place of Options.BootTime.
func (h *Host) SetBootTime(boot time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.bootTime = max(boot, 0)
	h.tell("boots", map[string]string{"time": h.bootTime.String()})
}

// SetBlank has the host list nothing for so long whenever it comes up: no VMs,
// volumes, networks or forwards, though it has them, and tells of each if it is asked
// for it. 0 ends it from the next time on.
func (h *Host) SetBlank(after time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.blank = max(after, 0)
	h.tell("blank", map[string]string{"after": h.blank.String()})
}

// lists tells whether the host lists what it has. The caller holds the lock.
func (h *Host) lists() bool { return !time.Now().Before(h.listsFrom) }

// SetCapacity limits what VMs can have on the host: all slots together and all
// memory, those of VMs that are there included, which stay whatever the limit.
// 0 is as configured; to leave no room, say 1.
func (h *Host) SetCapacity(slots int, memoryMiB int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.slots, h.memoryMiB = max(slots, 0), max(memoryMiB, 0)
	h.tell("capacity", capacityBody{h.slots, h.memoryMiB})
}

// SetCommunity makes the host one of the Community Edition, which refuses a
// third VM, or of another.
func (h *Host) SetCommunity(on bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.community = on
	h.tell("community", map[string]bool{"on": on})
}

// ShiftClock lets the host's clock jump, forward or back, from what it shows
// now. It dates what the host makes from then on; the times in Inventory, in the
// journal and in the history stay true.
func (h *Host) ShiftClock(by time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.clock += by
	h.tell("clock", map[string]string{"by": by.String(), "ahead": h.clock.String()})
}

// now is what the host's clock shows.
func (h *Host) now() time.Time { return time.Now().Add(h.clock) }

// date is that of a reply.
func (h *Host) date() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.now().UTC().Format(http.TimeFormat)
}

// Wipe takes the host's power, if it has any, and all its VMs: it comes back
// with Up and without them. With disks it is like a new one: volumes, networks
// and forwards are lost too.
func (h *Host) Wipe(disks bool) {
	h.Down()
	h.switching.Lock()
	defer h.switching.Unlock()
	h.mu.Lock()
	var gone []<-chan struct{}
	for _, v := range h.inOrder() {
		gone = append(gone, h.remove(v, "vanished"))
	}
	h.mu.Unlock()
	for _, g := range gone {
		<-g
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if disks {
		for _, v := range h.volumesInOrder() {
			h.dropVolume(v)
		}
		for _, fw := range h.forwardsInOrder() {
			h.dropForward(fw)
		}
		for _, n := range h.networksInOrder() {
			h.dropNetwork(n)
		}
	}
	h.tell("wiped", map[string]bool{"disks": disks})
}

// DomainDown takes power from all hosts of a domain at once.
func (f *Fake) DomainDown(domain string) error {
	return f.eachOf(domain, func(h *Host) error { h.Down(); return nil })
}

// DomainUp gives all hosts of a domain their power back.
func (f *Fake) DomainUp(domain string) error { return f.eachOf(domain, (*Host).Up) }

// eachOf does something to all hosts of a domain at the same time and returns
// the first error.
func (f *Fake) eachOf(domain string, do func(*Host) error) error {
	var all sync.WaitGroup
	var failed sync.Once
	var first error
	known := false
	for _, h := range f.hosts {
		if h.Domain() != domain {
			continue
		}
		known = true
		all.Go(func() {
			if err := do(h); err != nil {
				failed.Do(func() { first = err })
			}
		})
	}
	all.Wait()
	if !known {
		return fmt.Errorf("fakeatomos: no host is in the domain %q", domain)
	}
	return first
}
