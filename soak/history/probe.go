package history

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/clientcmd"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/cluster-api/util/secret"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemento.cloud/cluster-api-provider-elemento/fakeatomos/history"
)

const (
	// probeEvery is how often an API is asked, and probeDeadline how long it may
	// take.
	probeEvery    = 500 * time.Millisecond
	probeDeadline = 2 * time.Second
	// probeTold is how often it is written that an API still answers.
	probeTold = 5 * time.Second
	// newClusters is how often clusters are looked for.
	newClusters = 2 * time.Second
)

// Probe asks the APIs of all workload clusters, twice a second, whether they are
// ready, and writes down what they answer, until ctx ends: each answer that differs
// from the one before, each failure, and now and then that all goes on. It needs a
// client of the management plane that may read Clusters and their kubeconfigs. A
// cluster is probed from when it has a kubeconfig to when its deletion begins.
func Probe(ctx context.Context, c client.Client, to *history.Writer) {
	var probes sync.WaitGroup
	defer probes.Wait()
	under := map[string]context.CancelFunc{} // by the UID of the Cluster
	defer func() {
		for _, cancel := range under {
			cancel()
		}
	}()
	tick := time.NewTicker(newClusters)
	defer tick.Stop()
	for ; ctx.Err() == nil; await(ctx, tick.C) {
		clusters := &clusterv1.ClusterList{}
		if err := list(ctx, c, clusters); err != nil {
			continue // the API server is away; those that are known are asked on
		}
		there := map[string]bool{}
		for i := range clusters.Items {
			cluster := &clusters.Items[i]
			uid := string(cluster.UID)
			if !cluster.DeletionTimestamp.IsZero() {
				continue
			}
			there[uid] = true
			if under[uid] != nil {
				continue
			}
			p, err := newProbe(ctx, c, client.ObjectKeyFromObject(cluster), to)
			if err != nil {
				continue // it has no kubeconfig yet
			}
			ctx, cancel := context.WithCancel(ctx)
			under[uid] = cancel
			probes.Go(func() { p.run(ctx) })
		}
		for uid, cancel := range under {
			if !there[uid] {
				cancel()
				delete(under, uid)
			}
		}
	}
}

func await(ctx context.Context, tick <-chan time.Time) {
	select {
	case <-tick:
	case <-ctx.Done():
	}
}

func list(ctx context.Context, c client.Client, clusters *clusterv1.ClusterList) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return c.List(ctx, clusters)
}

// probe asks one API.
type probe struct {
	to      *history.Writer
	cluster string
	address string
	client  *http.Client
	told    time.Time
	answers bool
}

func newProbe(ctx context.Context, c client.Client, cluster client.ObjectKey, to *history.Writer) (*probe, error) {
	stored := &corev1.Secret{}
	if err := c.Get(ctx, client.ObjectKey{Namespace: cluster.Namespace, Name: secret.Name(cluster.Name, secret.Kubeconfig)}, stored); err != nil {
		return nil, fmt.Errorf("reading a kubeconfig: %w", err)
	}
	config, err := clientcmd.RESTConfigFromKubeConfig(stored.Data[secret.KubeconfigDataName])
	if err != nil {
		return nil, fmt.Errorf("reading a kubeconfig: %w", err)
	}
	server, err := url.Parse(config.Host)
	if err != nil {
		return nil, fmt.Errorf("reading a kubeconfig: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(config.CAData) {
		return nil, fmt.Errorf("the kubeconfig of Cluster %s has no certificate authority", cluster)
	}
	return newProbeOf(cluster.String(), server.Host, roots, to), nil
}

func newProbeOf(cluster, address string, roots *x509.CertPool, to *history.Writer) *probe {
	return &probe{
		to: to, cluster: cluster, address: address,
		client: &http.Client{
			Timeout: probeDeadline,
			// A connection each: one that is open tells nothing of the endpoint.
			Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}},
		},
	}
}

func (p *probe) run(ctx context.Context) {
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	for {
		began := time.Now()
		err := p.ask(ctx)
		if ctx.Err() != nil {
			return
		}
		p.tell(began, err)
		await(ctx, tick.C)
	}
}

func (p *probe) ask(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+p.address+"/readyz", nil)
	if err != nil {
		return err
	}
	response, err := p.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 1<<16))
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("it answers %s", response.Status)
	}
	return nil
}

func (p *probe) tell(began time.Time, err error) {
	answers := err == nil
	if answers && p.answers && began.Sub(p.told) < probeTold {
		return
	}
	p.answers, p.told = answers, began
	e := Event{Time: began, Ended: time.Now(), Kind: history.Probe, Event: "answered", Name: p.cluster, Address: p.address}
	if err != nil {
		e.Event, e.Detail = "failed", history.Detail(err.Error())
	}
	p.to.Add(e)
}
