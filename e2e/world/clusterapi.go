package world

import (
	"context"
	"maps"
	"path/filepath"
	"strconv"
	"strings"

	"elemento.cloud/cluster-api-provider-elemento/e2e/binaries"
)

// clusterAPIProviders are the providers that come with Cluster API: its core,
// and the bootstrap and control plane providers that use kubeadm.
func clusterAPIProviders(ctx context.Context, o Options) ([]Provider, error) {
	source, err := binaries.Source(ctx, binaries.ClusterAPICore)
	if err != nil {
		return nil, err
	}
	// A module's directory is named after its version.
	_, version, _ := strings.Cut(filepath.Base(source), "@")
	variables := map[string]string{
		"EXP_MACHINE_POOL":             "true",
		"CLUSTER_TOPOLOGY":             "true",
		"EXP_RECONCILER_RATE_LIMITING": strconv.FormatBool(!o.QuickReconciles),
	}
	maps.Copy(variables, o.Features)
	var providers []Provider
	for _, p := range []struct{ name, dir string }{
		{binaries.ClusterAPICore, "core"},
		{binaries.KubeadmBootstrap, "bootstrap/kubeadm"},
		{binaries.KubeadmControlPlane, "controlplane/kubeadm"},
	} {
		path, err := binaries.Path(ctx, p.name, o.progress())
		if err != nil {
			return nil, err
		}
		providers = append(providers, Provider{
			Name:          p.name,
			Kustomization: filepath.Join(source, p.dir, "config", "default"),
			Program:       path,
			Image:         "elemento.cloud/" + p.name + ":" + version,
			Variables:     variables,
		})
	}
	return providers, nil
}
