package world

import (
	"context"
	"strconv"
	"strings"

	"k8s.io/client-go/rest"

	"elemento.cloud/cluster-api-provider-elemento/e2e/binaries"
	"elemento.cloud/cluster-api-provider-elemento/e2e/pki"
)

// kubeControllers are the controllers that a management plane without nodes and
// pods needs: owners and namespaces that go take along what is theirs, a service
// account for each namespace, ClusterRoles that are made of others (Cluster API's
// are), and signed client certificates.
var kubeControllers = []string{
	"garbage-collector-controller",
	"namespace-controller",
	"serviceaccount-controller",
	"clusterrole-aggregation-controller",
	"certificatesigningrequest-signing-controller",
}

// startControllerManager starts kube-controller-manager, each of its controllers
// with an identity of its own, and waits until it is healthy.
func (a *APIServer) startControllerManager(ctx context.Context) error {
	path, err := binaries.Path(ctx, binaries.KubeControllerManager, a.progress)
	if err != nil {
		return err
	}
	address := a.block.Address(planeAddress)
	port, err := a.block.FreePort(address)
	if err != nil {
		return err
	}
	serving, err := a.authority.Server(address)
	if err != nil {
		return err
	}
	if _, err := a.state.write("pki/controller-manager.crt", serving.Cert); err != nil {
		return err
	}
	if _, err := a.state.write("pki/controller-manager.key", serving.Key); err != nil {
		return err
	}
	identity, err := a.authority.Client("system:kube-controller-manager")
	if err != nil {
		return err
	}
	kubeconfig := a.state.path("kubeconfig", KubeControllerManager)
	if err := writeKubeconfig(kubeconfig, &rest.Config{
		Host:            a.Config.Host,
		TLSClientConfig: rest.TLSClientConfig{CAData: a.authority.PEM, CertData: identity.Cert, KeyData: identity.Key},
	}); err != nil {
		return err
	}
	p, err := a.processes.start(Command{
		Name: KubeControllerManager,
		Path: path,
		Args: []string{
			"--kubeconfig=" + kubeconfig,
			"--use-service-account-credentials",
			"--controllers=" + strings.Join(kubeControllers, ","),
			"--leader-elect=false",
			"--bind-address=" + address,
			"--secure-port=" + strconv.Itoa(port),
			"--tls-cert-file=" + a.state.path("pki/controller-manager.crt"),
			"--tls-private-key-file=" + a.state.path("pki/controller-manager.key"),
			"--cluster-signing-cert-file=" + a.state.path("pki/ca.crt"),
			"--cluster-signing-key-file=" + a.state.path("pki/ca.key"),
			"--cluster-signing-duration=" + pki.Lifetime.String(),
		},
		Env: []string{seldomGarbage},
		Log: a.log(KubeControllerManager),
		Ready: func(ctx context.Context) error {
			trust := &rest.Config{TLSClientConfig: rest.TLSClientConfig{CAData: a.authority.PEM}}
			return healthyAt(ctx, trust, "https://"+hostPort(address, port)+"/healthz")
		},
	})
	if err != nil {
		return err
	}
	return p.await(ctx)
}
