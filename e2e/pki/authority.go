// Package pki makes the certificates that suites and tests need. Its keys are
// worth nothing outside of them.
package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"time"
)

// Lifetime of a certificate, unless something else is said: longer than any run.
const Lifetime = 30 * 24 * time.Hour

// Authority signs certificates.
type Authority struct {
	// PEM is its own certificate.
	PEM []byte

	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	// until is when what it issues ends; after Lifetime when zero.
	until time.Time
}

// Pair is a certificate and its private key, both in PEM.
type Pair struct{ Cert, Key []byte }

// NewAuthority makes an authority with the given common name.
func NewAuthority(name string) (*Authority, error) {
	a := &Authority{}
	pair, err := a.issue(&x509.Certificate{
		Subject:               pkix.Name{CommonName: name},
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	})
	a.PEM = pair.Cert
	return a, err
}

// Server makes a serving certificate for IP addresses and DNS names.
func (a *Authority) Server(hosts ...string) (Pair, error) {
	template := leaf(hosts[0], x509.ExtKeyUsageServerAuth)
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	return a.issue(template)
}

// Client makes a client certificate; Kubernetes reads the name as a user's and
// the organizations as its groups.
func (a *Authority) Client(name string, organizations ...string) (Pair, error) {
	template := leaf(name, x509.ExtKeyUsageClientAuth)
	template.Subject.Organization = organizations
	return a.issue(template)
}

// ClientURI makes a client certificate that names its holder by a URI.
func (a *Authority) ClientURI(name string) (Pair, error) {
	uri, err := url.Parse(name)
	if err != nil {
		return Pair{}, err
	}
	template := leaf("", x509.ExtKeyUsageClientAuth)
	template.URIs = []*url.URL{uri}
	return a.issue(template)
}

// Until is the same authority, issuing certificates that end at a time, which may
// have passed; the zero time is Lifetime from now.
func (a *Authority) Until(end time.Time) *Authority {
	short := *a
	short.until = end
	return &short
}

// ExpiredClient makes a client certificate that ended an hour ago.
func (a *Authority) ExpiredClient(name string) (Pair, error) {
	return a.Until(time.Now().Add(-time.Hour)).Client(name)
}

// SelfSigned makes a client certificate that nobody vouches for.
func SelfSigned(name string) (Pair, error) {
	return new(Authority).issue(leaf(name, x509.ExtKeyUsageClientAuth))
}

func leaf(name string, use x509.ExtKeyUsage) *x509.Certificate {
	return &x509.Certificate{
		Subject:     pkix.Name{CommonName: name},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{use},
	}
}

// issue makes a key and the template's certificate for it, signed by the
// authority. What an authority issues first is its own certificate.
func (a *Authority) issue(template *x509.Certificate) (Pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, fmt.Errorf("making a key: %w", err)
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)); err != nil {
		return Pair{}, fmt.Errorf("making a serial number: %w", err)
	}
	template.NotBefore = time.Now().Add(-24 * time.Hour)
	template.NotAfter = a.until
	if template.NotAfter.IsZero() {
		template.NotAfter = time.Now().Add(Lifetime)
	}
	if a.cert == nil {
		a.cert, a.key = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return Pair{}, fmt.Errorf("signing the certificate of %q: %w", template.Subject.CommonName, err)
	}
	if a.cert == template {
		if a.cert, err = x509.ParseCertificate(der); err != nil {
			return Pair{}, fmt.Errorf("reading the certificate of %q: %w", template.Subject.CommonName, err)
		}
	}
	encoded, err := encode(key)
	return Pair{Cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), Key: encoded}, err
}

// Key is the authority's private key in PEM, for a process that has to sign.
func (a *Authority) Key() ([]byte, error) { return encode(a.key) }

func encode(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encoding a key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), nil
}
