package daemon

import (
	"sync"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/daemon/rpc"
)

// promise is how long a proposed host keeps room for a VM that does not come.
const promise = 30 * time.Second

// reservations remember what was proposed and is not on its host yet, so that
// placements at the same time do not all choose the same host. They are an
// aid, not a truth: hosts decide, and a daemon may lose them.
type reservations struct {
	mu     sync.Mutex
	byHost map[string]map[vmKey]reservation
	hostOf map[vmKey]string
}

type vmKey struct{ clientUID, name string }

type reservation struct {
	slots   int
	whole   bool // slots are cores
	memory  int64
	devices map[string]int
	until   time.Time
}

// reserved is what is promised on one host.
type reserved struct {
	vms     int
	threads int
	memory  int64
	devices map[string]int
}

// put replaces what was promised to the VM before.
func (r *reservations) put(key vmKey, host string, spec *rpc.VMSpec) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.remove(key)
	if r.byHost == nil {
		r.byHost, r.hostOf = map[string]map[vmKey]reservation{}, map[vmKey]string{}
	}
	if r.byHost[host] == nil {
		r.byHost[host] = map[vmKey]reservation{}
	}
	r.byHost[host][key] = reservation{
		slots: int(spec.Slots), whole: spec.FullPhysical, memory: int64(spec.MemoryMib),
		devices: devicesOf(spec), until: time.Now().Add(promise),
	}
	r.hostOf[key] = host
}

// drop ends the promise to a VM.
func (r *reservations) drop(clientUID, name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.remove(vmKey{clientUID, name})
}

func (r *reservations) remove(key vmKey) {
	delete(r.byHost[r.hostOf[key]], key)
	delete(r.hostOf, key)
}

// on sums up what is promised on a host to others than this VM; smt is how
// many threads a core of it has.
func (r *reservations) on(host string, smt int, except vmKey) reserved {
	r.mu.Lock()
	defer r.mu.Unlock()
	var sum reserved
	now := time.Now()
	for key, p := range r.byHost[host] {
		if now.After(p.until) {
			r.remove(key)
			continue
		}
		if key == except {
			continue
		}
		sum.vms++
		sum.memory += p.memory
		if p.whole {
			sum.threads += p.slots * smt
		} else {
			sum.threads += p.slots
		}
		for d, n := range p.devices {
			if sum.devices == nil {
				sum.devices = map[string]int{}
			}
			sum.devices[d] += n
		}
	}
	return sum
}
