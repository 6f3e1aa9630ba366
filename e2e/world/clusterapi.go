package world

import (
	"context"
	"path/filepath"
	"strconv"
)

// clusterAPIProviders are the providers that come with Cluster API: its core,
// and the bootstrap and control plane providers that use kubeadm.
func clusterAPIProviders(ctx context.Context, o Options) ([]Provider, error) {
	repository, err := Repository(ctx)
	if err != nil {
		return nil, err
	}
	source, err := moduleDir(ctx, repository, "clusterapi", clusterAPIModule)
	if err != nil {
		return nil, err
	}
	variables := map[string]string{
		"EXP_MACHINE_POOL":             "true",
		"CLUSTER_TOPOLOGY":             "true",
		"EXP_RECONCILER_RATE_LIMITING": strconv.FormatBool(!o.QuickReconciles),
	}
	var providers []Provider
	for _, p := range []struct{ name, dir string }{
		{clusterAPICore, "core"},
		{kubeadmBootstrap, "bootstrap/kubeadm"},
		{kubeadmControlPlane, "controlplane/kubeadm"},
	} {
		path, err := Binary(ctx, p.name, o.progress())
		if err != nil {
			return nil, err
		}
		providers = append(providers, Provider{
			Name:          p.name,
			Kustomization: filepath.Join(source, p.dir, "config", "default"),
			Program:       path,
			Variables:     variables,
		})
	}
	return providers, nil
}
