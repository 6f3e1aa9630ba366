package world

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// Cut is how a connection through a [Proxy] can be broken.
type Cut string

const (
	// Refuse resets connections, those that are there and those to come: the
	// caller learns of it at once.
	Refuse Cut = "refuse"
	// Drop lets nothing through and says so to nobody. Connections that are there
	// stand still, and go on where they were once it is over; new ones are taken
	// and left without an answer.
	Drop Cut = "drop"
)

// Proxy hands TCP connections on to the first of its targets that takes them, and
// can be told not to. What goes through it is none of its business.
type Proxy struct {
	targets  []string
	listener net.Listener
	work     sync.WaitGroup

	mu            sync.Mutex
	closed        bool
	refused, mute int
	delay         time.Duration
	pairs         map[*pair]struct{}
	// changed is closed, and made anew, when any of the above changes.
	changed chan struct{}
}

// pair is a connection and the one that it is handed on to.
type pair struct {
	ctx  context.Context
	stop context.CancelFunc
	// near is the caller's end; far is nil until a target has taken it.
	near, far *net.TCPConn
}

// NewProxy listens on an address for targets, each a host and a port. Close ends it.
func NewProxy(address string, targets ...string) (*Proxy, error) {
	l, err := listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("a proxy for %v: %w", targets, err)
	}
	p := &Proxy{targets: targets, listener: l, pairs: map[*pair]struct{}{}, changed: make(chan struct{})}
	p.work.Go(p.accept)
	return p, nil
}

// Address is where it listens.
func (p *Proxy) Address() string { return p.listener.Addr().String() }

// Cut breaks what goes through, until heal is called. Where it is cut more than
// once it stays so until the last one is healed, and refuses rather than drops.
func (p *Proxy) Cut(how Cut) (heal func()) {
	count := &p.mute
	if how == Refuse {
		count = &p.refused
	}
	p.change(func() { *count++ })
	if how == Refuse {
		p.Reset()
	}
	return sync.OnceFunc(func() { p.change(func() { *count-- }) })
}

// Slow keeps all that goes through back for a while, each way, until restore is
// called. Several add up.
func (p *Proxy) Slow(by time.Duration) (restore func()) {
	p.change(func() { p.delay += by })
	return sync.OnceFunc(func() { p.change(func() { p.delay -= by }) })
}

// Reset resets the connections that are there; new ones are taken.
func (p *Proxy) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.pairs {
		c.reset()
	}
}

// Close ends it and its connections, and returns when nothing of it is left.
func (p *Proxy) Close() error {
	p.change(func() { p.closed = true })
	err := p.listener.Close()
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	p.Reset()
	p.work.Wait()
	return err
}

func (p *Proxy) change(do func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	do()
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *Proxy) accept() {
	for {
		conn, err := p.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // the caller was gone already
		}
		c := &pair{near: conn.(*net.TCPConn)}
		c.ctx, c.stop = context.WithCancel(context.Background())
		p.mu.Lock()
		if p.closed || p.refused > 0 {
			c.reset()
		} else {
			p.pairs[c] = struct{}{}
			p.work.Go(func() { p.serve(c) })
		}
		p.mu.Unlock()
	}
}

// serve hands one connection on until both ends are done with it.
func (p *Proxy) serve(c *pair) {
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.pairs, c)
		c.reset()
	}()
	if !p.pass(c.ctx, false) {
		return
	}
	far, err := p.dial(c.ctx)
	if err != nil {
		return // and the caller is reset, as if nobody listened
	}
	p.mu.Lock()
	c.far = far
	p.mu.Unlock()
	if c.ctx.Err() != nil {
		return // it was reset while the target was looked for
	}
	var both sync.WaitGroup
	both.Go(func() { p.pump(c, c.near, far) })
	both.Go(func() { p.pump(c, far, c.near) })
	both.Wait()
	// An orderly end: nothing is on its way that a reset could take back.
	_, _ = c.near.Close(), far.Close()
}

func (p *Proxy) dial(ctx context.Context) (*net.TCPConn, error) {
	var errs []error
	for _, target := range p.targets {
		conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", target)
		if err == nil {
			return conn.(*net.TCPConn), nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// pump copies one way, and lets the other side know of the end.
func (p *Proxy) pump(c *pair, from, to *net.TCPConn) {
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if !p.pass(c.ctx, true) {
			return
		}
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				c.reset()
				return
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			_ = to.CloseWrite()
			return
		case err != nil:
			c.reset()
			return
		}
	}
}

// pass returns true once something may go through, after the delay where it is
// slow, and false if the connection has ended before.
func (p *Proxy) pass(ctx context.Context, slowed bool) bool {
	p.mu.Lock()
	delay := p.delay
	p.mu.Unlock()
	if slowed && delay > 0 {
		late := time.NewTimer(delay)
		defer late.Stop()
		select {
		case <-late.C:
		case <-ctx.Done():
			return false
		}
	}
	for {
		p.mu.Lock()
		mute, changed := p.mute > 0, p.changed
		p.mu.Unlock()
		if !mute {
			return ctx.Err() == nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

// reset ends both connections at once; doing it twice is fine.
func (c *pair) reset() {
	c.stop()
	for _, conn := range []*net.TCPConn{c.near, c.far} {
		if conn != nil {
			_ = conn.SetLinger(0) // a reset instead of an end
			_ = conn.Close()
		}
	}
}
