package daemon

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"elemento.cloud/cluster-api-provider-elemento/daemon/rpc"
)

// door tells the log who is not let in, and why: the far end often sees nothing
// but a connection that breaks.
type door struct {
	credentials.TransportCredentials
	log *slog.Logger

	mu   sync.Mutex
	told time.Time
}

// ServerHandshake is gRPC's.
func (d *door) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	secure, info, err := d.TransportCredentials.ServerHandshake(conn)
	if err == nil {
		return secure, info, nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if now := time.Now(); now.Sub(d.told) > time.Second { // whoever knocks all the time does not fill the disk
		d.told = now
		d.log.Warn("a caller was refused", "peer", conn.RemoteAddr().String(), "err", err)
	}
	return secure, info, err
}

// callers knows who may act for which client UUIDs.
type callers struct {
	certificates *certificates
	byName       map[string][]string // common name
	byURI        map[string][]string
}

func newCallers(clients []Client, certificates *certificates) *callers {
	c := &callers{certificates: certificates, byName: map[string][]string{}, byURI: map[string][]string{}}
	for _, cl := range clients {
		if cl.URI != "" {
			c.byURI[cl.URI] = cl.ClientUIDs
		} else {
			c.byName[cl.CommonName] = cl.ClientUIDs
		}
	}
	return c
}

// clientUIDs returns all client UUIDs that somebody may act for.
func (c *callers) clientUIDs() []string {
	var all []string
	for _, by := range []map[string][]string{c.byName, c.byURI} {
		for _, uids := range by {
			all = append(all, uids...)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// authorize returns the name of the caller, and an error unless it may act for
// the client UUID.
func (c *callers) authorize(ctx context.Context, clientUID string) (name string, err error) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return "", failf(rpc.Reason_REASON_CLIENT_FORBIDDEN, "", "the caller is not known")
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok || len(info.State.PeerCertificates) == 0 {
		return "", failf(rpc.Reason_REASON_CLIENT_FORBIDDEN, "", "the caller shows no certificate")
	}
	cert := info.State.PeerCertificates[0]
	name = cert.Subject.CommonName
	allowed := c.byName[name]
	for _, uri := range cert.URIs {
		if uids := c.byURI[uri.String()]; uids != nil {
			name, allowed = uri.String(), append(slices.Clip(allowed), uids...)
		}
	}
	if err := c.certificates.verify(info.State.PeerCertificates); err != nil {
		what := "is not signed by an authority in tls.clientCAFile any more"
		if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok && invalid.Reason == x509.Expired {
			what = "expired on " + invalid.Cert.NotAfter.UTC().Format(time.RFC3339)
		}
		return name, &failure{
			reason: rpc.Reason_REASON_CLIENT_FORBIDDEN, err: err,
			message: "the certificate of caller " + name + " " + what + "; connect anew with a current one",
		}
	}
	if clientUID == "" && len(allowed) > 0 {
		return name, invalid("client_uid", "missing; give a client UUID")
	}
	if !slices.Contains(allowed, clientUID) {
		return name, failf(rpc.Reason_REASON_CLIENT_FORBIDDEN, "", "caller %q may not act for client UUID %q; list it under clients in the daemon's configuration if it should", name, clientUID)
	}
	return name, nil
}
