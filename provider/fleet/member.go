package fleet

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/stats"

	"elemento.cloud/cluster-api-provider-elemento/daemon/rpc"
)

// Member acts for one identity. Its methods may be called at the same time, but
// of the changing ones only one at a time for the same VM.
type Member struct {
	fleet       *Fleet
	fingerprint string
	clientUID   string
	// expires is when the identity's certificate ends.
	expires time.Time
	daemons []*daemon

	// synced is closed when the first daemon has told all it knows, and waited for until
	// syncBy.
	synced chan struct{}
	syncBy time.Time

	// stop ends the streams, which outlive any call.
	stop context.CancelFunc

	mu       sync.Mutex
	isSynced bool
	retired  bool
	calls    int // under way
	// sticky is the daemon that answered last; calls go there while it does.
	sticky *daemon
	merged map[string]*merged // by host id
}

// daemon is one connection, and what its stream told.
type daemon struct {
	endpoint  string
	conn      *grpc.ClientConn
	untrusted *atomic.Bool // the last try to connect failed for a certificate
	domains   rpc.DomainServiceClient
	vms       rpc.VMServiceClient
	networks  rpc.NetworkServiceClient
	endpoints rpc.EndpointServiceClient

	// Guarded by the member's mutex.
	alive    bool // the stream is up
	heard    time.Time
	interval time.Duration
	views    map[string]*view // by host id
}

func (d *daemon) view(host *rpc.Host) *view {
	v, ok := d.views[host.GetId()]
	if !ok {
		v = &view{vms: map[string]*rpc.VM{}, left: map[string]int{}}
		d.views[host.GetId()] = v
	}
	v.host = host
	return v
}

// maxMessage bounds, in bytes, what a daemon may tell at once. A snapshot has all VMs of
// a client, a few hundred bytes each, and gRPC's own 4 MiB end at some ten thousand.
const maxMessage = 64 << 20

func newMember(f *Fleet, identity *Identity) (*Member, error) {
	ctx, stop := context.WithCancel(f.ctx)
	m := &Member{
		fleet: f, fingerprint: identity.fingerprint, clientUID: identity.ClientUID, expires: identity.certificate.Leaf.NotAfter,
		synced: make(chan struct{}), syncBy: time.Now().Add(syncLongest), stop: stop, merged: map[string]*merged{},
	}
	for _, endpoint := range identity.Endpoints {
		trust := newTrust(identity)
		conn, err := grpc.NewClient(endpoint,
			grpc.WithTransportCredentials(trust),
			grpc.WithStatsHandler(sentHandler{}),
			grpc.WithIdleTimeout(0), // the stream holds it open
			grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
			grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 5 * time.Second}),
			grpc.WithConnectParams(grpc.ConnectParams{
				Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 5 * time.Second},
				MinConnectTimeout: 5 * time.Second,
			}))
		if err != nil {
			stop()
			m.closeConnections()
			return nil, fmt.Errorf("daemon %s: %w", endpoint, err)
		}
		m.daemons = append(m.daemons, &daemon{
			endpoint: endpoint, conn: conn, untrusted: trust.failed, views: map[string]*view{},
			domains: rpc.NewDomainServiceClient(conn), vms: rpc.NewVMServiceClient(conn),
			networks: rpc.NewNetworkServiceClient(conn), endpoints: rpc.NewEndpointServiceClient(conn),
		})
	}
	m.sticky = m.daemons[0]
	for _, d := range m.daemons {
		f.running.Go(func() { m.watch(ctx, d) })
	}
	return m, nil
}

// ClientUID is the client UUID that the member acts for.
func (m *Member) ClientUID() string { return m.clientUID }

// Sync waits until a daemon has told what its hosts have, and says whether one
// has; it gives up after a while, or when ctx ends. Daemons that have long been silent
// are not waited for at all: those who act through others would wait with us.
func (m *Member) Sync(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, min(syncPatience, time.Until(m.syncBy)))
	defer cancel()
	select {
	case <-m.synced:
		return true
	default:
	}
	select {
	case <-m.synced:
		return true
	case <-ctx.Done():
		return false
	}
}

const (
	// syncPatience is long beside a daemon's first answer and short beside a
	// reconcile.
	syncPatience = 2 * time.Second
	// syncLongest is how long after it was made a member's first answer is waited for.
	syncLongest = 5 * time.Second
)

// Connected tells that at least one daemon's stream is up.
func (m *Member) Connected() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.ContainsFunc(m.daemons, func(d *daemon) bool { return d.alive })
}

func (m *Member) endpoints() []string {
	var endpoints []string
	for _, d := range m.daemons {
		endpoints = append(endpoints, d.endpoint)
	}
	return endpoints
}

// retire ends the streams at once and the connections after the last call.
func (m *Member) retire() {
	m.stop()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.retired = true
	if m.calls == 0 {
		m.closeConnections()
	}
}

// begin and end enclose a call.
func (m *Member) begin() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.retired {
		return false
	}
	m.calls++
	return true
}

func (m *Member) end() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.calls--; m.retired && m.calls == 0 {
		m.closeConnections()
	}
}

func (m *Member) closeConnections() {
	for _, d := range m.daemons {
		_ = d.conn.Close() // it only fails when it is closed already
	}
}

// order is the daemons to try for a call that concerns host, which may be
// empty: those that we hear, if any; the one that answered last before the
// others; but a daemon that cannot reach the host after those that can, and one that does
// not know it last.
func (m *Member) order(host string) []*daemon {
	m.mu.Lock()
	defer m.mu.Unlock()
	var order []*daemon
	for _, d := range m.daemons {
		if d.alive {
			order = append(order, d)
		}
	}
	if order == nil {
		order = slices.Clone(m.daemons)
	}
	rank := func(d *daemon) int {
		n := 0
		switch v, knows := d.views[host]; {
		case host == "":
		case !knows:
			n += 4
		case !reachable(v.host):
			n += 2
		}
		if d != m.sticky {
			n++
		}
		return n
	}
	slices.SortStableFunc(order, func(a, b *daemon) int { return rank(a) - rank(b) })
	return order
}

// stay keeps to a daemon that answered, unless the usual one is all right too.
func (m *Member) stay(d *daemon) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.sticky.alive {
		m.sticky = d
	}
}

// leave gives another daemon a try after d did not answer.
func (m *Member) leave(d *daemon) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.sticky == d {
		m.sticky = m.daemons[(slices.Index(m.daemons, d)+1)%len(m.daemons)]
	}
}

// watch follows a daemon's stream until ctx ends.
func (m *Member) watch(ctx context.Context, d *daemon) {
	const shortest, longest = 100 * time.Millisecond, 5 * time.Second
	delay := shortest
	for {
		heard, err := m.follow(ctx, d)
		m.disconnected(d)
		if ctx.Err() != nil {
			return
		}
		if heard {
			delay = shortest
		}
		m.fleet.log.Info("Stream from a daemon ended; connecting again", "clientUID", m.clientUID, "endpoint", d.endpoint, "reason", err.Error(), "delay", delay)
		select {
		case <-ctx.Done():
			return
		case <-time.After(delay + rand.N(delay/5)):
		}
		delay = min(2*delay, longest)
	}
}

// follow reads one stream to its end and tells whether there was anything to
// read. A stream that says nothing for several of the daemon's intervals is as
// good as broken: an idle daemon would tell that it asked its hosts.
func (m *Member) follow(ctx context.Context, d *daemon) (heard bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stream, err := d.vms.WatchVMs(ctx, &rpc.WatchVMsRequest{ClientUid: m.clientUID}, grpc.WaitForReady(true))
	if err != nil {
		return false, newError("WatchVMs", d.endpoint, err, true)
	}
	const patience = 15 * time.Second
	silence := time.AfterFunc(patience, func() { cancel(fmt.Errorf("daemon %s said nothing for too long", d.endpoint)) })
	defer silence.Stop()
	for {
		message, err := stream.Recv()
		if err != nil {
			if cause := context.Cause(ctx); cause != nil {
				return heard, cause
			}
			return heard, newError("WatchVMs", d.endpoint, err, true)
		}
		m.observe(d, message)
		heard = true
		silence.Reset(max(5*d.interval, 5*time.Second))
	}
}

// sentKey is the context key of an *atomic.Bool that is set when a call's
// request has left: a request that has not cannot have had an effect.
type sentKey struct{}

type sentHandler struct{}

func (sentHandler) HandleRPC(ctx context.Context, s stats.RPCStats) {
	if _, ok := s.(*stats.OutHeader); ok {
		if sent, ok := ctx.Value(sentKey{}).(*atomic.Bool); ok {
			sent.Store(true)
		}
	}
}

func (sentHandler) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (sentHandler) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (sentHandler) HandleConn(context.Context, stats.ConnStats)                       {}
