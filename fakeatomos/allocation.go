package fakeatomos

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"elemento.cloud/cluster-api-provider-elemento/c4"
)

// defaultOverprovision is the limit of slots on a hardware thread when a pledge
// names none.
const defaultOverprovision = 10

// claim is what one VM holds of the processors.
type claim struct {
	threads []int
	// limit is the VM's maxOverprovision: it bears so many slots on each of
	// its threads, its own included.
	limit int
}

// processors is the topology of a host. Thread t belongs to core t/smt.
type processors struct{ cores, smt int }

// load returns for each thread how many slots are on it, and the strictest
// limit of the VMs there (limit where there is none).
func (p processors) load(claims []claim, limit int) (counts, limits []int) {
	counts, limits = make([]int, p.cores*p.smt), make([]int, p.cores*p.smt)
	for t := range limits {
		limits[t] = limit
	}
	for _, c := range claims {
		for _, t := range c.threads {
			counts[t]++
			limits[t] = min(limits[t], c.limit)
		}
	}
	return counts, limits
}

// place finds threads for a pledge. It returns how many slots are free for such
// a pledge, and the threads if that is enough. A slot is one thread, or all
// threads of a core if the pledge wants full cores.
func (p processors) place(claims []claim, slots, limit int, fullPhysical bool) (threads []int, available int) {
	counts, limits := p.load(claims, limit)
	width := 1
	if fullPhysical {
		width = p.smt
	}
	type unit struct{ first, load int }
	var free []unit
	for first := 0; first < len(counts); first += width {
		u, ok := unit{first: first}, true
		for t := first; t < first+width; t++ {
			ok = ok && counts[t] < limits[t]
			u.load = max(u.load, counts[t])
		}
		if ok {
			free = append(free, u)
		}
	}
	if len(free) < slots {
		return nil, len(free)
	}
	// The least loaded first, so that VMs share threads only when they must.
	slices.SortStableFunc(free, func(a, b unit) int { return cmp.Compare(a.load, b.load) })
	for _, u := range free[:slots] {
		for t := u.first; t < u.first+width; t++ {
			threads = append(threads, t)
		}
	}
	return threads, len(free)
}

// used counts the threads and cores that bear at least one slot.
func (p processors) used(claims []claim) (cores, threads int) {
	counts, _ := p.load(claims, defaultOverprovision)
	busy := make([]bool, p.cores)
	for t, n := range counts {
		if n > 0 {
			threads++
			busy[t/p.smt] = true
		}
	}
	for _, b := range busy {
		if b {
			cores++
		}
	}
	return cores, threads
}

// checkPledge returns what is wrong with a pledge whatever the host, or "".
func checkPledge(p c4.Pledge) string {
	if p.CPU.Slots < 1 || p.CPU.Slots > 256 {
		return fmt.Sprintf("cpu.slots %d is not between 1 and 256", p.CPU.Slots)
	}
	if p.CPU.MaxOverprovision < 0 || p.CPU.MaxOverprovision > 10 {
		return fmt.Sprintf("cpu.maxOverprovision %d is not between 1 and 10", p.CPU.MaxOverprovision)
	}
	if p.CPU.MinFrequency != "" {
		if f, err := strconv.ParseFloat(p.CPU.MinFrequency, 64); err != nil || !(f >= 0.5 && f <= 5.0) {
			return fmt.Sprintf("cpu.min_frequency %q is not between 0.5 and 5.0", p.CPU.MinFrequency)
		}
	}
	for _, a := range p.CPU.Arch {
		if !slices.Contains(c4.Architectures, a) {
			return fmt.Sprintf("cpu.arch %q is not known", a)
		}
	}
	if p.Mem.Capacity < 1 {
		return fmt.Sprintf("mem.capacity %d is not positive", p.Mem.Capacity)
	}
	for device, n := range p.PCI.Devices {
		if _, ok := splitDevice(device); !ok || n < 1 {
			return fmt.Sprintf("pci.devices %q: %d is not \"vendor:model\": quantity", device, n)
		}
	}
	return ""
}

// claims is what the VMs hold of the host.
func (h *Host) claims() (processors []claim, memoryMiB int64, devices map[string]int) {
	devices = map[string]int{}
	for _, v := range h.vms {
		processors = append(processors, claim{v.Threads, v.limit()})
		memoryMiB += v.Pledge.Mem.Capacity
		for d, n := range v.Pledge.PCI.Devices {
			devices[d] += n
		}
	}
	return processors, memoryMiB, devices
}

// allocate finds room for a pledge that is sound. The caller holds the lock.
func (h *Host) allocate(p c4.Pledge) (threads []int, a c4.Allocation) {
	claims, memory, devices := h.claims()
	a.AvailableRAM = max(h.memory()-memory, 0)
	threads, a.AvailableSlots = h.processors().place(claims, p.CPU.Slots, limitOf(p), p.CPU.FullPhysical)
	if h.slots > 0 {
		held := 0
		for _, v := range h.vms {
			held += v.Pledge.CPU.Slots
		}
		a.AvailableSlots = min(a.AvailableSlots, max(h.slots-held, 0))
	}
	fits := p.CPU.Slots <= a.AvailableSlots && p.Mem.Capacity <= a.AvailableRAM
	for d, n := range p.PCI.Devices {
		fits = fits && n <= h.opts.PCI[d]-devices[d]
	}
	a.CanAllocate = fits && h.suits(p)
	return threads, a
}

// suits tells whether the host's hardware is what a pledge asks for, however
// full the host is.
func (h *Host) suits(p c4.Pledge) bool {
	if p.CPU.MinFrequency != "" {
		if f, err := strconv.ParseFloat(p.CPU.MinFrequency, 64); err != nil || f > h.opts.FrequencyGHz {
			return false
		}
	}
	if len(p.CPU.Arch) > 0 && !slices.Contains(p.CPU.Arch, h.opts.Arch) {
		return false
	}
	for _, f := range p.CPU.Flags {
		if !slices.Contains(h.opts.Flags, f) {
			return false
		}
	}
	if m := p.Misc.Manufacturer; m != "" && !strings.EqualFold(m, "any") && m != Manufacturer {
		return false
	}
	return !p.Mem.RequireECC || h.opts.ECC
}

// memory is what VMs can have, in MiB.
func (h *Host) memory() int64 {
	if h.memoryMiB > 0 {
		return h.memoryMiB
	}
	return h.opts.MemoryMiB
}

func (h *Host) processors() processors { return processors{h.opts.Cores, h.opts.SMT} }

func limitOf(p c4.Pledge) int {
	if p.CPU.MaxOverprovision == 0 {
		return defaultOverprovision
	}
	return p.CPU.MaxOverprovision
}

// splitDevice splits "vendor:model".
func splitDevice(s string) (id [2]string, ok bool) {
	vendor, model, ok := strings.Cut(s, ":")
	return [2]string{vendor, model}, ok && vendor != "" && model != ""
}
