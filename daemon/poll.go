package daemon

import (
	"context"
	"sync"
	"time"
)

// poller repeats a look for as long as somebody needs it, and tells listeners
// when a look brought something new.
type poller struct {
	// look asks once.
	look func(context.Context)
	// pace returns how long to wait before the next look, given how long the
	// last one took; false when nobody needs one. A caller of kick has made its
	// need known to pace before.
	pace  func(took time.Duration) (time.Duration, bool)
	spawn func(context.Context, func(context.Context))

	mu        sync.Mutex
	running   bool
	wake      chan struct{} // holds one token
	listeners map[chan<- struct{}]struct{}
}

// subscribe has the channel told (a send that does not wait) of news until
// cancel is called, and keeps the poller going meanwhile.
func (p *poller) subscribe(news chan<- struct{}) (cancel func()) {
	p.mu.Lock()
	if p.listeners == nil {
		p.listeners = map[chan<- struct{}]struct{}{}
	}
	p.listeners[news] = struct{}{}
	p.mu.Unlock()
	p.kick()
	return func() {
		p.mu.Lock()
		delete(p.listeners, news)
		p.mu.Unlock()
	}
}

// watched tells whether anybody listens.
func (p *poller) watched() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.listeners) > 0
}

// announce tells the listeners that there is something new.
func (p *poller) announce() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.listeners {
		select {
		case l <- struct{}{}:
		default: // told already
		}
	}
}

// kick looks now.
func (p *poller) kick() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running {
		select {
		case p.wake <- struct{}{}:
		default:
		}
		return
	}
	p.running = true
	p.wake = make(chan struct{}, 1)
	p.spawn(context.Background(), p.work)
}

func (p *poller) work(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.wake:
		case <-timer.C:
		}
		began := time.Now()
		p.look(ctx)
		wait, needed := p.pace(time.Since(began))
		if !needed && p.rest() {
			return
		}
		timer.Reset(wait)
	}
}

// rest ends the work unless somebody woke it meanwhile.
func (p *poller) rest() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running = len(p.wake) > 0
	return !p.running
}
