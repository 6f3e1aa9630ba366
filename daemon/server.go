package daemon

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"

	"elemento.cloud/cluster-api-provider-elemento/daemon/rpc"
)

// Bounds of what callers may ask of the daemon at a time.
const (
	maxMessage = 4 << 20
	maxStreams = 1000
)

// service implements all services of daemon/rpc.
type service struct {
	rpc.UnimplementedDomainServiceServer
	rpc.UnimplementedVMServiceServer
	rpc.UnimplementedNetworkServiceServer
	rpc.UnimplementedEndpointServiceServer

	hosts        hosts
	callers      *callers
	imageURL     string
	interval     time.Duration
	epoch        string
	metrics      *metrics
	log          *slog.Logger
	draining     context.Context // ends when the daemon is to end
	choosing     sync.Mutex
	reservations reservations
	proposed     proposed
}

// services are the names under which the health service answers.
var services = []string{
	"", // the daemon as a whole
	rpc.DomainService_ServiceDesc.ServiceName,
	rpc.VMService_ServiceDesc.ServiceName,
	rpc.NetworkService_ServiceDesc.ServiceName,
	rpc.EndpointService_ServiceDesc.ServiceName,
}

// Daemon is a client daemon.
type Daemon struct {
	cfg     Config
	log     *slog.Logger
	service *service
	drained context.CancelFunc
	server  *grpc.Server
	health  *health.Server

	// The last two are nil where the configuration asks for none.
	listener, metricsListener, profileListener net.Listener

	// What runs beside the calls ends with background.
	background context.Context
	end        context.CancelFunc
	running    sync.WaitGroup
}

// New checks the configuration, reads its files and listens; calls wait until
// Run. It speaks to no host yet. A Daemon that is not run must be closed.
func New(cfg Config, log *slog.Logger) (*Daemon, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, fmt.Errorf("daemon: configuration:\n%w", err)
	}
	certificates, err := loadCertificates(cfg.TLS, log)
	if err != nil {
		return nil, fmt.Errorf("daemon: %w", err)
	}
	d := &Daemon{cfg: cfg, log: log, health: health.NewServer()}
	d.background, d.end = context.WithCancel(context.Background())
	var draining context.Context
	draining, d.drained = context.WithCancel(context.Background())
	m := newMetrics()
	m.showExpiry(certificates.expires)
	d.service = &service{
		hosts: hosts{byID: map[string]*host{}}, callers: newCallers(cfg.Clients, certificates),
		imageURL: cfg.ImageURL, interval: cfg.Interval.Duration,
		epoch: rand.Text(), metrics: m, log: log, draining: draining,
	}
	for i, hc := range cfg.Hosts {
		h, err := newHost(hc, cfg.Interval.Duration, m, log, d.spawn)
		if err != nil {
			return nil, fmt.Errorf("daemon: hosts[%d].%w", i, err)
		}
		h.settle = cfg.HostSettleTime.Duration
		d.service.hosts.byID[h.ID] = h
		d.service.hosts.all = append(d.service.hosts.all, h)
	}
	slices.SortFunc(d.service.hosts.all, func(a, b *host) int { return cmp.Compare(a.ID, b.ID) })
	m.showHosts(d.service.hosts)

	d.server = grpc.NewServer(
		grpc.Creds(&door{TransportCredentials: credentials.NewTLS(certificates.serverConfig()), log: log}),
		grpc.UnaryInterceptor(d.service.unary),
		grpc.StreamInterceptor(d.service.stream),
		grpc.UnknownServiceHandler(func(_ any, ss grpc.ServerStream) error {
			method, _ := grpc.MethodFromServerStream(ss)
			return failf(rpc.Reason_REASON_UNSUPPORTED, "", "this daemon does not know %s; it may be older than its caller", method)
		}),
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.ConnectionTimeout(10*time.Second),
		grpc.WaitForHandlers(true), // they use what ends with the daemon
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
	)
	rpc.RegisterDomainServiceServer(d.server, d.service)
	rpc.RegisterVMServiceServer(d.server, d.service)
	rpc.RegisterNetworkServiceServer(d.server, d.service)
	rpc.RegisterEndpointServiceServer(d.server, d.service)
	grpc_health_v1.RegisterHealthServer(d.server, d.health)

	var on net.ListenConfig
	if d.listener, err = on.Listen(d.background, "tcp", cfg.Listen); err != nil {
		return nil, fmt.Errorf("daemon: listen: %w", err)
	}
	if cfg.MetricsListen != "" {
		if d.metricsListener, err = on.Listen(d.background, "tcp", cfg.MetricsListen); err != nil {
			return nil, errors.Join(fmt.Errorf("daemon: metricsListen: %w", err), d.Close())
		}
	}
	if cfg.ProfileListen != "" {
		if d.profileListener, err = on.Listen(d.background, "tcp", cfg.ProfileListen); err != nil {
			return nil, errors.Join(fmt.Errorf("daemon: profileListen: %w", err), d.Close())
		}
	}
	return d, nil
}

// Addr is where the gRPC services listen.
func (d *Daemon) Addr() net.Addr { return d.listener.Addr() }

// MetricsAddr is where /metrics is, nil if nowhere.
func (d *Daemon) MetricsAddr() net.Addr {
	if d.metricsListener == nil {
		return nil
	}
	return d.metricsListener.Addr()
}

// ProfileAddr is where /debug/pprof is, nil if nowhere.
func (d *Daemon) ProfileAddr() net.Addr {
	if d.profileListener == nil {
		return nil
	}
	return d.profileListener.Addr()
}

// Close gives up the addresses of a Daemon that is not run.
func (d *Daemon) Close() error {
	err := d.listener.Close()
	for _, l := range []net.Listener{d.metricsListener, d.profileListener} {
		if l != nil {
			err = errors.Join(err, l.Close())
		}
	}
	return err
}

// spawn runs f beside its caller, with the caller's request ID and as long as
// the daemon lasts.
func (d *Daemon) spawn(ctx context.Context, f func(context.Context)) {
	ctx = withRequestID(d.background, requestID(ctx))
	d.running.Go(func() { f(ctx) })
}

// Run serves until ctx ends, and then drains: the health service says so,
// streams end so that their readers go elsewhere, and calls under way get the
// drain timeout to finish. It returns nil after that, and an error if serving
// failed. A Daemon runs once.
func (d *Daemon) Run(ctx context.Context) error {
	for _, name := range services {
		d.health.SetServingStatus(name, grpc_health_v1.HealthCheckResponse_SERVING)
	}
	ctx, failed := context.WithCancelCause(ctx)
	defer failed(nil)
	metrics := http.NewServeMux()
	metrics.Handle("GET /metrics", promhttp.HandlerFor(d.service.metrics.registry, promhttp.HandlerOpts{}))
	endMetrics := d.servePlain("metrics", d.metricsListener, metrics, failed)
	endProfiles := d.servePlain("profiles", d.profileListener, profiles(), failed)
	d.running.Go(func() {
		if err := d.server.Serve(d.listener); err != nil {
			failed(fmt.Errorf("daemon: serving: %w", err))
		}
	})
	d.log.Info("serving", "address", d.Addr().String(), "hosts", len(d.service.hosts.all), "epoch", d.service.epoch)

	<-ctx.Done()
	d.log.Info("draining", "timeout", d.cfg.DrainTimeout.Duration)
	d.drain()
	endMetrics()
	endProfiles()
	d.end()
	d.running.Wait()
	for _, h := range d.service.hosts.all {
		h.c4.Close()
	}
	d.log.Info("ended")
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

func (d *Daemon) drain() {
	d.health.Shutdown()
	d.drained()
	// Whoever is still there after that is cut off.
	late := time.AfterFunc(d.cfg.DrainTimeout.Duration, d.server.Stop)
	defer late.Stop()
	d.server.GracefulStop()
}

// servePlain serves in plain HTTP until it is ended; nothing without a listener.
func (d *Daemon) servePlain(what string, on net.Listener, handler http.Handler, failed context.CancelCauseFunc) (end func()) {
	if on == nil {
		return func() {}
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	d.running.Go(func() {
		if err := server.Serve(on); !errors.Is(err, http.ErrServerClosed) {
			failed(fmt.Errorf("daemon: serving %s: %w", what, err))
		}
	})
	return func() { _ = server.Close() }
}
