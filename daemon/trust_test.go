package daemon_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"elemento.cloud/cluster-api-provider-elemento/daemon"
	"elemento.cloud/cluster-api-provider-elemento/daemon/rpc"
	"elemento.cloud/cluster-api-provider-elemento/e2e/pki"
)

func listVMs(t *testing.T, c *caller, clientUID string) error {
	t.Helper()
	_, err := c.ListVMs(within(t, soon), &rpc.ListVMsRequest{ClientUid: clientUID})
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
		{"expired", must(s.authority.Until(time.Now().Add(-time.Hour)).Client("provider"))},
		{"a server's", must(s.authority.Server("provider"))},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := listVMs(t, d.as(c.pair), owner)
			if status.Code(err) != codes.Unavailable || len(status.Convert(err).Details()) != 0 {
				t.Errorf("got %v, want a failed handshake", err)
			}
		})
	}
	if !strings.Contains(s.logs.String(), "a caller was refused") {
		t.Error("the log does not say that somebody was refused")
	}
}

func TestExpiredCertificateIsRefusedAndBothEndsAreToldSo(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	d := s.daemon()
	pair := must(s.authority.ExpiredClient("provider"))
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(s.authority.PEM)
	dialer := tls.Dialer{Config: &tls.Config{RootCAs: roots, NextProtos: []string{"h2"}, Certificates: []tls.Certificate{must(tls.X509KeyPair(pair.Cert, pair.Key))}}}
	conn, err := dialer.DialContext(within(t, soon), "tcp", d.Addr().String())
	if err == nil { // with TLS 1.3 a client hears of it when it reads
		defer conn.Close()
		_, err = conn.Read(make([]byte, 1))
	}
	if err == nil || !strings.Contains(err.Error(), "expired certificate") {
		t.Errorf("the caller is told %v", err)
	}
	eventually(t, "the log says so", func() bool {
		return strings.Contains(s.logs.String(), "a caller was refused") && strings.Contains(s.logs.String(), "certificate has expired")
	})
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
	wantReason(t, err, rpc.Reason_REASON_CLIENT_FORBIDDEN, "clientCAFile")
}

func TestRotationUnderLoadFailsNoCall(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	d := s.daemon()
	open := d.provider()
	stream, err := open.WatchVMs(within(t, 2*soon), &rpc.WatchVMsRequest{ClientUid: owner})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var calls atomic.Int64
	var load sync.WaitGroup
	for _, anew := range []bool{false, true} { // on an open connection, and with a handshake each
		load.Go(func() {
			for ctx.Err() == nil {
				c := open
				if anew {
					c = d.provider()
				}
				if err := listVMs(t, c, owner); err != nil {
					t.Error(err)
				}
				calls.Add(1)
			}
		})
	}
	var serial string
	for range 5 {
		pair := must(s.authority.Server("127.0.0.1"))
		serial = must(tls.X509KeyPair(pair.Cert, pair.Key)).Leaf.SerialNumber.String()
		d.install(pair, s.authority.PEM)
		before := calls.Load()
		eventually(t, "calls go on", func() bool { return calls.Load() > before+10 })
	}
	stop()
	load.Wait()
	var p peer.Peer
	if _, err := d.provider().ListVMs(within(t, soon), &rpc.ListVMsRequest{ClientUid: owner}, grpc.Peer(&p)); err != nil {
		t.Fatal(err)
	}
	if shown := p.AuthInfo.(credentials.TLSInfo).State.PeerCertificates[0].SerialNumber.String(); shown != serial {
		t.Errorf("the daemon shows certificate %s, want the last one, %s", shown, serial)
	}
	if _, err := stream.Recv(); err != nil {
		t.Errorf("the stream did not outlive the rotation: %v", err)
	}
}

func TestCertificateThatExpiresOnAnOpenConnectionIsRefusedAndToldSo(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	d := s.daemon()
	end := time.Now().Add(8 * time.Second).Truncate(time.Second)
	c := d.as(must(s.authority.Until(end).Client("provider")))
	if err := listVMs(t, c, owner); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the certificate is refused", func() bool { return listVMs(t, c, owner) != nil })
	// An open connection is told by the daemon, a new one by TLS.
	if err := listVMs(t, c, owner); status.Code(err) == codes.PermissionDenied {
		wantReason(t, err, rpc.Reason_REASON_CLIENT_FORBIDDEN, "provider", "expired on "+end.UTC().Format(time.RFC3339))
	}
	if time.Now().Before(end) {
		t.Error("it was refused before its time")
	}
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
