package world

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemento.cloud/cluster-api-provider-elemento/e2e/certmanager"
	"elemento.cloud/cluster-api-provider-elemento/e2e/image"
)

// BuiltCertManager stands for the cert-manager that is built from its Go module, where
// otherwise there is the path or URL of a manifest.
const BuiltCertManager = "built"

// certManager is what issues the certificates of webhooks on a kind cluster.
type certManager struct {
	// manifest is the path or URL of its manifest, and images are those that the
	// cluster cannot pull.
	manifest string
	images   []image.Image
}

// prepareCertManager finds out what to install, and builds it if need be.
func (w *World) prepareCertManager(ctx context.Context, asked string) (*certManager, error) {
	if asked != BuiltCertManager {
		return &certManager{manifest: asked}, nil
	}
	images, err := certmanager.Images(ctx, w.progress)
	if err != nil {
		return nil, err
	}
	manifest, err := certmanager.Manifest(ctx, w.progress)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(w.dir, "manifests", "cert-manager.yaml")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	return &certManager{path, images}, os.WriteFile(path, manifest, 0o644)
}

// installCertManager installs cert-manager and waits until it can be asked.
func (w *World) installCertManager(ctx context.Context) error {
	for _, i := range w.certManager.images {
		if err := w.kind.load(i); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, awaited, errors.New("cert-manager was not ready in time"))
	defer cancel()
	for _, args := range [][]string{
		{"apply", "--server-side", "--filename=" + w.certManager.manifest},
		{"wait", "--namespace=" + certmanager.Namespace, "--for=condition=Available", "--timeout=" + awaited.String(), "deployments", "--all"},
	} {
		if err := w.kubectl(ctx, args...); err != nil {
			return errors.Join(fmt.Errorf("installing cert-manager: %w", err), w.kind.keepLogs(w.dir))
		}
	}
	return nil
}

// applyCertificates applies Secrets or, where there is cert-manager, what it is to make
// them of: its webhook may not answer at once.
func (w *World) applyCertificates(ctx context.Context, objects []*unstructured.Unstructured) error {
	ctx, cancel := context.WithTimeout(ctx, awaited)
	defer cancel()
	var last error
	err := eventually(ctx, "the certificates cannot be applied yet", func(ctx context.Context) (bool, error) {
		last = apply(ctx, w.client, objects)
		if last != nil && !apierrors.IsInternalError(last) {
			return false, last
		}
		return last == nil, nil
	})
	if err != nil && last != nil {
		return errors.Join(err, last)
	}
	return err
}

// injected waits until cert-manager has written into definitions and configurations
// which authority signed the certificates of the webhooks' Services.
func (w *World) injected(ctx context.Context, c *components) error {
	ctx, cancel := context.WithTimeout(ctx, awaited)
	defer cancel()
	for _, objects := range [][]*unstructured.Unstructured{c.definitions, c.webhooks} {
		for _, object := range objects {
			if err := eventually(ctx, fmt.Sprintf("cert-manager has not written its CA into %s %s yet", object.GetKind(), object.GetName()), func(ctx context.Context) (bool, error) {
				current := object.DeepCopy()
				if err := w.client.Get(ctx, client.ObjectKeyFromObject(object), current); err != nil {
					return false, err
				}
				return trusts(current)
			}); err != nil {
				return err
			}
		}
	}
	return nil
}

// trusts tells whether an object says, of every Service that it has called, which
// authority is trusted.
func trusts(object *unstructured.Unstructured) (bool, error) {
	all := true
	one := &components{webhooks: []*unstructured.Unstructured{object}}
	if object.GetKind() == "CustomResourceDefinition" {
		one = &components{definitions: one.webhooks}
	}
	err := one.eachService(func(config, _ map[string]any) error {
		all = all && config["caBundle"] != nil
		return nil
	})
	return all, err
}
