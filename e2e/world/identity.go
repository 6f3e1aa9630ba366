package world

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"path/filepath"

	authenticationv1 "k8s.io/api/authentication/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/keyutil"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemento.cloud/cluster-api-provider-elemento/e2e/pki"
)

// serviceAccountKubeconfig writes a kubeconfig for a service account, with a
// token that the API server issues for it, and returns its path.
func (w *World) serviceAccountKubeconfig(ctx context.Context, namespace, name string) (string, error) {
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	seconds := int64(pki.Lifetime.Seconds())
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds}}
	if err := w.client.SubResource("token").Create(ctx, account, request); err != nil {
		return "", fmt.Errorf("asking for a token of service account %s/%s: %w", namespace, name, err)
	}
	base := filepath.Join("kubeconfig", namespace+"."+name)
	token, err := w.state.write(base+".token", []byte(request.Status.Token))
	if err != nil {
		return "", err
	}
	config := &rest.Config{Host: w.config.Host, BearerTokenFile: token}
	config.CAData, config.CAFile = w.config.CAData, w.config.CAFile
	path := w.state.path(base)
	return path, writeKubeconfig(path, config)
}

// UserKubeconfig writes a kubeconfig for a user with nothing but a client
// certificate of that name and those groups, and returns its path. The plane
// signs the certificate as any cluster would: through a
// CertificateSigningRequest, which gives it to no one of system:masters.
func (w *World) UserKubeconfig(ctx context.Context, user string, groups ...string) (string, error) {
	config, err := w.userConfig(ctx, user, groups)
	if err != nil {
		return "", fmt.Errorf("making a kubeconfig for user %s: %w", user, err)
	}
	path := w.state.path("kubeconfig", "user-"+filepath.Base(user))
	return path, writeKubeconfig(path, config)
}

func (w *World) userConfig(ctx context.Context, user string, groups []string) (_ *rest.Config, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: user, Organization: groups}}, key)
	if err != nil {
		return nil, err
	}
	seconds := int32(pki.Lifetime.Seconds())
	request := &certificatesv1.CertificateSigningRequest{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "elemento-world-"},
		Spec: certificatesv1.CertificateSigningRequestSpec{
			Request:           pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}),
			SignerName:        certificatesv1.KubeAPIServerClientSignerName,
			ExpirationSeconds: &seconds,
			Usages:            []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageClientAuth},
		},
	}
	if err := w.client.Create(ctx, request); err != nil {
		return nil, err
	}
	defer func() {
		if deleteErr := w.client.Delete(ctx, request); err == nil {
			err = client.IgnoreNotFound(deleteErr)
		}
	}()
	request.Status.Conditions = append(request.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
		Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue,
		Reason: "World", Message: "asked for by the one who brought this world up",
	})
	if err := w.client.SubResource("approval").Update(ctx, request); err != nil {
		return nil, err
	}
	if err := eventually(ctx, "the certificate signing request "+request.Name+" has not been signed yet", func(ctx context.Context) (bool, error) {
		if err := w.client.Get(ctx, client.ObjectKeyFromObject(request), request); err != nil {
			return false, err
		}
		for _, condition := range request.Status.Conditions {
			if condition.Type == certificatesv1.CertificateFailed || condition.Type == certificatesv1.CertificateDenied {
				return false, fmt.Errorf("the certificate signing request %s is %s: %s", request.Name, condition.Type, condition.Message)
			}
		}
		return len(request.Status.Certificate) > 0, nil
	}); err != nil {
		return nil, err
	}
	encoded, err := keyutil.MarshalPrivateKeyToPEM(key)
	if err != nil {
		return nil, err
	}
	config := &rest.Config{Host: w.config.Host}
	config.CAData, config.CAFile = w.config.CAData, w.config.CAFile
	config.CertData, config.KeyData = request.Status.Certificate, encoded
	return config, nil
}
