package daemon_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"elemento.cloud/cluster-api-provider-elemento/daemon"
	"elemento.cloud/cluster-api-provider-elemento/daemon/rpc"
	"elemento.cloud/cluster-api-provider-elemento/e2e/pki"
)

func listVMs(t *testing.T, c *caller, clientUID string) error {
	t.Helper()
	_, err := c.ListVMs(within(t, 5*time.Second), &rpc.ListVMsRequest{ClientUid: clientUID})
	return err
}

func TestCertificateDecidesForWhomACallerActs(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	s.config.Clients = append(s.config.Clients, daemon.Client{URI: "spiffe://elemento/provider", ClientUIDs: []string{owner}})
	d := s.daemon()
	for _, c := range []struct {
		name     string
		pair     pki.Pair
		owner    string
		admitted bool
	}{
		{"its own", must(s.authority.Client("provider")), owner, true},
		{"by URI", must(s.authority.ClientURI("spiffe://elemento/provider")), owner, true},
		{"another tenant's", must(s.authority.Client("other")), owner, false},
		{"its own, asking for another's", must(s.authority.Client("provider")), another, false},
		{"not in the configuration", must(s.authority.Client("stranger")), owner, false},
		{"without a name", must(s.authority.Client("")), owner, false},
		{"by another URI", must(s.authority.ClientURI("spiffe://elemento/other")), owner, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := listVMs(t, d.as(c.pair), c.owner)
			if c.admitted && err != nil {
				t.Error(err)
			}
			if !c.admitted {
				wantReason(t, err, rpc.Reason_REASON_CLIENT_FORBIDDEN, c.owner)
				if status.Code(err) != codes.PermissionDenied {
					t.Errorf("code %s", status.Code(err))
				}
			}
		})
	}
	stream, err := d.other().WatchVMs(within(t, soon), &rpc.WatchVMsRequest{ClientUid: owner})
	if err == nil {
		_, err = stream.Recv()
	}
	wantReason(t, err, rpc.Reason_REASON_CLIENT_FORBIDDEN)
	err = listVMs(t, d.provider(), "")
	wantReason(t, err, rpc.Reason_REASON_INVALID_REQUEST, "client_uid")
}

func TestWhoHasNoGoodCertificateDoesNotGetIn(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	d := s.daemon()
	stranger := must(pki.NewAuthority("strangers"))
	for _, c := range []struct {
		name string
		pair pki.Pair
	}{
		{"none", pki.Pair{}},
		{"self-signed", must(pki.SelfSigned("provider"))},
		{"of another authority", must(stranger.Client("provider"))},
		{"expired", must(s.authority.ExpiredClient("provider"))},
		{"a server's", must(s.authority.Server("provider"))},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := listVMs(t, d.as(c.pair), owner)
			if status.Code(err) != codes.Unavailable || len(status.Convert(err).Details()) != 0 {
				t.Errorf("got %v, want a failed handshake", err)
			}
		})
	}
}

func TestNothingOlderThanTLS13IsSpoken(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	d := s.daemon()
	pair := must(s.authority.Client("provider"))
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(s.authority.PEM)
	dialer := tls.Dialer{Config: &tls.Config{
		MaxVersion: tls.VersionTLS12, RootCAs: roots, Certificates: []tls.Certificate{must(tls.X509KeyPair(pair.Cert, pair.Key))},
	}}
	_, err := dialer.DialContext(within(t, soon), "tcp", d.Addr().String())
	var remote *net.OpError
	if !errors.As(err, &remote) || remote.Op != "remote error" {
		t.Errorf("got %v, want the daemon to refuse", err)
	}
}

func TestCertificatesAreRotatedWithoutARestart(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	d := s.daemon()
	old := d.provider()
	if err := listVMs(t, old, owner); err != nil {
		t.Fatal(err)
	}
	stream, err := old.WatchVMs(within(t, soon), &rpc.WatchVMsRequest{ClientUid: owner})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}

	next := must(pki.NewAuthority("next"))
	d.install(must(next.Server("127.0.0.1")), next.PEM)
	s.authority = next
	if err := listVMs(t, d.provider(), owner); err != nil {
		t.Errorf("a certificate of the new authority: %v", err)
	}
	// Connections that are open do not outlive their authority.
	eventually(t, "the old connection is refused", func() bool {
		return reason(listVMs(t, old, owner)) == rpc.Reason_REASON_CLIENT_FORBIDDEN
	})
	for err == nil {
		_, err = stream.Recv()
	}
	wantReason(t, err, rpc.Reason_REASON_CLIENT_FORBIDDEN)
}

func TestBrokenCertificateFilesLeaveTheOldOnesInForce(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	d := s.daemon()
	d.install(pki.Pair{Cert: []byte("half a file"), Key: []byte("nothing")}, s.authority.PEM)
	if err := listVMs(t, d.provider(), owner); err != nil {
		t.Error(err)
	}
	if !strings.Contains(s.logs.String(), "certificates cannot be read") {
		t.Error("the log does not say so")
	}
}

func TestEveryFailureCarriesOneDetail(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	c := s.daemon().provider()
	ctx := within(t, soon)
	for _, method := range []string{"/elemento.daemon.v1.VMService/Nothing", "/elemento.daemon.v1.Nothing/Nothing"} {
		err := c.conn.Invoke(ctx, method, &emptypb.Empty{}, &emptypb.Empty{})
		wantReason(t, err, rpc.Reason_REASON_UNSUPPORTED, method)
	}
	_, err := c.ListVMs(context.WithoutCancel(t.Context()), &rpc.ListVMsRequest{ClientUid: owner})
	wantReason(t, err, rpc.Reason_REASON_INVALID_REQUEST, "deadline")
}

func TestChangingCallsLeaveAnAuditLine(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	d := s.daemon()
	ctx := metadata.AppendToOutgoingContext(within(t, soon), "x-request-id", "request-7")
	if _, err := d.provider().EnsureVM(ctx, ensure("host-1", "vm-1")); err != nil {
		t.Fatal(err)
	}
	theirs := ensure("host-1", "vm-2")
	if _, err := d.other().EnsureVM(within(t, soon), theirs); err == nil {
		t.Fatal("the other caller was let in")
	}
	var lines []string
	for line := range strings.Lines(s.logs.String()) {
		if strings.Contains(line, "msg=audit") {
			lines = append(lines, line)
		}
	}
	if len(lines) != 2 {
		t.Fatalf("%d audit lines, want 2: %q", len(lines), lines)
	}
	for i, words := range [][]string{
		{"method=EnsureVM", "caller=provider", "client=" + owner, "host=host-1", "vm=vm-1", "requestID=request-7", "outcome=OK"},
		{"method=EnsureVM", "caller=other", "client=" + owner, "vm=vm-2", "outcome=REASON_CLIENT_FORBIDDEN"},
	} {
		for _, w := range words {
			if !strings.Contains(lines[i], w) {
				t.Errorf("audit line %q does not say %q", lines[i], w)
			}
		}
	}
}

func TestHealthServiceSaysWhetherTheDaemonServes(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	d := s.daemon()
	health := grpc_health_v1.NewHealthClient(d.as(must(s.authority.Client("kubelet"))).conn)
	for _, service := range []string{"", "elemento.daemon.v1.VMService", "elemento.daemon.v1.DomainService", "elemento.daemon.v1.NetworkService", "elemento.daemon.v1.EndpointService"} {
		res, err := health.Check(within(t, soon), &grpc_health_v1.HealthCheckRequest{Service: service})
		if err != nil || res.Status != grpc_health_v1.HealthCheckResponse_SERVING {
			t.Errorf("%q: %v, %v", service, res, err)
		}
	}
}
