package simulated

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"
)

// defaultValidity is for how long kubeadm's certificates are good.
const defaultValidity = 365 * 24 * time.Hour

// authority is a certificate authority whose key the machine holds.
type authority struct {
	certificate *x509.Certificate
	key         crypto.Signer
	pool        *x509.CertPool
}

// authorities are those that a control plane signs with.
type authorities struct{ cluster, etcd *authority }

// readAuthorities takes the authorities from the seed of a control plane. All
// the keys that kubeadm needs must be there, because one that makes its own
// would make a cluster that nobody can reach.
func readAuthorities(files map[string][]byte, pki string) (a authorities, err error) {
	if a.cluster, err = readAuthority(files, pki+"/ca"); err != nil {
		return a, err
	}
	if a.etcd, err = readAuthority(files, pki+"/etcd/ca"); err != nil {
		return a, err
	}
	if _, err = readAuthority(files, pki+"/front-proxy-ca"); err != nil {
		return a, err
	}
	if len(files[pki+"/sa.key"]) == 0 {
		return a, &SeedError{pki + "/sa.key is missing"}
	}
	return a, nil
}

// readAuthority takes an authority from the files of a seed.
func readAuthority(files map[string][]byte, path string) (*authority, error) {
	certificates, err := cert.ParseCertsPEM(files[path+".crt"])
	if err != nil {
		return nil, &SeedError{path + ".crt is missing or not a certificate"}
	}
	key, err := keyutil.ParsePrivateKeyPEM(files[path+".key"])
	if err != nil {
		return nil, &SeedError{path + ".key is missing or not a private key"}
	}
	signer, ok := key.(crypto.Signer)
	if !ok || !publicKeyOf(certificates[0], signer) {
		return nil, &SeedError{path + ".key is not the key of " + path + ".crt"}
	}
	a := &authority{certificate: certificates[0], key: signer, pool: x509.NewCertPool()}
	a.pool.AddCert(a.certificate)
	return a, nil
}

func publicKeyOf(certificate *x509.Certificate, key crypto.Signer) bool {
	public, ok := certificate.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	return ok && public.Equal(key.Public())
}

// pem is the authority's certificate as kubeconfigs carry it.
func (a *authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.certificate.Raw})
}

// pin is the hash of a certificate's public key, as caCertHashes have it.
func pin(certificate *x509.Certificate) string {
	sum := sha256.Sum256(certificate.RawSubjectPublicKeyInfo)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// issue makes a server's certificate for the given names and addresses.
func (a *authority) issue(commonName string, hosts []string, validity time.Duration) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key for %s: %w", commonName, err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, fmt.Errorf("make a serial number for %s: %w", commonName, err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: commonName},
		NotBefore: a.certificate.NotBefore, NotAfter: time.Now().Add(validity),
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, host := range slices.Compact(slices.Sorted(slices.Values(hosts))) {
		if address := net.ParseIP(host); address != nil {
			template.IPAddresses = append(template.IPAddresses, address)
		} else if host != "" {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, a.certificate, key.Public(), a.key)
	if err != nil {
		return nil, fmt.Errorf("sign the certificate of %s: %w", commonName, err)
	}
	return &tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: key}, nil
}

// apiHosts are the names under which kubeadm lets an API server be called.
func apiHosts(config *clusterConfiguration, node string, address netip.Addr, advertise string) []string {
	domain := config.Networking.DNSDomain
	if domain == "" {
		domain = "cluster.local"
	}
	hosts := []string{
		node, address.String(), advertise, "localhost", "127.0.0.1", "::1",
		"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc." + domain,
		serviceAddress(config),
	}
	if host, _, err := net.SplitHostPort(config.endpoint(netip.AddrPortFrom(address, defaultAPIPort))); err == nil {
		hosts = append(hosts, host)
	}
	return append(hosts, config.APIServer.CertSANs...)
}

// serviceAddress is the API's address inside the cluster: the first of the
// service network.
func serviceAddress(config *clusterConfiguration) string {
	subnet, _, _ := strings.Cut(config.Networking.ServiceSubnet, ",")
	prefix, err := netip.ParsePrefix(subnet)
	if err != nil {
		prefix = netip.MustParsePrefix("10.96.0.0/12")
	}
	return prefix.Masked().Addr().Next().String()
}

// validity is for how long the cluster's certificates are to be good.
func (c *clusterConfiguration) validity() time.Duration {
	if wanted, err := time.ParseDuration(c.CertificateValidityPeriod); err == nil && wanted > 0 {
		return wanted
	}
	return defaultValidity
}
