package fleet

import (
	"context"
	"sync"
)

// Change says that what is known of a VM, or of a host's health, is new; with
// neither VM nor Host, that a daemon has come or gone. It carries no state: look
// at the member for that.
type Change struct {
	ClientUID string
	VM        string
	Host      string
}

// changes collects what is new until it is told. It holds each change once, so
// that it never grows beyond the VMs and hosts there are, however slow the
// listeners.
type changes struct {
	mu        sync.Mutex
	pending   map[Change]struct{}
	listeners []func(Change)
	signal    chan struct{}
}

func (c *changes) add(change Change) {
	c.mu.Lock()
	if c.pending == nil {
		c.pending = map[Change]struct{}{}
	}
	c.pending[change] = struct{}{}
	c.mu.Unlock()
	select {
	case c.signal <- struct{}{}:
	default:
	}
}

func (c *changes) listen(listener func(Change)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.listeners = append(c.listeners, listener)
}

// tell passes changes on until ctx ends.
func (c *changes) tell(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.signal:
		}
		c.mu.Lock()
		pending, listeners := c.pending, c.listeners
		c.pending = nil
		c.mu.Unlock()
		for change := range pending {
			for _, listener := range listeners {
				listener(change)
			}
		}
	}
}
