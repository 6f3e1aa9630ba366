package daemon

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"
)

// certificates are the daemon's own certificate and its callers' authorities.
// They are read again when their files change; files that make no sense, as
// when only one of a pair is in place yet, leave what was there in force.
type certificates struct {
	files TLS
	log   *slog.Logger

	mu     sync.Mutex
	stamps []os.FileInfo
	looked time.Time
	pair   tls.Certificate
	pool   *x509.CertPool
}

// relook is how often a call that is under way looks at the files; handshakes
// always do.
const relook = time.Second

func loadCertificates(files TLS, log *slog.Logger) (*certificates, error) {
	c := &certificates{files: files, log: log}
	stamps, err := c.stat()
	if err != nil {
		return nil, err
	}
	c.stamps = stamps
	return c, c.load()
}

func (c *certificates) stat() ([]os.FileInfo, error) {
	var stamps []os.FileInfo
	for _, f := range []struct{ field, path string }{
		{"tls.certFile", c.files.CertFile}, {"tls.keyFile", c.files.KeyFile}, {"tls.clientCAFile", c.files.ClientCAFile},
	} {
		stamp, err := os.Stat(f.path)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.field, err)
		}
		stamps = append(stamps, stamp)
	}
	return stamps, nil
}

func (c *certificates) load() error {
	pair, err := tls.LoadX509KeyPair(c.files.CertFile, c.files.KeyFile)
	if err != nil {
		return fmt.Errorf("tls.certFile and tls.keyFile: %w", err)
	}
	authorities, err := os.ReadFile(c.files.ClientCAFile)
	if err != nil {
		return fmt.Errorf("tls.clientCAFile: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(authorities) {
		return errors.New("tls.clientCAFile: holds no certificate in PEM")
	}
	c.pair, c.pool = pair, pool
	return nil
}

// current returns what is in force, after a look at the files unless the last
// one is young enough.
func (c *certificates) current(young time.Duration) (tls.Certificate, *x509.CertPool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.looked) < young {
		return c.pair, c.pool
	}
	c.looked = time.Now()
	stamps, err := c.stat()
	if err == nil && slices.EqualFunc(stamps, c.stamps, sameFile) {
		return c.pair, c.pool
	}
	if err == nil {
		c.stamps = stamps // says it once
		err = c.load()
	}
	if err != nil {
		c.log.Error("the daemon's certificates cannot be read; those read before stay in force", "err", err)
	} else {
		c.log.Info("certificates read", "expires", c.pair.Leaf.NotAfter)
	}
	return c.pair, c.pool
}

func sameFile(a, b os.FileInfo) bool {
	return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
}

// serverConfig lets in who has a certificate of the authorities, with TLS 1.3
// and nothing older. Sessions are not resumed: every connection shows its
// certificate to the authorities in force.
func (c *certificates) serverConfig() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			pair, pool := c.current(0)
			return &tls.Config{
				MinVersion:             tls.VersionTLS13,
				Certificates:           []tls.Certificate{pair},
				ClientAuth:             tls.RequireAndVerifyClientCert,
				ClientCAs:              pool,
				NextProtos:             []string{"h2"},
				SessionTicketsDisabled: true,
			}, nil
		},
	}
}

// verify tells whether a caller's certificate is still good: connections live
// longer than certificates and authorities.
func (c *certificates) verify(chain []*x509.Certificate) error {
	_, pool := c.current(relook)
	intermediates := x509.NewCertPool()
	for _, cert := range chain[1:] {
		intermediates.AddCert(cert)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{Roots: pool, Intermediates: intermediates, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	return err
}

// expires is when the daemon's own certificate ends.
func (c *certificates) expires() time.Time {
	pair, _ := c.current(relook)
	return pair.Leaf.NotAfter
}
