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
	"maps"
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
	// and metrics and profiles, which it need not show, their URLs.
	endpoint, managersEndpoint, metrics, profiles string
	// profileListen is where it is to show profiles, hosts are those that it may be
	// told of, and config is the rest of its configuration.
	profileListen string
	hosts         []daemonHost
	config        map[string]any
}

// DaemonSettings are what may be varied of what the daemons are told. The zero value
// is what they do by default, with all hosts.
type DaemonSettings struct {
	// Hosts is of how many of the hosts they know, from the first; of all when zero.
	Hosts int
	// Interval is how often they ask each host; 1 s when zero.
	Interval time.Duration
	// ClientUIDs are more owners on AtomOS for whom our manager's certificate may
	// come, besides [World.ClientUID].
	ClientUIDs []string
	// Profiled has them show profiles; see [World.Profile].
	Profiled bool
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

// SetDaemons starts the daemons again with other settings, one after the other, and
// returns when all of them serve.
func (w *World) SetDaemons(ctx context.Context, settings DaemonSettings) error {
	for i := range w.daemons {
		d := &w.daemons[i]
		if _, err := w.configure(d, settings); err != nil {
			return fmt.Errorf("configuring %s: %w", d.name, err)
		}
		if err := w.Process(d.name).Stop(ctx); err != nil {
			return err
		}
		if err := w.Revive(ctx, d.name); err != nil {
			return err
		}
	}
	return nil
}

// configure writes the configuration of a daemon, and returns the file.
func (w *World) configure(d *daemon, settings DaemonSettings) (file string, err error) {
	config := maps.Clone(d.config)
	config["hosts"] = d.hosts
	if n := settings.Hosts; n > 0 && n < len(d.hosts) {
		config["hosts"] = d.hosts[:n]
	}
	if settings.Interval > 0 {
		config["interval"] = settings.Interval.String()
	}
	config["clients"] = []any{map[string]any{"commonName": managerName, "clientUIDs": append([]string{w.clientUID}, settings.ClientUIDs...)}}
	d.profiles = ""
	if settings.Profiled {
		config["profileListen"] = d.profileListen
		d.profiles = "http://" + d.profileListen
	}
	content, err := json.Marshal(config)
	if err != nil {
		return "", err
	}
	return w.state.write("daemons/"+d.name+".yaml", content)
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
	// Whoever may see profiles is on this machine.
	profiles := w.block.loopback(byte(firstDaemonAddress + n - 1))
	profilePort, err := w.block.FreePort(profiles)
	if err != nil {
		return err
	}
	d.profileListen = hostPort(profiles, profilePort)
	d.endpoint, d.metrics = hostPort(d.address, port), "http://"+metricsListen
	d.managersEndpoint = d.endpoint
	d.hosts = make([]daemonHost, len(w.hosts))
	for i, h := range w.hosts {
		d.hosts[i].Host = h
	}
	if o.Proxied {
		if d.managersEndpoint, err = w.proxyDaemon(d); err != nil {
			return err
		}
		if err := w.proxyHosts(n, d.hosts); err != nil {
			return err
		}
	}
	cert, key, err := w.writeServingPair(d, time.Time{})
	if err != nil {
		return err
	}
	d.config = map[string]any{
		"listen":        d.endpoint,
		"metricsListen": metricsListen,
		"tls":           map[string]any{"certFile": cert, "keyFile": key, "clientCAFile": authority},
		// A scenario of hosts that come back is to end soon after they have.
		"hostSettleTime": "2s",
		"imageURL":       cmp.Or(o.ImageURL, "https://images.elemento.invalid/{image}.qcow2"),
	}
	if w.historyDir != "" {
		d.config["log"] = map[string]any{"format": "json", "level": "debug"}
	}
	file, err := w.configure(&d, o.DaemonSettings)
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

// DialDaemon returns a connection to the n-th daemon, from 1, beside our managers: with a
// certificate of its own, by which the daemon serves the world's client UUID as it does
// theirs.
func (w *World) DialDaemon(n int) (*grpc.ClientConn, error) {
	if n < 1 || n > len(w.daemons) {
		return nil, fmt.Errorf("there is no %s in this world", DaemonProcess(n))
	}
	return w.dial(w.daemons[n-1].endpoint)
}

func (w *World) dial(endpoint string) (*grpc.ClientConn, error) {
	pair, err := tls.X509KeyPair(w.ownPair.Cert, w.ownPair.Key)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(w.trust.PEM)
	return grpc.NewClient(endpoint, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{
		MinVersion: tls.VersionTLS13, RootCAs: roots, Certificates: []tls.Certificate{pair},
	})))
}

// daemonServes asks a daemon for its health, as our manager would come to it.
func (w *World) daemonServes(ctx context.Context, endpoint string) error {
	conn, err := w.dial(endpoint)
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
