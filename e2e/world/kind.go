package world

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/kind/pkg/apis/config/defaults"
	"sigs.k8s.io/kind/pkg/apis/config/v1alpha4"
	"sigs.k8s.io/kind/pkg/cluster"
	"sigs.k8s.io/kind/pkg/cluster/nodeutils"
	"sigs.k8s.io/kind/pkg/exec"

	"elemento.cloud/cluster-api-provider-elemento/e2e/docker"
	"elemento.cloud/cluster-api-provider-elemento/e2e/image"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos/guest/container"
)

// kindReady is how long a kind cluster may take, once it is made, until its node is
// Ready.
const kindReady = 5 * time.Minute

// kindCluster is the management cluster of a world, which is of one node.
type kindCluster struct {
	name     string
	provider *cluster.Provider
	// loading has one image loaded at a time.
	loading sync.Mutex
}

// kindNetwork has kind's library, which looks for the network's name in the
// environment, make one cluster at a time.
var kindNetwork sync.Mutex

// startKind makes the kind cluster of the world, on its Docker network.
func (w *World) startKind(ctx context.Context, image string) error {
	config, err := kindConfig(ctx)
	if err != nil {
		return err
	}
	policy, err := w.state.write("audit-policy.yaml", []byte(auditPolicy))
	if err != nil {
		return err
	}
	audit(config, policy)
	k := &kindCluster{name: w.network.name, provider: cluster.NewProvider(cluster.ProviderWithDocker())}
	w.kubeconfig = w.state.path("kubeconfig", "admin")
	options := []cluster.CreateOption{
		cluster.CreateWithV1Alpha4Config(config), cluster.CreateWithKubeconfigPath(w.kubeconfig),
		// The network is removed in the end with all that is on it, so that what has
		// failed can be looked at until then.
		cluster.CreateWithRetain(true), cluster.CreateWithWaitForReady(kindReady), cluster.CreateWithNodeImage(image),
	}
	if err := k.create(ctx, w.network, options); err != nil {
		return errors.Join(err, k.keepLogs(w.dir))
	}
	w.kind = k
	reached, err := clientcmd.BuildConfigFromFlags("", w.kubeconfig)
	if err != nil {
		return fmt.Errorf("reading the kubeconfig of the kind cluster: %w", err)
	}
	reached.QPS = -1
	if err := w.connect(reached); err != nil {
		return err
	}
	return w.followAudit(ctx)
}

// create makes the cluster. The library knows no context: where it ends, what the
// library waits for is taken away until it gives up, see [await].
func (k *kindCluster) create(ctx context.Context, network *dockerNetwork, options []cluster.CreateOption) error {
	made := make(chan error, 1)
	go func() {
		kindNetwork.Lock()
		defer kindNetwork.Unlock()
		const variable = "KIND_EXPERIMENTAL_DOCKER_NETWORK"
		was, set := os.LookupEnv(variable)
		err := os.Setenv(variable, k.name)
		if err == nil {
			err = k.provider.Create(k.name, options...)
		}
		if set {
			err = errors.Join(err, os.Setenv(variable, was))
		} else {
			err = errors.Join(err, os.Unsetenv(variable))
		}
		made <- err
	}()
	return explain("making a kind cluster", await(ctx, made, network.clear, kindGivesUp))
}

// kindGivesUp is how long kind's library may take to give up once its containers are
// gone.
const kindGivesUp = time.Minute

// await waits until something is made that knows no context. Where ctx ends, what it is
// made of is cleared away until it has failed, at most for as long as patience.
func await(ctx context.Context, made <-chan error, clear func(context.Context) error, patience time.Duration) error {
	select {
	case err := <-made:
		return err
	case <-ctx.Done():
	}
	over := time.NewTimer(patience)
	defer over.Stop()
	again := time.NewTicker(time.Second)
	defer again.Stop()
	for {
		err := clear(ctx)
		select {
		case failed := <-made:
			if failed == nil { // made after all
				err = errors.Join(err, clear(ctx))
			}
			return errors.Join(context.Cause(ctx), err)
		case <-over.C:
			return errors.Join(context.Cause(ctx), err, fmt.Errorf("it goes on although it was taken away for %s", patience))
		case <-again.C:
		}
	}
}

// keepLogs keeps what the cluster has said, below the logs of the world, for one who
// looks for what has failed.
func (k *kindCluster) keepLogs(dir string) error {
	return explain("keeping the logs of the kind cluster", k.provider.CollectLogs(k.name, filepath.Join(dir, "logs", "kind")))
}

// explain adds to an error of kind's library what the command said that failed.
func explain(doing string, err error) error {
	if err == nil {
		return nil
	}
	var failed *exec.RunError
	if errors.As(err, &failed) {
		return fmt.Errorf("%s: %w\n%s", doing, err, bytes.TrimSpace(failed.Output))
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// kindConfig is a cluster of one node, on which the kubelet puts up with what this
// machine cannot do.
func kindConfig(ctx context.Context) (*v1alpha4.Cluster, error) {
	e, err := docker.Ask(ctx)
	if err != nil {
		return nil, err
	}
	config := &v1alpha4.Cluster{Nodes: []v1alpha4.Node{{Role: v1alpha4.ControlPlaneRole}}}
	var kubelet []string
	if e.CgroupVersion == "1" {
		kubelet = append(kubelet, "cgroupDriver: cgroupfs", "failCgroupV1: false")
	}
	if e.LacksSysResource() {
		kubelet = append(kubelet, "oomScoreAdj: 0")
		config.KubeadmConfigPatches = append(config.KubeadmConfigPatches, "kind: KubeProxyConfiguration\noomScoreAdj: 0\n")
	}
	if len(kubelet) > 0 {
		config.KubeadmConfigPatches = append(config.KubeadmConfigPatches, "kind: KubeletConfiguration\n"+strings.Join(kubelet, "\n")+"\n")
	}
	v1alpha4.SetDefaultsCluster(config)
	return config, nil
}

// load puts a program as an image onto the cluster's node.
func (k *kindCluster) load(i image.Image) error {
	var archive bytes.Buffer
	if err := i.Write(&archive); err != nil {
		return err
	}
	k.loading.Lock()
	defer k.loading.Unlock()
	nodes, err := k.provider.ListInternalNodes(k.name)
	if err != nil {
		return fmt.Errorf("looking for the nodes of the kind cluster: %w", err)
	}
	for _, node := range nodes {
		if err := nodeutils.LoadImageArchive(node, bytes.NewReader(archive.Bytes())); err != nil {
			return explain("loading the image "+i.Name, err)
		}
	}
	return nil
}

// nodeImage is the image of the management cluster's node: the one that was asked
// for, or else ours where it was made, or else the one that kind takes by itself.
func nodeImage(ctx context.Context, asked string) string {
	if asked != "" {
		return asked
	}
	ours := container.NodeImage(KubernetesVersion)
	if there, err := docker.HasImage(ctx, ours); err == nil && there {
		return ours
	}
	return defaults.Image
}
