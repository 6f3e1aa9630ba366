package simulated

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"elemento.cloud/cluster-api-provider-elemento/fakeatomos/guest/simulated/kubeapi"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos/history"
)

const etcdPort = 2379

// controlPlane are the services of a control-plane machine: an API server and
// an etcd member, each on the machine's own address, and the API server on the
// virtual IP while the machine holds it.
type controlPlane struct {
	cluster *cluster
	node    *node
	port    uint16
	// vip is the address that the machine holds with others in turn; nil
	// without one.
	vip      *virtualIP
	api      *tls.Config
	etcd     *tls.Config
	version  string
	errorLog *log.Logger

	// The cluster's mutex guards the services: nil while they are not open.
	// What ended last is kept until it has been waited for.
	apiService, etcdService, vipService *service
	past                                []*service
}

// service is a server behind a door.
type service struct {
	door *door
	// ctx ends with the service, for what does not see its connection's end.
	ctx    context.Context
	cancel context.CancelFunc
	*activity
}

// newControlPlane issues the certificates that kubeadm would.
func newControlPlane(c *cluster, n *node, p *plan, config *clusterConfiguration) (*controlPlane, error) {
	serving, err := c.authorities.cluster.issue("kube-apiserver", apiHosts(config, n.name, n.vm.Address, p.api.AdvertiseAddress), config.validity())
	if err != nil {
		return nil, err
	}
	etcdServing, err := c.authorities.etcd.issue(n.name, []string{n.name, "localhost", "127.0.0.1", "::1", n.vm.Address.String()}, config.validity())
	if err != nil {
		return nil, err
	}
	return &controlPlane{
		cluster: c, node: n, port: p.api.port(), vip: p.vip, version: n.vm.KubernetesVersion,
		errorLog: slog.NewLogLogger(c.log.Handler(), slog.LevelDebug),
		// As a real API server, this one asks for a client certificate and
		// judges it by the request, not by the handshake.
		api: &tls.Config{
			Certificates: []tls.Certificate{*serving}, MinVersion: tls.VersionTLS12,
			ClientAuth: tls.RequestClientCert, ClientCAs: c.authorities.cluster.pool, NextProtos: []string{"h2", "http/1.1"},
		},
		etcd: &tls.Config{
			Certificates: []tls.Certificate{*etcdServing}, MinVersion: tls.VersionTLS12,
			ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: c.authorities.etcd.pool, NextProtos: []string{"h2"},
		},
	}, nil
}

// setAPI opens or closes the API server.
func (cp *controlPlane) setAPI(ctx context.Context, open bool) error {
	was := cp.serves()
	err := cp.set(ctx, &cp.apiService, open, netip.AddrPortFrom(cp.node.vm.Address, cp.port), cp.serveAPI)
	switch is := cp.serves(); {
	case is && !was:
		cp.cluster.tell(history.Event{Event: "serving", VM: cp.node.vm.Name, UID: cp.node.vm.ID})
	case was && !is:
		cp.cluster.tell(history.Event{Event: "silent", VM: cp.node.vm.Name, UID: cp.node.vm.ID})
	}
	return err
}

// serves tells whether the API server is open.
func (cp *controlPlane) serves() bool { return cp.apiService != nil }

// setEtcd opens or closes the etcd member.
func (cp *controlPlane) setEtcd(ctx context.Context, open bool) error {
	return cp.set(ctx, &cp.etcdService, open, netip.AddrPortFrom(cp.node.vm.Address, etcdPort), cp.serveEtcd)
}

// setVIP opens or closes the API server on the virtual IP.
func (cp *controlPlane) setVIP(ctx context.Context, open bool) error {
	return cp.set(ctx, &cp.vipService, open, netip.AddrPortFrom(cp.vip.address, cp.port), cp.serveAPI)
}

func (cp *controlPlane) set(ctx context.Context, current **service, open bool, at netip.AddrPort, serve func(*service)) error {
	switch {
	case open == (*current != nil):
		return nil
	case !open:
		cp.past = slices.DeleteFunc(cp.past, func(s *service) bool { return s.isIdle() })
		cp.past = append(cp.past, *current)
		(*current).close()
		*current = nil
		return nil
	}
	d, err := openDoor(ctx, cp.node.vm, at)
	if err != nil {
		return fmt.Errorf("node %s: %w", cp.node.name, err)
	}
	serving, cancel := context.WithCancel(context.WithoutCancel(ctx))
	*current = &service{door: d, ctx: serving, cancel: cancel, activity: newActivity()}
	serve(*current)
	return nil
}

// closeAll closes all services; ended waits for them.
func (cp *controlPlane) closeAll() {
	if cp.vip != nil {
		_ = cp.setVIP(context.Background(), false)
	}
	_ = cp.setAPI(context.Background(), false) // closing does not fail
	_ = cp.setEtcd(context.Background(), false)
}

// ended hands over what has been closed, to be waited for.
func (cp *controlPlane) ended() []*activity {
	ended := make([]*activity, len(cp.past))
	for i, s := range cp.past {
		ended[i] = s.activity
	}
	cp.past = nil
	return ended
}

// close cuts all connections at once; what handles them ends soon after.
func (s *service) close() {
	_ = s.door.Close()
	s.activity.stop()
	s.cancel()
}

// run serves until the door is closed.
func (s *service) run(serve func(net.Listener), stop func()) {
	s.begin()
	go func() {
		defer s.end()
		serve(s.door)
		stop()
	}()
}

// serveAPI runs the API server of this control plane.
func (cp *controlPlane) serveAPI(s *service) {
	api := &kubeapi.Server{
		Store: cp.cluster.store, Version: cp.version, Allow: cp.cluster.allow,
		DialPod: func(ctx context.Context, namespace, pod string, port uint16) (net.Conn, error) {
			return cp.cluster.dialPod(ctx, cp.node, namespace, pod, port)
		},
	}
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !s.begin() {
				return
			}
			defer s.end()
			api.ServeHTTP(w, r)
		}),
		TLSConfig: cp.api.Clone(), ErrorLog: cp.errorLog, ReadHeaderTimeout: 10 * time.Second,
		BaseContext: func(net.Listener) context.Context { return s.ctx },
	}
	s.run(func(l net.Listener) { _ = server.ServeTLS(l, "", "") }, func() { _ = server.Close() })
}

// open are the paths that anybody may read.
var open = map[string]bool{
	"/healthz": true, "/livez": true, "/readyz": true, "/version": true, clusterInfoPath: true,
}

// joinerPaths are what the holder of a bootstrap token may read.
var joinerPaths = map[string]bool{
	kubeSystemPath: true, kubeadmConfigPath: true,
	"/api/v1/namespaces/kube-system/configmaps/kubelet-config": true,
}

// allow lets in who shows a client certificate of the cluster's authority; who
// shows a bootstrap token may read what joining needs. There are no other
// rules: whoever has a certificate is an administrator.
func (c *cluster) allow(r *http.Request) *apierrors.StatusError {
	if shown := r.TLS.PeerCertificates; len(shown) > 0 {
		chain := x509.NewCertPool()
		for _, certificate := range shown[1:] {
			chain.AddCert(certificate)
		}
		_, err := shown[0].Verify(x509.VerifyOptions{
			Roots: c.authorities.cluster.pool, Intermediates: chain, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		})
		if err != nil {
			return apierrors.NewUnauthorized("Unauthorized")
		}
		return nil
	}
	if token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		switch {
		case !c.store.Accepts(token):
			return apierrors.NewUnauthorized("Unauthorized")
		case r.Method == http.MethodGet && joinerPaths[r.URL.Path]:
			return nil
		}
	}
	if r.Method == http.MethodGet && open[r.URL.Path] {
		return nil
	}
	return apierrors.NewForbidden(schema.GroupResource{}, "", fmt.Errorf("%s %s is not allowed", r.Method, r.URL.Path))
}
