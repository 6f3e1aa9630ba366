package world

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"

	corev1 "k8s.io/api/core/v1"
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
