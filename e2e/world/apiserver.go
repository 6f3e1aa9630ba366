package world

import (
	"context"
	"errors"
	"path/filepath"
	"runtime"
	"strconv"

	"k8s.io/client-go/rest"

	"elemento.cloud/cluster-api-provider-elemento/e2e/binaries"
	"elemento.cloud/cluster-api-provider-elemento/e2e/pki"
)

// APIServer is a real kube-apiserver with an etcd of its own, as plain
// processes: everything that validates, defaults, stores and watches, and
// nothing that reconciles.
type APIServer struct {
	// Config reaches it as a member of system:masters, without client-side rate
	// limits. Impersonate from it to act as someone else.
	Config *rest.Config
	// Kubeconfig is the path of a kubeconfig of the same identity.
	Kubeconfig string
	// AuditLog is the path of its audit log: one JSON object a line.
	AuditLog string

	*site
	authority *pki.Authority
}

// StartAPIServer starts etcd and kube-apiserver, and waits until they serve:
// about three seconds once the programs are there (see [binaries.Path]; the first run
// on a machine may build them, which takes some minutes and is told on
// Options.Progress). They listen on loopback addresses and on ports that no one
// else uses, so that any number may run at a time, and die with this process
// even when it is killed.
//
// ctx bounds the start only. Call Stop when done; of the options only Dir and
// Progress matter. A test uses it like this:
//
//	server, err := world.StartAPIServer(ctx, world.Options{})
//	...
//	defer server.Stop()
//	_, err = envtest.InstallCRDs(server.Config, envtest.CRDInstallOptions{Paths: []string{"../config/crd/bases"}})
//
// Webhooks are called by URL (clientConfig.url), on a loopback address of the
// test's own.
func StartAPIServer(ctx context.Context, o Options) (*APIServer, error) {
	s, err := newSite(o)
	if err != nil {
		return nil, err
	}
	a, err := startAPIServer(ctx, s)
	if err != nil {
		return nil, errors.Join(err, s.close(context.Background()))
	}
	return a, nil
}

// Stop ends the processes and removes what they kept, but for the logs in
// Options.Dir. It returns when all is gone, and may be called twice.
func (a *APIServer) Stop() error { return a.close(context.Background()) }

// startAPIServer starts etcd and kube-apiserver on a site.
func startAPIServer(ctx context.Context, s *site) (*APIServer, error) {
	authority, err := pki.NewAuthority("elemento-world")
	if err != nil {
		return nil, err
	}
	a := &APIServer{site: s, authority: authority}
	endpoint, err := a.startEtcd(ctx)
	if err != nil {
		return nil, err
	}
	if err := a.startKubeAPIServer(ctx, endpoint); err != nil {
		return nil, err
	}
	return a, nil
}

// planeAddress is the n of the block's address that the plane listens on.
const planeAddress = 1

// seldomGarbage has a process of the plane that is not ours collect garbage when it is three
// times what is live, instead of as much. A third of the API server's processor time was the
// collection of garbage; memory there is.
const seldomGarbage = "GOGC=300"

func (a *APIServer) startKubeAPIServer(ctx context.Context, etcd string) error {
	path, err := binaries.Path(ctx, binaries.KubeAPIServer, a.progress)
	if err != nil {
		return err
	}
	address := a.block.Address(planeAddress)
	port, err := a.block.FreePort(address)
	if err != nil {
		return err
	}
	serving, err := a.authority.Server(address, "localhost", "kubernetes.default.svc")
	if err != nil {
		return err
	}
	admin, err := a.authority.Client("world", "system:masters")
	if err != nil {
		return err
	}
	// Service account tokens are signed with the authority's key: one secret less.
	key, err := a.authority.Key()
	if err != nil {
		return err
	}
	for name, content := range map[string][]byte{
		"pki/ca.crt": a.authority.PEM, "pki/ca.key": key,
		"pki/apiserver.crt": serving.Cert, "pki/apiserver.key": serving.Key,
		"audit-policy.yaml": []byte(auditPolicy),
	} {
		if _, err := a.state.write(name, content); err != nil {
			return err
		}
	}
	a.AuditLog = filepath.Join(a.dir, "audit.log")

	a.Config = &rest.Config{
		Host:            "https://" + hostPort(address, port),
		TLSClientConfig: rest.TLSClientConfig{CAData: a.authority.PEM, CertData: admin.Cert, KeyData: admin.Key},
		QPS:             -1, // no limit
	}
	a.Kubeconfig = a.state.path("kubeconfig", "admin")
	if err := writeKubeconfig(a.Kubeconfig, a.Config); err != nil {
		return err
	}
	inFlight := 10 * runtime.NumCPU()
	p, err := a.processes.start(Command{
		Name: KubeAPIServer,
		Path: path,
		Args: []string{
			"--etcd-servers=" + etcd,
			"--bind-address=" + address,
			"--advertise-address=" + address,
			"--secure-port=" + strconv.Itoa(port),
			// No Endpoints object for itself: a loopback address is none.
			"--endpoint-reconciler-type=none",
			"--service-cluster-ip-range=10.0.0.0/24",
			"--authorization-mode=RBAC",
			"--client-ca-file=" + a.state.path("pki/ca.crt"),
			"--tls-cert-file=" + a.state.path("pki/apiserver.crt"),
			"--tls-private-key-file=" + a.state.path("pki/apiserver.key"),
			"--service-account-issuer=https://kubernetes.default.svc",
			"--service-account-key-file=" + a.state.path("pki/ca.key"),
			"--service-account-signing-key-file=" + a.state.path("pki/ca.key"),
			// By default 600 requests are worked on at a time. On few cores each goroutine
			// waits for its turn then, those that tell watchers what has changed too, and
			// who writes what was read seconds before writes in vain, and again. Those that
			// wait here do so before any work is done for them.
			"--max-requests-inflight=" + strconv.Itoa(inFlight),
			"--max-mutating-requests-inflight=" + strconv.Itoa(inFlight),
			"--audit-policy-file=" + a.state.path("audit-policy.yaml"),
			"--audit-log-path=" + a.AuditLog,
			"--audit-log-maxsize=100000", // MiB: evidence is not rotated away
		},
		Env: []string{seldomGarbage, "GOMEMLIMIT=6GiB"},
		Log: a.log(KubeAPIServer),
		Ready: func(ctx context.Context) error {
			return healthyAt(ctx, a.Config, a.Config.Host+"/readyz")
		},
	})
	if err != nil {
		return err
	}
	return p.await(ctx)
}

// auditPolicy records who asked for what, never the content: all of what people
// and test suites do, and what the controllers change, but for the leases that
// they renew every other second and the events that they write.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  resources:
  - group: coordination.k8s.io
  - {group: "", resources: [events]}
  - {group: events.k8s.io}
- level: None
  userGroups: ["system:serviceaccounts", "system:masters", "kubeadm:cluster-admins", "system:nodes"]
  verbs: [get, list, watch]
- level: None
  users: ["system:apiserver", "system:kube-controller-manager", "system:kube-scheduler"]
- level: None
  nonResourceURLs: ["/healthz*", "/livez*", "/readyz*", "/version"]
- level: Metadata
`
