package fleet

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The keys of an identity Secret; all of them are required.
const (
	// KeyEndpoints lists the daemons of a site as host:port, separated by
	// commas, spaces or newlines. Their order is the order of preference.
	KeyEndpoints = "endpoints"
	// KeyClientUID is the client UUID that owns everything made with it.
	KeyClientUID = "clientUID"
	// KeyCertificate and KeyPrivateKey are the client certificate and its key,
	// in PEM, as in a Secret of type kubernetes.io/tls.
	KeyCertificate = "tls.crt"
	KeyPrivateKey  = "tls.key"
	// KeyAuthority is the bundle of authorities, in PEM, that the daemons'
	// certificates are checked against.
	KeyAuthority = "ca.crt"
)

// Identity is who acts, and through which daemons.
type Identity struct {
	// ClientUID is the client UUID that requests name.
	ClientUID string
	// Endpoints are the daemons, as host:port, in order of preference.
	Endpoints []string

	certificate tls.Certificate
	authorities *x509.CertPool
	// fingerprint is equal for equal content, and tells nothing of it.
	fingerprint string
}

// IdentityError says what is wrong with one key of an identity Secret.
type IdentityError struct {
	Key string
	// Problem says what is wrong and what to do; it holds nothing secret.
	Problem string
}

func (e *IdentityError) Error() string { return fmt.Sprintf("key %q %s", e.Key, e.Problem) }

// ParseIdentity reads the data of an identity Secret. Its error joins an
// [IdentityError] for everything that is wrong.
func ParseIdentity(data map[string][]byte) (*Identity, error) {
	var problems []error
	complain := func(key, format string, args ...any) {
		problems = append(problems, &IdentityError{Key: key, Problem: fmt.Sprintf(format, args...)})
	}
	for _, key := range []string{KeyEndpoints, KeyClientUID, KeyCertificate, KeyPrivateKey, KeyAuthority} {
		if len(strings.TrimSpace(string(data[key]))) == 0 {
			complain(key, "is missing or empty; add it to the Secret")
		}
	}
	if problems != nil {
		return nil, errors.Join(problems...)
	}

	id := &Identity{ClientUID: strings.TrimSpace(string(data[KeyClientUID])), authorities: x509.NewCertPool()}
	if strings.ContainsFunc(id.ClientUID, func(r rune) bool { return r <= ' ' || r > '~' }) || len(id.ClientUID) > 128 {
		complain(KeyClientUID, "is not a client UUID; copy it from AtomOS, without quotes or spaces")
	}
	id.Endpoints = strings.FieldsFunc(string(data[KeyEndpoints]), func(r rune) bool {
		return r == ',' || r == ' ' || r == '\n' || r == '\r' || r == '\t'
	})
	for i, endpoint := range id.Endpoints {
		if host, port, err := net.SplitHostPort(endpoint); err != nil || host == "" || !validPort(port) {
			complain(KeyEndpoints, "names %q, which is not host:port; write it as daemon.example.com:7443", endpoint)
		} else if slices.Contains(id.Endpoints[:i], endpoint) {
			complain(KeyEndpoints, "names %s twice; remove one", endpoint)
		}
	}
	if len(id.Endpoints) == 0 {
		complain(KeyEndpoints, "names no daemon; list at least one as host:port")
	}
	var err error
	// The error of X509KeyPair never holds key material, but may be about either key.
	if id.certificate, err = tls.X509KeyPair(data[KeyCertificate], data[KeyPrivateKey]); err != nil {
		complain(KeyCertificate, "and %q are not a certificate and its private key in PEM: %v", KeyPrivateKey, err)
	} else if now := time.Now(); now.After(id.certificate.Leaf.NotAfter) {
		complain(KeyCertificate, "expired at %s; renew the certificate", id.certificate.Leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	if !id.authorities.AppendCertsFromPEM(data[KeyAuthority]) {
		complain(KeyAuthority, "holds no certificate in PEM; put the authority of the daemons' certificates there")
	}
	if problems != nil {
		return nil, errors.Join(problems...)
	}

	sum := sha256.New()
	for _, part := range []string{
		id.ClientUID, strings.Join(id.Endpoints, ","),
		string(data[KeyCertificate]), string(data[KeyPrivateKey]), string(data[KeyAuthority]),
	} {
		fmt.Fprintf(sum, "%d:%s", len(part), part)
	}
	id.fingerprint = hex.EncodeToString(sum.Sum(nil))
	return id, nil
}

func validPort(s string) bool {
	port, err := strconv.ParseUint(s, 10, 16)
	return err == nil && port > 0
}

// tls is how connections are secured: both sides by certificate, TLS 1.3 only.
func (id *Identity) tls() *tls.Config {
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{id.certificate},
		RootCAs:      id.authorities,
	}
}
