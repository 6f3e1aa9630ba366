package simulated

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/fakeatomos/guest"
)

// door is a listener on an address of a guest that knows its connections, so that
// all of them end with the machine, whatever they were upgraded to.
type door struct {
	net.Listener
	reachable func(netip.Addr) bool

	mu     sync.Mutex
	open   map[net.Conn]struct{}
	closed bool
}

// openDoor listens where only those get in who can reach the guest.
func openDoor(ctx context.Context, vm guest.VM, at netip.AddrPort) (*door, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", at.String())
	if err != nil {
		return nil, err
	}
	return &door{Listener: listener, reachable: vm.Reachable, open: map[net.Conn]struct{}{}}, nil
}

// Accept returns the next connection from a source that can reach the guest.
func (d *door) Accept() (net.Conn, error) {
	for {
		connection, err := d.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if !d.admits(connection) {
			slam(connection)
			continue
		}
		tracked := &visitor{Conn: connection, door: d}
		d.mu.Lock()
		if !d.closed {
			d.open[tracked] = struct{}{}
		}
		late := d.closed
		d.mu.Unlock()
		if late {
			slam(connection)
			return nil, net.ErrClosed
		}
		return tracked, nil
	}
}

func (d *door) admits(connection net.Conn) bool {
	if d.reachable == nil {
		return true
	}
	source, err := netip.ParseAddrPort(connection.RemoteAddr().String())
	return err == nil && d.reachable(source.Addr().Unmap())
}

// Close refuses new connections and cuts those that are open.
func (d *door) Close() error {
	d.mu.Lock()
	visitors := d.open
	d.open, d.closed = nil, true
	d.mu.Unlock()
	err := d.Listener.Close()
	for connection := range visitors {
		slam(connection)
	}
	return err
}

// slam ends a connection as a machine does that lost its power: at once.
func slam(connection net.Conn) {
	if tracked, ok := connection.(*visitor); ok {
		connection = tracked.Conn
	}
	if tcp, ok := connection.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = connection.Close()
}

// visitor is a connection that its door knows.
type visitor struct {
	net.Conn
	door *door
}

func (v *visitor) Close() error {
	v.door.mu.Lock()
	delete(v.door.open, v)
	v.door.mu.Unlock()
	return v.Conn.Close()
}

// activity counts what runs, so that its end can be waited for while new work
// is turned away.
type activity struct {
	mu      sync.Mutex
	running int
	ended   bool
	idle    chan struct{}
}

func newActivity() *activity { return &activity{idle: make(chan struct{})} }

// begin tells whether the work may start; then end must follow.
func (a *activity) begin() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ended {
		return false
	}
	a.running++
	return true
}

func (a *activity) end() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.running--
	if a.ended && a.running == 0 {
		close(a.idle)
	}
}

// stop lets nothing new begin; what runs may go on.
func (a *activity) stop() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.ended {
		a.ended = true
		if a.running == 0 {
			close(a.idle)
		}
	}
}

// wait returns when all has ended; stop must have been called.
func (a *activity) wait() { <-a.idle }

// isIdle tells whether wait would return at once.
func (a *activity) isIdle() bool {
	select {
	case <-a.idle:
		return true
	default:
		return false
	}
}

// dialFrom connects from a guest's own address.
func dialFrom(ctx context.Context, from netip.Addr, to string) (net.Conn, error) {
	dialer := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0)), Timeout: dialTimeout}
	return dialer.DialContext(ctx, "tcp", to)
}

// dialTimeout is for how long a guest waits for a connection.
const dialTimeout = 5 * time.Second
