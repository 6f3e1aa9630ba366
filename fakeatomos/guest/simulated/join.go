package simulated

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/cert"

	"elemento.cloud/cluster-api-provider-elemento/fakeatomos/guest/simulated/kubeapi"
)

const (
	clusterInfoPath   = "/api/v1/namespaces/kube-public/configmaps/cluster-info"
	kubeadmConfigPath = "/api/v1/namespaces/kube-system/configmaps/kubeadm-config"
	kubeSystemPath    = "/api/v1/namespaces/kube-system"

	joinRequestTimeout = 10 * time.Second
	joinAnswerLimit    = 1 << 20
)

// RefusedError is an answer of a cluster that no retry will change.
type RefusedError struct{ Reason string }

func (e *RefusedError) Error() string { return "kubeadm join: " + e.Reason }

// discover does the first half of kubeadm join, over the network and from the
// machine's own address: it finds the cluster's authority at the endpoint,
// holds it against the pins, and shows the token to the API behind it. It
// returns the cluster's identity and its authority.
func discover(ctx context.Context, from netip.Addr, join *bootstrapTokenDiscovery) (string, *x509.Certificate, error) {
	if _, ok := kubeapi.ParseBootstrapToken(join.Token); !ok {
		return "", nil, &SeedError{"the bootstrap token is malformed"}
	}
	if _, _, err := net.SplitHostPort(join.APIServerEndpoint); err != nil {
		return "", nil, &SeedError{"apiServerEndpoint is not a host and port"}
	}
	var info corev1.ConfigMap
	unverified := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12} // the pins decide
	if err := fetch(ctx, from, join.APIServerEndpoint, unverified, clusterInfoPath, "", &info); err != nil {
		return "", nil, fmt.Errorf("read cluster-info: %w", err)
	}
	authority, err := authorityFrom(info.Data["kubeconfig"])
	if err != nil {
		return "", nil, err
	}
	if !join.pins(authority) {
		return "", nil, &RefusedError{"no caCertHashes entry is that of the cluster's certificate authority"}
	}
	pool := x509.NewCertPool()
	pool.AddCert(authority)
	host, _, _ := net.SplitHostPort(join.APIServerEndpoint)
	verified := &tls.Config{RootCAs: pool, ServerName: host, MinVersion: tls.VersionTLS12}
	if err := fetch(ctx, from, join.APIServerEndpoint, verified, kubeadmConfigPath, join.Token, &corev1.ConfigMap{}); err != nil {
		return "", nil, fmt.Errorf("read kubeadm-config: %w", err)
	}
	var system corev1.Namespace
	if err := fetch(ctx, from, join.APIServerEndpoint, verified, kubeSystemPath, join.Token, &system); err != nil {
		return "", nil, fmt.Errorf("identify the cluster: %w", err)
	}
	return string(system.UID), authority, nil
}

func (d *bootstrapTokenDiscovery) pins(authority *x509.Certificate) bool {
	if len(d.CACertHashes) == 0 {
		return d.UnsafeSkipCAVerification
	}
	for _, known := range d.CACertHashes {
		if known == pin(authority) {
			return true
		}
	}
	return false
}

func authorityFrom(kubeconfig string) (*x509.Certificate, error) {
	config, err := clientcmd.Load([]byte(kubeconfig))
	if err != nil {
		return nil, fmt.Errorf("cluster-info: %w", err)
	}
	for _, entry := range config.Clusters {
		certificates, err := cert.ParseCertsPEM(entry.CertificateAuthorityData)
		if err != nil {
			return nil, fmt.Errorf("cluster-info: certificate authority: %w", err)
		}
		return certificates[0], nil
	}
	return nil, errors.New("cluster-info names no cluster")
}

// fetch reads an object of the API. A rejected token is a RefusedError.
func fetch(ctx context.Context, from netip.Addr, endpoint string, config *tls.Config, path, token string, object any) error {
	ctx, cancel := context.WithTimeout(ctx, joinRequestTimeout)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{
		DialContext:     func(ctx context.Context, _, address string) (net.Conn, error) { return dialFrom(ctx, from, address) },
		TLSClientConfig: config, DisableKeepAlives: true,
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+endpoint+path, nil)
	if err != nil {
		return &SeedError{"apiServerEndpoint is not a host and port"}
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	switch response.StatusCode {
	case http.StatusOK:
	case http.StatusUnauthorized:
		return &RefusedError{"the bootstrap token is unknown to the cluster or has expired"}
	default:
		return fmt.Errorf("the API answers %s", response.Status)
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, joinAnswerLimit)).Decode(object); err != nil {
		return fmt.Errorf("decode the answer: %w", err)
	}
	return nil
}
