package fleet_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"k8s.io/apimachinery/pkg/types"

	"elemento.cloud/cluster-api-provider-elemento/daemon/rpc"
	"elemento.cloud/cluster-api-provider-elemento/e2e/pki"
	"elemento.cloud/cluster-api-provider-elemento/provider/fleet"
)

const (
	clientUID = "11111111-1111-4111-8111-111111111111"
	soon      = 20 * time.Second
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// daemon is the far end of the wire: it answers as a test says, and keeps what
// it is asked.
type daemon struct {
	rpc.UnimplementedDomainServiceServer
	rpc.UnimplementedVMServiceServer
	rpc.UnimplementedNetworkServiceServer
	rpc.UnimplementedEndpointServiceServer

	address string
	server  *grpc.Server
	tells   chan *rpc.WatchVMsResponse

	mu     sync.Mutex
	asked  int
	ensure func(context.Context) error
}

func (d *daemon) EnsureVM(ctx context.Context, req *rpc.EnsureVMRequest) (*rpc.EnsureVMResponse, error) {
	d.mu.Lock()
	d.asked++
	answer := d.ensure
	d.mu.Unlock()
	if answer != nil {
		if err := answer(ctx); err != nil {
			return nil, err
		}
	}
	return &rpc.EnsureVMResponse{Vm: &rpc.VM{Name: req.GetVmName(), Host: req.GetHost()}}, nil
}

func (d *daemon) times() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.asked
}

func (d *daemon) answer(with func(context.Context) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ensure = with
}

func (d *daemon) WatchVMs(_ *rpc.WatchVMsRequest, stream rpc.VMService_WatchVMsServer) error {
	for {
		select {
		case <-stream.Context().Done():
			return nil
		case message := <-d.tells:
			if err := stream.Send(message); err != nil {
				return err
			}
		}
	}
}

// tell sends what the daemon knows of hosts, and that it asks them every minute.
func (d *daemon) tell(hosts ...*rpc.HostObservation) {
	d.tells <- &rpc.WatchVMsResponse{Epoch: "1", Event: &rpc.WatchVMsResponse_Snapshot{Snapshot: &rpc.Snapshot{
		Hosts: hosts, Interval: durationpb.New(time.Minute),
	}}}
}

// site is some daemons and a fleet that may act through them.
type site struct {
	t         *testing.T
	authority *pki.Authority
	daemons   []*daemon
	fleet     *fleet.Fleet

	mu      sync.Mutex
	changes map[fleet.Change]int
}

func newSite(t *testing.T, daemons int) *site {
	t.Helper()
	s := &site{t: t, authority: must(pki.NewAuthority("daemons")), fleet: fleet.New(logr.Discard()), changes: map[fleet.Change]int{}}
	for range daemons {
		s.daemons = append(s.daemons, s.daemon("127.0.0.1:0"))
	}
	s.fleet.Listen(func(c fleet.Change) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.changes[c]++
	})
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- s.fleet.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s *site) daemon(address string) *daemon {
	s.t.Helper()
	pair := must(s.authority.Server("127.0.0.1"))
	callers := x509.NewCertPool()
	callers.AppendCertsFromPEM(s.authority.PEM)
	listener := must(new(net.ListenConfig).Listen(s.t.Context(), "tcp", address))
	d := &daemon{address: listener.Addr().String(), tells: make(chan *rpc.WatchVMsResponse, 16), server: grpc.NewServer(grpc.Creds(credentials.NewTLS(&tls.Config{
		MinVersion: tls.VersionTLS13, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: callers,
		Certificates: []tls.Certificate{must(tls.X509KeyPair(pair.Cert, pair.Key))},
	})))}
	rpc.RegisterDomainServiceServer(d.server, d)
	rpc.RegisterVMServiceServer(d.server, d)
	rpc.RegisterNetworkServiceServer(d.server, d)
	rpc.RegisterEndpointServiceServer(d.server, d)
	done := make(chan error, 1)
	go func() { done <- d.server.Serve(listener) }()
	s.t.Cleanup(func() {
		d.server.Stop()
		if err := <-done; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			s.t.Error(err)
		}
	})
	return d
}

// secret is the data of an identity Secret for the site's daemons.
func (s *site) secret() map[string][]byte {
	pair := must(s.authority.Client("provider"))
	var endpoints []string
	for _, d := range s.daemons {
		endpoints = append(endpoints, d.address)
	}
	return map[string][]byte{
		fleet.KeyEndpoints: []byte(strings.Join(endpoints, ", ")), fleet.KeyClientUID: []byte(clientUID),
		fleet.KeyCertificate: pair.Cert, fleet.KeyPrivateKey: pair.Key, fleet.KeyAuthority: s.authority.PEM,
	}
}

func user(name string) fleet.User {
	return fleet.User{Kind: "ElementoCluster", NamespacedName: types.NamespacedName{Namespace: "default", Name: name}}
}

func (s *site) member() *fleet.Member {
	s.t.Helper()
	return must(s.fleet.Join(user("a"), must(fleet.ParseIdentity(s.secret()))))
}

func (s *site) eventually(what string, is func() bool) {
	s.t.Helper()
	deadline := time.Now().Add(soon)
	for !is() {
		if time.Now().After(deadline) {
			s.t.Fatalf("not so in time: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func (s *site) told(c fleet.Change) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changes[c]
}

func ensure(ctx context.Context, m *fleet.Member, vm string) error {
	_, err := m.EnsureVM(ctx, &rpc.EnsureVMRequest{Host: "host-1", VmName: vm})
	return err
}

// at is a moment of the daemons' clock.
func at(second int) *timestamppb.Timestamp {
	return timestamppb.New(time.Date(2030, 1, 1, 0, 0, second, 0, time.UTC))
}

func host(health rpc.HostHealth) *rpc.Host {
	return &rpc.Host{Id: "host-1", Domain: "d1", Health: health}
}

const (
	up   = rpc.HostHealth_HOST_HEALTH_READY
	down = rpc.HostHealth_HOST_HEALTH_UNREACHABLE
)

// seen is what a daemon saw of host-1 at a moment.
func seen(health rpc.HostHealth, second int, vms ...string) *rpc.HostObservation {
	o := &rpc.HostObservation{Host: host(health), ObservedAt: at(second)}
	for _, name := range vms {
		o.Vms = append(o.Vms, &rpc.VM{Name: name, Host: "host-1", PowerState: rpc.PowerState_POWER_STATE_RUNNING})
	}
	return o
}

func TestADaemonThatNeverTellsAnythingIsNotWaitedForAgainAndAgain(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1) // it takes connections and says nothing
	m := s.member()
	joined := time.Now()
	for time.Since(joined) < 6*time.Second {
		if m.Sync(t.Context()) {
			t.Fatal("it has told something")
		}
	}
	// As many as a manager has to work on, by a few at a time.
	began := time.Now()
	for range 10 {
		m.Sync(t.Context())
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("ten machines were held up for %s", took)
	}
	s.daemons[0].tell(seen(up, 1))
	s.eventually("it has told something", func() bool { return m.Sync(t.Context()) })
}

func TestCallsStayWithOneDaemonWhileItAnswers(t *testing.T) {
	t.Parallel()
	s := newSite(t, 2)
	m := s.member()
	for range 5 {
		must(0, ensure(t.Context(), m, "vm-1"))
	}
	if first, second := s.daemons[0].times(), s.daemons[1].times(); first != 5 || second != 0 {
		t.Errorf("the daemons were asked %d and %d times, want 5 and 0", first, second)
	}
}

func TestADaemonThatIsAwayIsPassedOver(t *testing.T) {
	t.Parallel()
	s := newSite(t, 2)
	s.daemons[0].server.Stop()
	m := s.member()
	must(0, ensure(t.Context(), m, "vm-1"))
	must(0, ensure(t.Context(), m, "vm-1"))
	if n := s.daemons[1].times(); n != 2 {
		t.Errorf("the other daemon was asked %d times, want 2", n)
	}
}

func TestADaemonThatDrainsIsPassedOver(t *testing.T) {
	t.Parallel()
	s := newSite(t, 2)
	s.daemons[0].answer(func(context.Context) error {
		return must(status.New(codes.Unavailable, "going away").WithDetails(&rpc.ErrorDetail{Reason: rpc.Reason_REASON_DRAINING})).Err()
	})
	must(0, ensure(t.Context(), s.member(), "vm-1"))
	if n := s.daemons[1].times(); n != 1 {
		t.Errorf("the other daemon was asked %d times, want 1", n)
	}
}

func TestWhatADaemonRefusesIsNotAskedOfAnother(t *testing.T) {
	t.Parallel()
	s := newSite(t, 2)
	s.daemons[0].answer(func(context.Context) error {
		return must(status.New(codes.Unavailable, "host-1 does not answer").WithDetails(&rpc.ErrorDetail{Reason: rpc.Reason_REASON_HOST_UNREACHABLE, Host: "host-1"})).Err()
	})
	err := ensure(t.Context(), s.member(), "vm-1")
	var e *fleet.Error
	if !errors.As(err, &e) || e.Reason != rpc.Reason_REASON_HOST_UNREACHABLE || e.Host != "host-1" || e.Message != "host-1 does not answer" || !e.Answered() {
		t.Fatalf("error is %#v", err)
	}
	if n := s.daemons[1].times(); n != 0 {
		t.Errorf("the other daemon was asked %d times, want 0", n)
	}
}

func TestAnotherDaemonWaitsOutALostCall(t *testing.T) {
	t.Parallel()
	s := newSite(t, 2)
	m := s.member()
	s.daemons[0].tell(seen(up, 1, "by-the-first"))
	s.eventually("the first daemon is heard", func() bool { return m.Look("host-1", "by-the-first").VM != nil })
	s.daemons[1].tell(seen(up, 2, "by-the-second"))
	s.eventually("the second daemon is heard", func() bool { return m.Look("host-1", "by-the-second").VM != nil })

	arrived := make(chan struct{})
	s.daemons[0].answer(func(ctx context.Context) error {
		close(arrived)
		<-ctx.Done() // it is at it for as long as it lives
		return ctx.Err()
	})
	deadline := time.Now().Add(3 * time.Second)
	ctx, cancel := context.WithDeadline(t.Context(), deadline)
	defer cancel()
	lost := make(chan error, 1)
	go func() { lost <- ensure(ctx, m, "vm-1") }()
	<-arrived
	s.daemons[0].server.Stop()
	if err := <-lost; fleet.ReasonOf(err) != rpc.Reason_REASON_UNSPECIFIED {
		t.Fatalf("the lost call failed with %v", err)
	}

	err := ensure(t.Context(), m, "vm-1")
	var e *fleet.Error
	if !errors.As(err, &e) || !e.Waiting() || e.Answered() {
		t.Errorf("error is %#v, want one that waits", err)
	}
	if after := fleet.RetryAfter(err, 0); after <= 0 || after > 5*time.Second {
		t.Fatalf("the next call may be made after %s (%v), want what is left of the lost one's time", after, err)
	}
	must(0, ensure(t.Context(), m, "vm-2")) // another VM need not wait
	s.eventually("the other daemon takes over", func() bool { return ensure(t.Context(), m, "vm-1") == nil })
	if now := time.Now(); now.Before(deadline) {
		t.Errorf("the other daemon acted %s before the lost call's deadline", deadline.Sub(now))
	}
}

func TestADaemonThatCannotReachTheHostComesSecond(t *testing.T) {
	t.Parallel()
	s := newSite(t, 2)
	m := s.member()
	s.daemons[0].tell(seen(down, 1))
	s.daemons[1].tell(seen(up, 1, "vm-1"))
	s.eventually("both are heard", func() bool { return m.Look("host-1", "vm-1").Reachable() })
	s.eventually("the one that reaches the host is asked", func() bool {
		must(0, ensure(t.Context(), m, "vm-1"))
		return s.daemons[1].times() > 0
	})
}

func TestADaemonThatDoesNotKnowTheHostComesLast(t *testing.T) {
	t.Parallel()
	s := newSite(t, 3)
	m := s.member()
	s.daemons[0].tell() // it has the old configuration
	s.eventually("the first is heard", m.Connected)
	s.daemons[1].tell(seen(down, 1))
	s.eventually("so is the second", func() bool { return m.Look("host-1", "").Host != nil })
	must(0, ensure(t.Context(), m, "vm-1"))
	if s.daemons[0].times() != 0 || s.daemons[1].times() != 1 {
		t.Errorf("the daemons were asked %d and %d times, want only the second", s.daemons[0].times(), s.daemons[1].times())
	}
}

func TestAHostThatADaemonDoesNotKnowIsAskedOfAnother(t *testing.T) {
	t.Parallel()
	s := newSite(t, 2)
	m := s.member()
	for _, d := range s.daemons {
		d.answer(func(context.Context) error {
			refusal := must(status.New(codes.NotFound, "no such host").WithDetails(&rpc.ErrorDetail{Reason: rpc.Reason_REASON_HOST_UNKNOWN, Host: "host-1"}))
			return refusal.Err()
		})
	}
	err := ensure(t.Context(), m, "vm-1")
	if fleet.ReasonOf(err) != rpc.Reason_REASON_HOST_UNKNOWN || s.daemons[0].times() != 1 || s.daemons[1].times() != 1 {
		t.Errorf("got %v after %d and %d times, want what both say", err, s.daemons[0].times(), s.daemons[1].times())
	}
	s.daemons[1].answer(nil) // it has the new configuration
	must(0, ensure(t.Context(), m, "vm-1"))
}

func TestTheNewestAnswerOfAHostCounts(t *testing.T) {
	t.Parallel()
	s := newSite(t, 2)
	m := s.member()
	s.daemons[0].tell(seen(up, 10, "vm-1"))
	s.eventually("vm-1 is seen", func() bool { return m.Look("host-1", "vm-1").VM != nil })
	s.daemons[1].tell(seen(up, 5))
	s.eventually("the older answer has come", func() bool { return len(s.daemons[1].tells) == 0 })
	if m.Look("host-1", "vm-1").VM == nil {
		t.Error("an older answer took the VM away")
	}
	s.daemons[1].tells <- &rpc.WatchVMsResponse{Epoch: "1", Event: &rpc.WatchVMsResponse_Change{Change: &rpc.HostChange{
		Host: host(up), ObservedAt: at(20), Changed: []*rpc.VM{{Name: "vm-2", Host: "host-1"}},
	}}}
	s.eventually("vm-2 is seen", func() bool { return m.Look("host-1", "vm-2").VM != nil })
	if m.Look("host-1", "vm-1").VM != nil {
		t.Error("the newest answer is without vm-1, and it is still there")
	}
}

func TestAHostThatOneDaemonReachesIsUp(t *testing.T) {
	t.Parallel()
	s := newSite(t, 2)
	m := s.member()
	s.daemons[0].tell(seen(up, 10, "vm-1"))
	s.eventually("the host is up", func() bool { return m.Look("host-1", "vm-1").Reachable() })
	s.daemons[1].tell(seen(down, 20))
	s.eventually("the other daemon is heard", func() bool { return len(s.daemons[1].tells) == 0 })
	if sight := m.Look("host-1", "vm-1"); !sight.Reachable() || sight.VM == nil {
		t.Errorf("sighting is %+v", sight)
	}
	s.daemons[0].tells <- &rpc.WatchVMsResponse{Epoch: "1", Event: &rpc.WatchVMsResponse_Change{Change: &rpc.HostChange{Host: host(down), ObservedAt: at(30)}}}
	s.eventually("the host is down", func() bool { return !m.Look("host-1", "vm-1").Reachable() })
	s.eventually("both changes of its health are told", func() bool { return s.told(fleet.Change{ClientUID: clientUID, Host: "host-1"}) >= 2 })
}

func TestAHostThatOneDaemonKnowsToBeInMaintenanceIs(t *testing.T) {
	t.Parallel()
	const maintenance = rpc.HostHealth_HOST_HEALTH_MAINTENANCE
	s := newSite(t, 2)
	m := s.member()
	health := func() rpc.HostHealth { return m.Look("host-1", "vm-1").Host.GetHealth() }
	s.daemons[0].tell(seen(maintenance, 10, "vm-1"))
	s.eventually("the host is in maintenance", func() bool { return health() == maintenance })
	s.daemons[1].tell(seen(up, 20, "vm-1"))
	s.daemons[1].tell(seen(up, 21, "vm-1"))
	s.eventually("the other daemon is heard", func() bool { return len(s.daemons[1].tells) == 0 })
	if health() != maintenance {
		t.Error("an answer of a host that has not told yet ends its maintenance")
	}
	s.daemons[0].tell(seen(up, 22, "vm-1"))
	s.eventually("it is out of maintenance", func() bool { return health() == up })
}

func TestAbsenceIsCountedByAnswers(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	m := s.member()
	s.daemons[0].tell(seen(up, 1, "vm-1", "vm-2"))
	absent := func(n int) func() bool {
		return func() bool { return m.Look("host-1", "vm-1").Absent == n }
	}
	s.eventually("vm-1 is there", func() bool { return m.Look("host-1", "vm-1").VM != nil })
	s.daemons[0].tells <- &rpc.WatchVMsResponse{Epoch: "1", Event: &rpc.WatchVMsResponse_Change{Change: &rpc.HostChange{Host: host(up), ObservedAt: at(2), Removed: []string{"vm-1"}}}}
	s.eventually("one answer without it", absent(1))
	// A host that does not answer proves nothing.
	s.daemons[0].tells <- &rpc.WatchVMsResponse{Epoch: "1", Event: &rpc.WatchVMsResponse_Change{Change: &rpc.HostChange{Host: host(down), ObservedAt: at(3)}}}
	s.eventually("the host is down", func() bool { return !m.Look("host-1", "vm-1").Reachable() })
	if !absent(1)() {
		t.Error("a host that does not answer counts as an answer")
	}
	before := s.told(fleet.Change{ClientUID: clientUID, VM: "vm-1"})
	fresh := func(second int) *rpc.WatchVMsResponse {
		return &rpc.WatchVMsResponse{Epoch: "1", Event: &rpc.WatchVMsResponse_Freshness{Freshness: &rpc.Freshness{ObservedAt: map[string]*timestamppb.Timestamp{"host-1": at(second)}}}}
	}
	s.daemons[0].tells <- fresh(4)
	s.eventually("two answers without it", absent(2))
	s.eventually("that is told", func() bool { return s.told(fleet.Change{ClientUID: clientUID, VM: "vm-1"}) == before+1 })
	s.daemons[0].tells <- fresh(5)
	s.daemons[0].tell(seen(up, 6, "vm-2", "vm-3"))
	s.eventually("vm-3 is seen", func() bool { return m.Look("host-1", "vm-3").VM != nil })
	if !absent(2)() || s.told(fleet.Change{ClientUID: clientUID, VM: "vm-1"}) != before+1 {
		t.Error("what is proven is told again")
	}
	if m.Look("host-1", "vm-2").Absent != 0 {
		t.Error("vm-2 is counted as absent, too")
	}
}

func TestAbsenceIsCountedThoughTheDaemonsClockWentBack(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	m := s.member()
	s.daemons[0].tell(seen(up, 3600, "vm-1"))
	s.eventually("vm-1 is there", func() bool { return m.Look("host-1", "vm-1").VM != nil })
	s.daemons[0].tells <- &rpc.WatchVMsResponse{Epoch: "1", Event: &rpc.WatchVMsResponse_Change{Change: &rpc.HostChange{Host: host(up), ObservedAt: at(1), Removed: []string{"vm-1"}}}}
	s.daemons[0].tells <- &rpc.WatchVMsResponse{Epoch: "1", Event: &rpc.WatchVMsResponse_Freshness{Freshness: &rpc.Freshness{ObservedAt: map[string]*timestamppb.Timestamp{"host-1": at(2)}}}}
	s.eventually("two answers without it", func() bool { return m.Look("host-1", "vm-1").Absent == 2 })
}

func TestAVMThatGoesWhileItsHostAndTheStreamAreDownIsMissed(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	m := s.member()
	s.daemons[0].tell(seen(up, 1, "vm-1", "vm-2"))
	s.eventually("vm-1 is there", func() bool { return m.Look("host-1", "vm-1").VM != nil })

	s.daemons[0].server.Stop()
	again := s.daemon(s.daemons[0].address)
	again.tell(seen(down, 2))
	s.eventually("the host is down", func() bool {
		sight := m.Look("host-1", "vm-1")
		return sight.Host != nil && !sight.Reachable()
	})
	if sight := m.Look("host-1", "vm-1"); sight.VM == nil || sight.Absent != 0 {
		t.Errorf("a silent host proves the VM gone: %+v", sight)
	}
	// The daemon never told on this stream of vm-1, so it cannot tell that it is
	// gone.
	again.tells <- &rpc.WatchVMsResponse{Epoch: "2", Event: &rpc.WatchVMsResponse_Change{Change: &rpc.HostChange{
		Host: host(up), ObservedAt: at(3), Changed: []*rpc.VM{{Name: "vm-2", Host: "host-1"}},
	}}}
	s.eventually("the host is up", func() bool { return m.Look("host-1", "vm-2").Reachable() })
	if sight := m.Look("host-1", "vm-1"); sight.VM != nil || sight.Absent != 1 {
		t.Errorf("the host answered once without vm-1, and the sighting is %+v", sight)
	}
	if m.Look("host-1", "vm-2").VM == nil {
		t.Error("vm-2 is gone, too")
	}
	// From then on a change is only that.
	again.tells <- &rpc.WatchVMsResponse{Epoch: "2", Event: &rpc.WatchVMsResponse_Change{Change: &rpc.HostChange{
		Host: host(up), ObservedAt: at(4), Changed: []*rpc.VM{{Name: "vm-3", Host: "host-1"}},
	}}}
	s.eventually("vm-3 is seen", func() bool { return m.Look("host-1", "vm-3").VM != nil })
	if m.Look("host-1", "vm-2").VM == nil || m.Look("host-1", "vm-1").Absent != 2 {
		t.Error("a later change was taken for all that there is")
	}
}

func TestChangesDoNotPileUpBehindASlowListener(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	release := make(chan struct{})
	var once sync.Once
	t.Cleanup(func() { once.Do(func() { close(release) }) })
	s.fleet.Listen(func(fleet.Change) { <-release })
	m := s.member()
	s.daemons[0].tell(seen(up, 1, "vm-1"))
	for i := range 100 {
		s.daemons[0].tells <- &rpc.WatchVMsResponse{Epoch: "1", Event: &rpc.WatchVMsResponse_Change{Change: &rpc.HostChange{
			Host: host(up), ObservedAt: at(2 + i), Changed: []*rpc.VM{{Name: "vm-1", Host: "host-1", Address: fmt.Sprintf("192.0.2.%d", i)}},
		}}}
	}
	s.eventually("the last change is seen", func() bool { return m.Look("host-1", "vm-1").VM.GetAddress() == "192.0.2.99" })
	once.Do(func() { close(release) })
	s.eventually("the VM's change is told", func() bool { return s.told(fleet.Change{ClientUID: clientUID, VM: "vm-1"}) > 0 })
	if n := s.told(fleet.Change{ClientUID: clientUID, VM: "vm-1"}); n > 3 {
		t.Errorf("the listener was told %d times of one VM", n)
	}
}

func TestUsersOfEqualIdentitiesShareAMember(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	data := s.secret()
	a := must(s.fleet.Join(user("a"), must(fleet.ParseIdentity(data))))
	b := must(s.fleet.Join(user("b"), must(fleet.ParseIdentity(data))))
	if a != b {
		t.Error("equal identities have members of their own")
	}
	if users := s.fleet.Users(clientUID); !slices.Equal(users, []fleet.User{user("a"), user("b")}) {
		t.Errorf("users are %v", users)
	}
	s.fleet.Leave(user("a"))
	must(0, ensure(t.Context(), b, "vm-1"))
	s.fleet.Leave(user("b"))
	if err := ensure(t.Context(), b, "vm-1"); err == nil {
		t.Error("a member without users still acts")
	}
}

func TestARotatedCertificateIsUsedFromThenOn(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	before := s.member()
	arrived, release := make(chan struct{}), make(chan struct{})
	s.daemons[0].answer(func(context.Context) error {
		close(arrived)
		<-release
		return nil
	})
	underWay := make(chan error, 1)
	go func() { underWay <- ensure(context.WithoutCancel(t.Context()), before, "vm-1") }()
	<-arrived
	s.daemons[0].answer(nil)
	after := s.member() // another client certificate
	if before == after {
		t.Fatal("the old certificate is still used")
	}
	must(0, ensure(t.Context(), after, "vm-2"))
	close(release)
	if err := <-underWay; err != nil {
		t.Errorf("the call that was under way failed: %v", err)
	}
}

func TestADaemonOfAnotherAuthorityIsNotTrusted(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	data := s.secret()
	data[fleet.KeyAuthority] = must(pki.NewAuthority("another")).PEM
	m := must(s.fleet.Join(user("a"), must(fleet.ParseIdentity(data))))
	err := ensure(t.Context(), m, "vm-1")
	var e *fleet.Error
	if !errors.As(err, &e) || e.Answered() || !e.Untrusted {
		t.Errorf("error is %#v", err)
	}
	if n := s.daemons[0].times(); n != 0 {
		t.Error("the request was sent all the same")
	}
}

func TestADaemonThatDoesNotTrustUsIsToldApart(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	data := s.secret()
	pair := must(must(pki.NewAuthority("another")).Client("provider"))
	data[fleet.KeyCertificate], data[fleet.KeyPrivateKey] = pair.Cert, pair.Key
	m := must(s.fleet.Join(user("a"), must(fleet.ParseIdentity(data))))
	s.eventually("the refusal is told", func() bool {
		var e *fleet.Error
		return errors.As(ensure(t.Context(), m, "vm-1"), &e) && e.Untrusted
	})
}

func TestABrokenIdentityNamesItsKey(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	other := must(s.authority.Client("other"))
	for name, c := range map[string]struct {
		edit func(map[string][]byte)
		keys []string
	}{
		"nothing in it": {func(data map[string][]byte) { clear(data) }, []string{fleet.KeyEndpoints, fleet.KeyClientUID, fleet.KeyCertificate, fleet.KeyPrivateKey, fleet.KeyAuthority}},
		"no port":       {func(data map[string][]byte) { data[fleet.KeyEndpoints] = []byte("daemon.example.com") }, []string{fleet.KeyEndpoints}},
		"port too high": {func(data map[string][]byte) { data[fleet.KeyEndpoints] = []byte("daemon:70000") }, []string{fleet.KeyEndpoints}},
		"twice":         {func(data map[string][]byte) { data[fleet.KeyEndpoints] = []byte("a:1,a:1") }, []string{fleet.KeyEndpoints}},
		"only commas":   {func(data map[string][]byte) { data[fleet.KeyEndpoints] = []byte(",,") }, []string{fleet.KeyEndpoints}},
		"quoted client": {func(data map[string][]byte) { data[fleet.KeyClientUID] = []byte("a b") }, []string{fleet.KeyClientUID}},
		"another key":   {func(data map[string][]byte) { data[fleet.KeyPrivateKey] = other.Key }, []string{fleet.KeyCertificate}},
		"no authority":  {func(data map[string][]byte) { data[fleet.KeyAuthority] = []byte("-") }, []string{fleet.KeyAuthority}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data := s.secret()
			c.edit(data)
			_, err := fleet.ParseIdentity(data)
			var keys []string
			if many, ok := err.(interface{ Unwrap() []error }); ok {
				for _, err := range many.Unwrap() {
					var e *fleet.IdentityError
					if errors.As(err, &e) {
						keys = append(keys, e.Key)
					}
				}
			}
			if !slices.Equal(keys, c.keys) {
				t.Errorf("the error (%v) is about %v, want %v", err, keys, c.keys)
			}
			if err != nil && strings.Contains(err.Error(), "PRIVATE KEY") {
				t.Error("the error holds a private key")
			}
		})
	}
}

func TestNothingRunsOnceTheFleetHasEnded(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	f := fleet.New(logr.Discard())
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- f.Start(ctx) }()
	m := must(f.Join(user("a"), must(fleet.ParseIdentity(s.secret()))))
	must(0, ensure(t.Context(), m, "vm-1"))
	cancel()
	if err := <-done; err != nil { // it waits for its streams
		t.Fatal(err)
	}
	if _, err := f.Join(user("a"), must(fleet.ParseIdentity(s.secret()))); err == nil {
		t.Error("it still takes users")
	}
	if err := ensure(t.Context(), m, "vm-1"); err == nil {
		t.Error("it still makes calls")
	}
}
