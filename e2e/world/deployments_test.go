package world

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

const certificateManifest = `---
apiVersion: cert-manager.io/v1
kind: Certificate
metadata: {name: a-certificate, namespace: a-system}
spec:
  dnsNames: [a-service.a-system.svc, a-service.a-system.svc.cluster.local]
  issuerRef: {kind: Issuer, name: an-issuer}
  secretName: a-service-cert
---
apiVersion: cert-manager.io/v1
kind: Issuer
metadata: {name: an-issuer, namespace: a-system}
spec: {selfSigned: {}}
`

func TestADeploymentRunsWhatIsOnTheNodeWithArgumentsOfItsOwn(t *testing.T) {
	t.Parallel()
	c, err := sortComponents(providerManifests)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.runs(Provider{Image: "example.com/a:v1", Args: []string{"--two"}, Replicas: 2}); err != nil {
		t.Fatal(err)
	}
	d := &appsv1.Deployment{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(c.deployed.Object, d); err != nil {
		t.Fatal(err)
	}
	manager := d.Spec.Template.Spec.Containers[0]
	if manager.Image != "example.com/a:v1" || manager.ImagePullPolicy != corev1.PullIfNotPresent {
		t.Errorf("it runs %q, which is pulled %q", manager.Image, manager.ImagePullPolicy)
	}
	if !slices.Equal(manager.Args, []string{"--one", "--two"}) {
		t.Errorf("its arguments are %q", manager.Args)
	}
	if *d.Spec.Replicas != 2 {
		t.Errorf("there are to be %d of it", *d.Spec.Replicas)
	}
}

func TestWhereThereIsNoCertManagerItsCertificatesAreMade(t *testing.T) {
	t.Parallel()
	c, err := sortComponents(providerManifests + certificateManifest)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.services) != 1 || len(c.certificates) != 1 || len(c.issuers) != 1 {
		t.Fatalf("sorted into %d services, %d certificates and %d issuers", len(c.services), len(c.certificates), len(c.issuers))
	}
	if err := c.certify("a provider"); err != nil {
		t.Fatal(err)
	}
	if len(c.issuers) != 0 || len(c.certificates) != 1 {
		t.Fatalf("there are %d issuers and %d Secrets", len(c.issuers), len(c.certificates))
	}
	secret := &corev1.Secret{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(c.certificates[0].Object, secret); err != nil {
		t.Fatal(err)
	}
	if secret.Namespace != "a-system" || secret.Name != "a-service-cert" {
		t.Errorf("the Secret is %s/%s", secret.Namespace, secret.Name)
	}
	pair, err := tls.X509KeyPair(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey])
	if err != nil {
		t.Fatal(err)
	}
	hooks, _, _ := unstructured.NestedSlice(c.webhooks[0].Object, "webhooks")
	validation, _, _ := unstructured.NestedMap(hooks[0].(map[string]any), "clientConfig")
	conversion, _, _ := unstructured.NestedMap(c.definitions[0].Object, "spec", "conversion", "webhook", "clientConfig")
	for what, config := range map[string]map[string]any{"validation": validation, "conversion": conversion} {
		if config["service"] == nil {
			t.Errorf("%s: the Service is not called any more: %v", what, config)
		}
		bundle, _ := config["caBundle"].(string)
		pem, err := base64.StdEncoding.DecodeString(bundle)
		if err != nil {
			t.Fatal(err)
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(pem)
		for _, name := range []string{"a-service.a-system.svc", "a-service.a-system.svc.cluster.local"} {
			if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name}); err != nil {
				t.Errorf("%s: %v", what, err)
			}
		}
	}
}
