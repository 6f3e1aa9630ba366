package world

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"elemento.cloud/cluster-api-provider-elemento/e2e/binaries"
	"elemento.cloud/cluster-api-provider-elemento/e2e/pki"
)

// certify does what cert-manager would do with a provider's Certificates: it puts the
// Secrets that they ask for in their place, and has the API server trust these.
func (c *components) certify(provider string) error {
	authority, err := pki.NewAuthority(provider)
	if err != nil {
		return err
	}
	if err := c.trust(authority.PEM); err != nil {
		return err
	}
	var secrets []*unstructured.Unstructured
	for _, certificate := range c.certificates {
		names, _, err := unstructured.NestedStringSlice(certificate.Object, "spec", "dnsNames")
		if err != nil {
			return err
		}
		secret, _, err := unstructured.NestedString(certificate.Object, "spec", "secretName")
		if err != nil {
			return err
		}
		if len(names) == 0 || secret == "" {
			return fmt.Errorf("Certificate %s says not for what names it is, or in what Secret", certificate.GetName())
		}
		pair, err := authority.Server(names...)
		if err != nil {
			return err
		}
		object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&corev1.Secret{
			TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
			ObjectMeta: metav1.ObjectMeta{Namespace: certificate.GetNamespace(), Name: secret, Labels: certificate.GetLabels()},
			Type:       corev1.SecretTypeTLS,
			Data:       map[string][]byte{corev1.TLSCertKey: pair.Cert, corev1.TLSPrivateKeyKey: pair.Key, "ca.crt": authority.PEM},
		})
		if err != nil {
			return err
		}
		secrets = append(secrets, &unstructured.Unstructured{Object: object})
	}
	c.issuers, c.certificates = nil, secrets
	return nil
}

// installCertManager installs cert-manager and waits until it can be asked.
func (w *World) installCertManager(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, awaited, errors.New("cert-manager was not ready in time"))
	defer cancel()
	for _, args := range [][]string{
		{"apply", "--server-side", "--filename=" + w.certManager},
		{"wait", "--namespace=cert-manager", "--for=condition=Available", "--timeout=" + awaited.String(), "deployments", "--all"},
	} {
		if err := w.kubectl(ctx, args...); err != nil {
			return fmt.Errorf("installing cert-manager: %w", err)
		}
	}
	return nil
}

// kubectl runs kubectl as the plane's administrator.
func (w *World) kubectl(ctx context.Context, args ...string) error {
	path, err := binaries.Path(ctx, binaries.Kubectl, w.progress)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, path, append([]string{"--kubeconfig=" + w.kubeconfig}, args...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("kubectl %s: %w\n%s", strings.Join(args, " "), err, bytes.TrimSpace(out))
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
