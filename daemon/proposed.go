package daemon

import (
	"sync"
	"time"
)

// proposal is how long an endpoint that was proposed is proposed to nobody else. No
// host knows of it before its cluster's first VM is up.
const proposal = 10 * time.Minute

// hostPort is a port of a host.
type hostPort struct {
	host string
	port uint32
}

// proposed remembers the endpoints that were proposed lately, to whomever. Like
// reservations it is an aid and not a truth: a daemon may lose it. The zero value is
// ready.
type proposed struct {
	mu    sync.Mutex
	until map[hostPort]time.Time
}

// has tells whether the endpoint was proposed to somebody.
func (p *proposed) has(e hostPort) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Now().Before(p.until[e])
}

// add notes a proposal; false if there is one already.
func (p *proposed) add(e hostPort) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if now.Before(p.until[e]) {
		return false
	}
	for other, until := range p.until {
		if now.After(until) {
			delete(p.until, other)
		}
	}
	if p.until == nil {
		p.until = map[hostPort]time.Time{}
	}
	p.until[e] = now.Add(proposal)
	return true
}

// drop ends the proposal of an endpoint that is given up.
func (p *proposed) drop(e hostPort) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.until, e)
}
