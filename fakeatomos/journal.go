package fakeatomos

import (
	"maps"
	"sync"
	"time"
)

// journalSize is how many changing calls the journal remembers.
const journalSize = 100_000

// JournalEntry is one C4 call that changes something.
type JournalEntry struct {
	// Seq counts entries from 1.
	Seq int64 `json:"seq"`
	// Arrived is when the request's header had been read, Answered when its
	// answer was ready (or lost, by a fault).
	Arrived  time.Time `json:"arrived"`
	Answered time.Time `json:"answered"`
	Host     string    `json:"host"`
	Call     string    `json:"call"`
	// Name is that of the VM, volume or network that the call is about, VM that
	// of the VM, and Owner the client UUID, as far as the call tells or the host
	// knows.
	Name  string `json:"name,omitempty"`
	VM    string `json:"vm,omitempty"`
	Owner string `json:"owner,omitempty"`
	// ID is the uniqueID, volumeID, network_uid or forward_uid.
	ID string `json:"id,omitempty"`
	// Status is the HTTP status of the answer, also of a lost one; 0 when there
	// was none before the host lost power, or by a fault.
	Status int `json:"status"`
	// Applied tells that the call had its effect, whatever was answered.
	Applied bool `json:"applied,omitempty"`
	// Faults are the IDs of the faults that fired.
	Faults []string `json:"faults,omitempty"`
	// RequestID is what the caller sent as X-Request-Id.
	RequestID string `json:"requestID,omitempty"`
}

// journal is a ring of the latest entries.
type journal struct {
	mu   sync.Mutex
	seq  int64
	ring []JournalEntry
}

func (j *journal) add(e JournalEntry) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.seq++
	e.Seq = j.seq
	if len(j.ring) < journalSize {
		j.ring = append(j.ring, e)
		return
	}
	j.ring[(j.seq-1)%journalSize] = e
}

// since returns the entries after seq that are still remembered, in order.
func (j *journal) since(seq int64) []JournalEntry {
	j.mu.Lock()
	defer j.mu.Unlock()
	first := max(seq+1, j.seq-int64(len(j.ring))+1, 1)
	out := make([]JournalEntry, 0, max(j.seq-first+1, 0))
	for s := first; s <= j.seq; s++ {
		out = append(out, j.ring[(s-1)%journalSize])
	}
	return out
}

// callCounts counts C4 calls by host and call.
type callCounts struct {
	mu     sync.Mutex
	counts map[string]map[string]int64
}

func (c *callCounts) count(host, call string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.counts == nil {
		c.counts = map[string]map[string]int64{}
	}
	if c.counts[host] == nil {
		c.counts[host] = map[string]int64{}
	}
	c.counts[host][call]++
}

func (c *callCounts) snapshot() map[string]map[string]int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make(map[string]map[string]int64, len(c.counts))
	for host, counts := range c.counts {
		out[host] = maps.Clone(counts)
	}
	return out
}
