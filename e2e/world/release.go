package world

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"sigs.k8s.io/yaml"

	"elemento.cloud/cluster-api-provider-elemento/e2e/binaries"
)

// ReleaseVersion is the version under which the tree's own state is laid out as
// a release.
const ReleaseVersion = "v0.1.0"

// providerLabel is clusterctl's name for our provider and its directory.
const providerLabel = "infrastructure-elemento"

// ManagerImage is the name of the container image that our manifests name.
func ManagerImage(ctx context.Context) (string, error) {
	repository, err := binaries.Repository(ctx)
	if err != nil {
		return "", err
	}
	kubectl, err := binaries.Path(ctx, binaries.Kubectl, nil)
	if err != nil {
		return "", err
	}
	rendered, err := kustomize(ctx, kubectl, filepath.Join(repository, "provider", "config", "default"))
	if err != nil {
		return "", err
	}
	c, err := sortComponents(string(rendered))
	if err != nil {
		return "", err
	}
	manager, err := c.manager()
	if err != nil {
		return "", err
	}
	return manager.Image, nil
}

// Release lays out in dir what a release of the provider consists of, as the
// local repository that clusterctl takes: components, metadata, cluster
// templates and cluster classes. It returns the path of a clusterctl
// configuration that names it.
func Release(ctx context.Context, dir string, progress io.Writer) (string, error) {
	repository, err := binaries.Repository(ctx)
	if err != nil {
		return "", err
	}
	kubectl, err := binaries.Path(ctx, binaries.Kubectl, progress)
	if err != nil {
		return "", err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return "", err
	}
	release := filepath.Join(dir, providerLabel, ReleaseVersion)
	if err := os.MkdirAll(release, 0o755); err != nil {
		return "", err
	}
	components := filepath.Join(release, "infrastructure-components.yaml")
	provider := filepath.Join(repository, "provider")
	rendered, err := kustomize(ctx, kubectl, filepath.Join(provider, "config", "default"))
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(components, rendered, 0o644); err != nil {
		return "", fmt.Errorf("laying out a release: %w", err)
	}
	templates, err := filepath.Glob(filepath.Join(provider, "templates", "*.yaml"))
	if err != nil {
		return "", err
	}
	for _, from := range append(templates, filepath.Join(provider, "metadata.yaml")) {
		content, err := os.ReadFile(from)
		if err != nil {
			return "", fmt.Errorf("laying out a release: %w", err)
		}
		if err := os.WriteFile(filepath.Join(release, filepath.Base(from)), content, 0o644); err != nil {
			return "", fmt.Errorf("laying out a release: %w", err)
		}
	}
	config, err := yaml.Marshal(map[string]any{
		"providers": []any{map[string]any{"name": "elemento", "type": "InfrastructureProvider", "url": components}},
	})
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "clusterctl.yaml")
	return path, os.WriteFile(path, config, 0o644)
}
