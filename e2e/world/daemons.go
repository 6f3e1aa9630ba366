package world

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"elemento.cloud/cluster-api-provider-elemento/e2e/pki"
)

// firstDaemonAddress is the number, in the world's block, of the first daemon.
const firstDaemonAddress = 2

// managerName is the name in the certificate with which our manager comes to
// the daemons.
const managerName = "elemento-provider"

// daemon is what the world knows of one of its daemons.
type daemon struct {
	name, address string
	// endpoint is where it listens, managersEndpoint where our managers reach it,
	// and metrics its URL.
	endpoint, managersEndpoint, metrics string
}

// startDaemons starts the daemons, which all have the same hosts and clients.
func (w *World) startDaemons(ctx context.Context, o Elemento) error {
	count := o.Daemons
	if count == 0 {
		count = 2
	}
	if count < 0 {
		return nil
	}
	path, err := w.ownProgram(ctx, "daemon/cmd/elemento-daemon")
	if err != nil {
		return err
	}
	if w.trust, err = pki.NewAuthority("elemento-daemons"); err != nil {
		return err
	}
	authority, err := w.state.write("daemons/ca.crt", w.trust.PEM)
	if err != nil {
		return err
	}
	if w.managerPair, err = w.trust.Client(managerName); err != nil {
		return err
	}
	if w.ownPair, err = w.trust.Client(managerName); err != nil {
		return err
	}
	for n := 1; n <= count; n++ {
		if err := w.startDaemon(ctx, n, path, authority, o); err != nil {
			return err
		}
	}
	return nil
}

func (w *World) startDaemon(ctx context.Context, n int, path, authority string, o Elemento) error {
	d := daemon{name: DaemonProcess(n), address: w.block.Address(byte(firstDaemonAddress + n - 1))}
	port, err := w.block.FreePort(d.address)
	if err != nil {
		return err
	}
	metricsPort, err := w.block.FreePort(d.address)
	if err != nil {
		return err
	}
	metricsListen := hostPort(d.address, metricsPort)
	d.endpoint, d.metrics = hostPort(d.address, port), "http://"+metricsListen+"/metrics"
	d.managersEndpoint = d.endpoint
	hosts := make([]daemonHost, len(w.hosts))
	for i, h := range w.hosts {
		hosts[i].Host = h
	}
	if o.Proxied {
		if d.managersEndpoint, err = w.proxyDaemon(d); err != nil {
			return err
		}
		if err := w.proxyHosts(n, hosts); err != nil {
			return err
		}
	}
	cert, key, err := w.writeServingPair(d, time.Time{})
	if err != nil {
		return err
	}
	config := map[string]any{
		"listen":        d.endpoint,
		"metricsListen": metricsListen,
		"tls":           map[string]any{"certFile": cert, "keyFile": key, "clientCAFile": authority},
		"clients":       []any{map[string]any{"commonName": managerName, "clientUIDs": []string{w.clientUID}}},
		"hosts":         hosts,
		"imageURL":      cmp.Or(o.ImageURL, "https://images.elemento.invalid/{image}.qcow2"),
	}
	if w.historyDir != "" {
		config["log"] = map[string]any{"format": "json", "level": "debug"}
	}
	content, err := json.Marshal(config)
	if err != nil {
		return err
	}
	file, err := w.state.write("daemons/"+d.name+".yaml", content)
	if err != nil {
		return err
	}
	p, err := w.processes.start(Command{
		Name: d.name, Path: path, Args: []string{"--config=" + file}, Log: w.historyLog(d.name, d.name+".log"),
		Ready: func(ctx context.Context) error { return w.daemonServes(ctx, d.endpoint) },
	})
	if err != nil {
		return err
	}
	w.daemons = append(w.daemons, d)
	return p.await(ctx)
}

// daemonHost is a host as a daemon is told of it: its forwards are reached without
// the daemon, where it really is.
type daemonHost struct {
	Host
	ForwardAddress string `json:"forwardAddress,omitempty"`
}

// daemonServes asks a daemon for its health, as our manager would come to it.
func (w *World) daemonServes(ctx context.Context, endpoint string) error {
	pair, err := tls.X509KeyPair(w.ownPair.Cert, w.ownPair.Key)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(w.trust.PEM)
	conn, err := grpc.NewClient(endpoint, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{
		MinVersion: tls.VersionTLS13, RootCAs: roots, Certificates: []tls.Certificate{pair},
	})))
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	reply, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{})
	if err != nil {
		return err
	}
	if reply.Status != healthpb.HealthCheckResponse_SERVING {
		return errors.New("it says " + reply.Status.String())
	}
	return nil
}

// Endpoints are the daemons' own gRPC addresses; our managers may reach them by
// others, see [World.IdentitySecret].
func (w *World) Endpoints() []string {
	var all []string
	for _, d := range w.daemons {
		all = append(all, d.endpoint)
	}
	return all
}

// IdentitySecret is an identity, for the manager or for one cluster, with which
// the world's daemons serve its client UUID. Where the world is Proxied it names
// them by ways that can be cut.
func (w *World) IdentitySecret(namespace, name string) *corev1.Secret {
	var endpoints []string
	for _, d := range w.daemons {
		endpoints = append(endpoints, d.managersEndpoint)
	}
	w.pairs.Lock()
	defer w.pairs.Unlock()
	return &corev1.Secret{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Data: map[string][]byte{
			"endpoints":             []byte(strings.Join(endpoints, "\n")),
			"clientUID":             []byte(w.clientUID),
			corev1.TLSCertKey:       bytes.Clone(w.managerPair.Cert),
			corev1.TLSPrivateKeyKey: bytes.Clone(w.managerPair.Key),
			"ca.crt":                bytes.Clone(w.trust.PEM),
		},
	}
}

// describe says in one line what the Elemento side is.
func (w *World) describe() string {
	return fmt.Sprintf("%d AtomOS hosts in %d domains, %d daemons", len(w.hosts), len(w.Domains()), len(w.daemons))
}
