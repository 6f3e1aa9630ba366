package world

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"strconv"

	"elemento.cloud/cluster-api-provider-elemento/e2e/binaries"
)

// OlderClusterAPI is the version of Cluster API before ours, by its minor, that
// e2e/binaries pins.
const OlderClusterAPI = "v1.13.6"

// clusterAPIProviders are the providers that come with Cluster API: its core,
// and the bootstrap and control plane providers that use kubeadm.
func clusterAPIProviders(ctx context.Context, o Options) ([]Provider, error) {
	version := o.ClusterAPI
	if version == "" {
		var err error
		if version, err = binaries.Version(ctx, binaries.ClusterAPICore); err != nil {
			return nil, err
		}
	}
	variables := map[string]string{
		"EXP_MACHINE_POOL":             "true",
		"CLUSTER_TOPOLOGY":             "true",
		"EXP_RECONCILER_RATE_LIMITING": strconv.FormatBool(!o.QuickReconciles),
	}
	maps.Copy(variables, o.Features)
	var args []string
	if qps := o.ClusterAPIQPS; qps > 0 {
		args = []string{fmt.Sprintf("--kube-api-qps=%d", qps), fmt.Sprintf("--kube-api-burst=%d", 2*qps)}
	}
	var providers []Provider
	for _, name := range []string{binaries.ClusterAPICore, binaries.KubeadmBootstrap, binaries.KubeadmControlPlane} {
		pinned := name + "@" + version
		program, err := binaries.Path(ctx, pinned, o.progress())
		if err != nil {
			return nil, err
		}
		source, err := binaries.Package(ctx, pinned)
		if err != nil {
			return nil, err
		}
		providers = append(providers, Provider{
			Name: name,
			// The manifests of a manager lie beside it.
			Kustomization: filepath.Join(source, "config", "default"),
			Program:       program,
			Image:         "elemento.cloud/" + name + ":" + version,
			Variables:     variables,
			Args:          args,
			Env:           []string{seldomGarbage},
		})
	}
	return providers, nil
}
