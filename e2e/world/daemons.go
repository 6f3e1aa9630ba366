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

// startDaemons starts the daemons, which all have the same hosts and clients.
func (w *World) startDaemons(ctx context.Context, o AtomOS) error {
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
	if w.daemonClient, err = w.trust.Client(managerName); err != nil {
		return err
	}
	for n := 1; n <= count; n++ {
		if err := w.startDaemon(ctx, n, path, authority, o.ImageURL); err != nil {
			return err
		}
	}
	return nil
}

func (w *World) startDaemon(ctx context.Context, n int, path, authority, imageURL string) error {
	name := DaemonProcess(n)
	address := w.block.Address(byte(firstDaemonAddress + n - 1))
	port, err := w.block.FreePort(address)
	if err != nil {
		return err
	}
	metricsPort, err := w.block.FreePort(address)
	if err != nil {
		return err
	}
	serving, err := w.trust.Server(address)
	if err != nil {
		return err
	}
	cert, err := w.state.write("daemons/"+name+".crt", serving.Cert)
	if err != nil {
		return err
	}
	key, err := w.state.write("daemons/"+name+".key", serving.Key)
	if err != nil {
		return err
	}
	listen, metrics := hostPort(address, port), hostPort(address, metricsPort)
	config := map[string]any{
		"listen":        listen,
		"metricsListen": metrics,
		"tls":           map[string]any{"certFile": cert, "keyFile": key, "clientCAFile": authority},
		"clients":       []any{map[string]any{"commonName": managerName, "clientUIDs": []string{w.clientUID}}},
		"hosts":         w.hosts,
		"imageURL":      cmp.Or(imageURL, "https://images.elemento.invalid/{image}.qcow2"),
	}
	content, err := json.Marshal(config)
	if err != nil {
		return err
	}
	file, err := w.state.write("daemons/"+name+".yaml", content)
	if err != nil {
		return err
	}
	p, err := w.processes.start(Command{Name: name, Path: path, Args: []string{"--config=" + file}, Log: w.log(name)})
	if err != nil {
		return err
	}
	w.endpoints = append(w.endpoints, listen)
	w.daemonMetrics = append(w.daemonMetrics, "http://"+metrics+"/metrics")
	return p.await(ctx, func(ctx context.Context) error { return w.daemonServes(ctx, listen) })
}

// daemonServes asks a daemon for its health, as our manager would come to it.
func (w *World) daemonServes(ctx context.Context, endpoint string) error {
	pair, err := tls.X509KeyPair(w.daemonClient.Cert, w.daemonClient.Key)
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

// Endpoints are the daemons' gRPC addresses.
func (w *World) Endpoints() []string { return w.endpoints }

// DaemonMetrics are the URLs of the daemons' metrics.
func (w *World) DaemonMetrics() []string { return w.daemonMetrics }

// IdentitySecret is an identity, for the manager or for one cluster, with which
// the world's daemons serve its client UUID.
func (w *World) IdentitySecret(namespace, name string) *corev1.Secret {
	return &corev1.Secret{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Data: map[string][]byte{
			"endpoints":             []byte(strings.Join(w.endpoints, "\n")),
			"clientUID":             []byte(w.clientUID),
			corev1.TLSCertKey:       bytes.Clone(w.daemonClient.Cert),
			corev1.TLSPrivateKeyKey: bytes.Clone(w.daemonClient.Key),
			"ca.crt":                bytes.Clone(w.trust.PEM),
		},
	}
}

// describe says in one line what the Elemento side is.
func (w *World) describe() string {
	return fmt.Sprintf("%d AtomOS hosts in %d domains, %d daemons", len(w.hosts), len(w.Domains()), len(w.endpoints))
}
