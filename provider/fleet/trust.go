package fleet

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync/atomic"

	"google.golang.org/grpc/credentials"
)

// trust is the credentials of one connection. It remembers whether the last try
// to connect failed for a certificate, ours or the daemon's: gRPC hands on the
// text of such an error and not the error.
type trust struct {
	credentials.TransportCredentials
	failed *atomic.Bool
}

func newTrust(identity *Identity) *trust {
	return &trust{credentials.NewTLS(identity.tls()), &atomic.Bool{}}
}

// ClientHandshake notes a daemon's certificate that is not of our authority.
func (t *trust) ClientHandshake(ctx context.Context, authority string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	secured, info, err := t.TransportCredentials.ClientHandshake(ctx, authority, conn)
	var verification *tls.CertificateVerificationError
	t.failed.Store(errors.As(err, &verification))
	if err != nil {
		return nil, nil, err
	}
	return &trustedConn{secured, t.failed}, info, nil
}

// Clone keeps the memory, as gRPC uses clones.
func (t *trust) Clone() credentials.TransportCredentials {
	return &trust{t.TransportCredentials.Clone(), t.failed}
}

// trustedConn notes that the daemon refuses our certificate, which it can only
// tell, by an alert, after a TLS 1.3 handshake has ended for us.
type trustedConn struct {
	net.Conn
	failed *atomic.Bool
}

func (c *trustedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	var operation *net.OpError
	if errors.As(err, &operation) && operation.Op == "remote error" {
		c.failed.Store(true)
	}
	return n, err
}
