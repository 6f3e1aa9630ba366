package daemon_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"elemento.cloud/cluster-api-provider-elemento/c4"
	"elemento.cloud/cluster-api-provider-elemento/daemon"
	"elemento.cloud/cluster-api-provider-elemento/daemon/rpc"
	"elemento.cloud/cluster-api-provider-elemento/e2e/pki"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos"
)

const (
	owner   = "11111111-1111-4111-8111-111111111111"
	another = "22222222-2222-4222-8222-222222222222"
	image   = "ubuntu-v1.36.3"
	// secret stands in every user-data of these tests; each test fails if it is
	// in a log or in the message of an error.
	secret = "b00t5trap-t0ken"
	// soon is how long tests wait for what has to come, however busy the machine
	// is.
	soon = time.Minute
)

// site is a fake AtomOS and the daemons in front of it.
type site struct {
	t         testing.TB
	fake      *fakeatomos.Fake
	authority *pki.Authority
	config    daemon.Config
	logs      *logs
}

// newSite brings up a fake with that many hosts (host-1, host-2 … in domain
// d1); edit may change its options.
func newSite(t testing.TB, hosts int, edit ...func(*fakeatomos.Options)) *site {
	t.Helper()
	addresses := must(fakeatomos.FreeAddresses(hosts))
	o := fakeatomos.Options{Images: map[string]string{image: "v1.36.3"}}
	for i, a := range addresses {
		o.Hosts = append(o.Hosts, fakeatomos.HostOptions{Name: fmt.Sprintf("host-%d", i+1), Domain: "d1", Address: a})
	}
	for _, e := range edit {
		e(&o)
	}
	fake, err := fakeatomos.Start(context.WithoutCancel(t.Context()), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fake.Close)
	s := &site{t: t, fake: fake, authority: must(pki.NewAuthority("daemons")), logs: &logs{}}
	s.config = daemon.Config{
		Listen: "127.0.0.1:0", MetricsListen: "127.0.0.1:0",
		Clients:  []daemon.Client{{CommonName: "provider", ClientUIDs: []string{owner}}, {CommonName: "other", ClientUIDs: []string{another}}},
		ImageURL: "https://images.example/{image}.qcow2",
		Interval: daemon.Duration{Duration: 100 * time.Millisecond},
	}
	for _, h := range fake.Hosts() {
		s.config.Hosts = append(s.config.Hosts, daemon.Host{ID: h.Name(), Domain: h.Domain(), URL: h.URL(), Fingerprint: h.Fingerprint()})
	}
	t.Cleanup(func() { s.logs.mustNotHold(t, secret) })
	return s
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// running is one daemon of a site.
type running struct {
	*daemon.Daemon
	site *site
	cfg  daemon.Config
	stop context.CancelFunc
	done chan error
}

// daemon starts a daemon that ends with the test.
func (s *site) daemon() *running {
	s.t.Helper()
	dir := s.t.TempDir()
	cfg := s.config
	cfg.TLS = daemon.TLS{CertFile: filepath.Join(dir, "tls.crt"), KeyFile: filepath.Join(dir, "tls.key"), ClientCAFile: filepath.Join(dir, "ca.crt")}
	r := &running{site: s, cfg: cfg, done: make(chan error, 1)}
	r.install(must(s.authority.Server("127.0.0.1")), s.authority.PEM)
	d, err := daemon.New(cfg, slog.New(slog.NewJSONHandler(s.logs, &slog.HandlerOptions{Level: slog.LevelDebug})))
	if err != nil {
		s.t.Fatal(err)
	}
	r.Daemon = d
	ctx, stop := context.WithCancel(context.WithoutCancel(s.t.Context()))
	r.stop = stop
	go func() { r.done <- d.Run(ctx) }()
	s.t.Cleanup(func() {
		stop()
		select {
		case err := <-r.done:
			if err != nil {
				s.t.Error(err)
			}
		case <-time.After(soon):
			s.t.Error("the daemon does not end")
		}
	})
	return r
}

// install puts certificates in place, as a rotation does.
func (r *running) install(pair pki.Pair, authorities []byte) {
	r.site.t.Helper()
	for path, content := range map[string][]byte{r.cfg.TLS.CertFile: pair.Cert, r.cfg.TLS.KeyFile: pair.Key, r.cfg.TLS.ClientCAFile: authorities} {
		if err := os.WriteFile(path+".new", content, 0o600); err != nil {
			r.site.t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			r.site.t.Fatal(err)
		}
	}
}

// caller is one connection to a daemon.
type caller struct {
	rpc.DomainServiceClient
	rpc.VMServiceClient
	rpc.NetworkServiceClient
	rpc.EndpointServiceClient
	conn *grpc.ClientConn
}

// as connects with a certificate; an empty pair is none.
func (r *running) as(pair pki.Pair, options ...grpc.DialOption) *caller {
	r.site.t.Helper()
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: x509.NewCertPool()}
	cfg.RootCAs.AppendCertsFromPEM(r.site.authority.PEM)
	if pair.Cert != nil {
		cfg.Certificates = []tls.Certificate{must(tls.X509KeyPair(pair.Cert, pair.Key))}
	}
	options = append(options, grpc.WithTransportCredentials(credentials.NewTLS(cfg)), grpc.WithUnaryInterceptor(r.site.checked))
	conn := must(grpc.NewClient(r.Addr().String(), options...))
	r.site.t.Cleanup(func() { _ = conn.Close() })
	return &caller{rpc.NewDomainServiceClient(conn), rpc.NewVMServiceClient(conn), rpc.NewNetworkServiceClient(conn), rpc.NewEndpointServiceClient(conn), conn}
}

// provider connects as the caller that may act for owner.
func (r *running) provider() *caller { return r.as(must(r.site.authority.Client("provider"))) }

// other connects as the caller that may act for another.
func (r *running) other() *caller { return r.as(must(r.site.authority.Client("other"))) }

// checked looks at what every failed call tells its caller.
func (s *site) checked(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	err := invoke(ctx, method, req, reply, cc, opts...)
	if err != nil && strings.Contains(err.Error(), secret) {
		s.t.Errorf("%s tells user-data in its error", method)
	}
	return err
}

// within returns a context for one call.
func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), d)
	t.Cleanup(cancel)
	return ctx
}

// reason returns the one ErrorDetail of an error.
func reason(err error) rpc.Reason {
	details := status.Convert(err).Details()
	if len(details) != 1 {
		return rpc.Reason_REASON_UNSPECIFIED
	}
	d, _ := details[0].(*rpc.ErrorDetail)
	return d.GetReason()
}

// wantReason fails the test unless the error has that reason and its message
// all of these words.
func wantReason(t *testing.T, err error, want rpc.Reason, words ...string) {
	t.Helper()
	if got := reason(err); got != want {
		t.Fatalf("reason %s (%v), want %s", got, err, want)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("message %q does not say %q", err, w)
		}
	}
}

// eventually waits until what is true.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	deadline := time.Now().Add(soon)
	for !is() {
		if time.Now().After(deadline) {
			t.Fatalf("not so in time: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// abandon makes a call whose caller goes as soon as what is true, which has to
// be before the call ends.
func abandon(t *testing.T, what string, is func() bool, call func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(within(t, soon))
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- call(ctx) }()
	eventually(t, what, is)
	cancel()
	if err := <-ended; status.Code(err) != codes.Canceled {
		t.Fatalf("the call ended with %v before its caller could go", err)
	}
}

// fault puts a fault in force.
func (s *site) fault(f fakeatomos.Fault) string {
	s.t.Helper()
	return must(s.fake.AddFault(f))
}

// host returns a host of the fake.
func (s *site) host(name string) *fakeatomos.Host {
	s.t.Helper()
	return must(s.fake.Host(name))
}

// atomos returns a client that comes to a host as anyone might.
func (s *site) atomos(name string) *c4.Client {
	s.t.Helper()
	h := s.host(name)
	c := must(c4.New(c4.Config{URL: h.URL(), Fingerprint: h.Fingerprint()}))
	s.t.Cleanup(c.Close)
	return c
}

// wantNothingLeft fails the test if AtomOS holds anything of these names.
func (s *site) wantNothingLeft(besides ...string) {
	s.t.Helper()
	left := slices.DeleteFunc(s.fake.Inventory().Resources(), func(r string) bool {
		return slices.ContainsFunc(besides, func(b string) bool { return strings.Contains(r, b) })
	})
	if len(left) > 0 {
		s.t.Errorf("AtomOS still holds %q", left)
	}
}

// logs keeps what daemons log.
type logs struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (l *logs) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(b)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.String()
}

func (l *logs) mustNotHold(t testing.TB, word string) {
	t.Helper()
	if text := l.String(); strings.Contains(text, word) {
		i := strings.Index(text, word)
		t.Errorf("user-data is in the log: %s", text[max(0, i-200):min(len(text), i+100)])
	}
}

// worker is a small VM on a managed network.
func worker() *rpc.VMSpec {
	return &rpc.VMSpec{
		Slots: 1, MaxOverprovision: 10, MemoryMib: 512, Image: image,
		BootVolume: &rpc.Volume{SizeGib: 10},
		Networks:   []*rpc.NetworkSpec{bridged("cluster")},
	}
}

func bridged(name string) *rpc.NetworkSpec {
	return &rpc.NetworkSpec{Name: name, Cidr: "127.88.0.0/16", Mode: rpc.NetworkMode_NETWORK_MODE_BRIDGED}
}

// ensure is a request for a VM of owner's.
func ensure(host, vm string) *rpc.EnsureVMRequest {
	return &rpc.EnsureVMRequest{
		ClientUid: owner, Host: host, VmName: vm, Spec: worker(),
		UserData: []byte("#cloud-config\n# " + secret + "\n"),
		MetaData: map[string]string{"provider_id": "elemento://d1/" + vm},
	}
}

// makes makes VMs of owner's on host-1.
func (c *caller) makes(t testing.TB, vms ...string) {
	t.Helper()
	for _, vm := range vms {
		if _, err := c.EnsureVM(within(t, soon), ensure("host-1", vm)); err != nil {
			t.Fatal(err)
		}
	}
}

// again repeats a call as long as its failures say that this is worth it.
func again(t *testing.T, what string, call func() error) {
	t.Helper()
	eventually(t, what, func() bool {
		err := call()
		switch reason(err) {
		case rpc.Reason_REASON_OUTCOME_UNKNOWN, rpc.Reason_REASON_WRONG_STATE, rpc.Reason_REASON_IN_USE, rpc.Reason_REASON_HOST_FAILED, rpc.Reason_REASON_HOST_UNREACHABLE:
			return false
		}
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		return true
	})
}

// ensureUntilThere repeats EnsureVM, each time with the next caller.
func ensureUntilThere(t *testing.T, req *rpc.EnsureVMRequest, callers ...*caller) (vm *rpc.VM) {
	t.Helper()
	calls := 0
	again(t, "VM "+req.VmName+" is there", func() error {
		res, err := callers[calls%len(callers)].EnsureVM(within(t, soon), req)
		calls++
		vm = res.GetVm()
		return err
	})
	return vm
}

// removeForward takes away what forward has made.
func (c *caller) removeForward(t *testing.T) func() error {
	return func() error {
		_, err := c.DeleteForward(within(t, soon), &rpc.DeleteForwardRequest{ClientUid: owner, Endpoint: &rpc.Endpoint{Host: "host-1", Port: 6443}})
		return err
	}
}

// forward points the port 6443 of host-1 at a VM of it.
func (c *caller) forward(t *testing.T, vm string) error {
	t.Helper()
	_, err := c.EnsureForward(within(t, soon), &rpc.EnsureForwardRequest{
		ClientUid: owner, Endpoint: &rpc.Endpoint{Host: "host-1", Port: 6443}, TargetHost: "host-1", TargetVmName: vm, TargetPort: 6443,
	})
	return err
}

// deleteVM calls DeleteVM until nothing is left.
func (c *caller) deleteVM(t *testing.T, host, vm string, force time.Time) (calls int) {
	t.Helper()
	deadline := time.Now().Add(soon)
	for {
		calls++
		res, err := c.DeleteVM(within(t, soon), &rpc.DeleteVMRequest{ClientUid: owner, Host: host, VmName: vm, ForceAfter: timestampOrNil(force)})
		switch {
		case err == nil && res.Gone:
			return calls
		case err != nil && !errors.Is(err, context.DeadlineExceeded) && reason(err) == rpc.Reason_REASON_UNSPECIFIED:
			t.Fatal(err)
		case time.Now().After(deadline):
			t.Fatalf("not gone in time: %v %v", res.GetRemaining(), err)
		}
	}
}
