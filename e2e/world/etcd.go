package world

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"

	"k8s.io/client-go/rest"

	"elemento.cloud/cluster-api-provider-elemento/e2e/binaries"
)

// startEtcd starts an etcd of one member and waits until it is healthy. It
// keeps its data and its sockets in the state directory, which nobody else may
// enter, and does not wait for the disk: a world that is gone is not restored.
func (a *APIServer) startEtcd(ctx context.Context) (endpoint string, err error) {
	path, err := binaries.Path(ctx, binaries.Etcd, a.progress)
	if err != nil {
		return "", err
	}
	// etcd wants a host and a port in its URLs and makes a socket of that name
	// in its working directory.
	const client, peer = "client:1", "peer:1"
	dir := a.state.path()
	socket := a.state.path(client)
	p, err := a.processes.start(Command{
		Name: Etcd,
		Path: path,
		Args: []string{
			"--name=world",
			"--data-dir=" + a.state.path("etcd"),
			"--unsafe-no-fsync",
			"--quota-backend-bytes=8589934592",
			"--listen-client-urls=unix://" + client,
			"--advertise-client-urls=unix://" + client,
			"--listen-peer-urls=unix://" + peer,
			"--initial-advertise-peer-urls=unix://" + peer,
			"--initial-cluster=world=unix://" + peer,
			"--log-level=warn",
		},
		Env: []string{seldomGarbage},
		Dir: dir,
		Log: a.log(Etcd),
		Ready: func(ctx context.Context) error {
			transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "unix", socket)
			}}
			defer transport.CloseIdleConnections()
			return healthy(ctx, &http.Client{Transport: transport}, "http://etcd/health")
		},
	})
	if err != nil {
		return "", err
	}
	return "unix://" + socket, p.await(ctx)
}

// healthyAt asks a health endpoint with what a client is configured to show.
func healthyAt(ctx context.Context, config *rest.Config, url string) error {
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	return healthy(ctx, client, url)
}

// healthy asks a health endpoint and returns nil when it answers 200.
func healthy(ctx context.Context, client *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return errors.New(url + " answers " + resp.Status + ": " + string(body))
	}
	return nil
}
