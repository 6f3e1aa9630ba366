package world

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemento.cloud/cluster-api-provider-elemento/e2e/binaries"
	"elemento.cloud/cluster-api-provider-elemento/e2e/docker"
)

func TestAWorldOnKindIsWhatUsersHaveAndLeavesNothing(t *testing.T) {
	if plane := os.Getenv("E2E_PLANE"); plane != string(PlaneKind) {
		t.Skip("a world on kind takes minutes, and a machine that is not busy: E2E_PLANE=kind has this test run")
	}
	t.Parallel()
	image := nodeOrSkip(t)
	ctx := testContext(t)
	w, err := Up(ctx, Options{
		Plane: PlaneKind, NodeImage: image, QuickReconciles: true, Dir: t.TempDir(), Progress: t.Output(),
		// As the suites take it: E2E_CERT_MANAGER=built has cert-manager issue certificates.
		CertManager: os.Getenv("E2E_CERT_MANAGER"),
		Elemento:    &Elemento{AtomOS: AtomOS{Hosts: 2}},
	})
	if err != nil {
		t.Fatal(err)
	}
	down := func() {
		if err := w.Down(context.WithoutCancel(ctx)); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(down)
	managers := []string{binaries.ClusterAPICore, binaries.KubeadmBootstrap, binaries.KubeadmControlPlane, ElementoProvider}

	worksWhole(t, w)

	t.Run("managers are Deployments, of which metrics and logs are there", func(t *testing.T) {
		for _, name := range managers {
			m := w.Manager(name)
			if m == nil || m.Process != nil || w.Process(name) != nil {
				t.Errorf("%s is not in a pod: %+v", name, m)
				continue
			}
			if err := w.client.Get(ctx, m.deployment, &appsv1.Deployment{}); err != nil {
				t.Error(err)
			}
			families, err := w.Metrics(ctx, name)
			if err != nil {
				t.Errorf("the metrics of %s: %v", name, err)
			} else if families["controller_runtime_reconcile_total"] == nil {
				t.Errorf("%s does not tell its loops", name)
			}
			see(t, ctx, "a line in the log of "+name, func(context.Context) (bool, error) {
				content, err := os.ReadFile(w.Log(name))
				return strings.Contains(string(content), "\n"), err
			})
		}
	})
	t.Run("our webhook refuses, and our manager reaches the daemons", func(t *testing.T) {
		template := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"template": map[string]any{"spec": map[string]any{
			"slots": int64(1), "memoryMiB": int64(1024), "image": "an-image", "bootVolume": map[string]any{"sizeGiB": int64(1)},
		}}}}}
		template.SetGroupVersionKind(schema.GroupVersionKind{Group: "infrastructure.cluster.x-k8s.io", Version: "v1beta1", Kind: "ElementoMachineTemplate"})
		template.SetNamespace("default")
		template.SetName("a-template")
		if err := w.client.Create(ctx, template); err != nil {
			t.Fatal(err)
		}
		more := client.RawPatch(types.MergePatchType, []byte(`{"spec": {"template": {"spec": {"memoryMiB": 2048}}}}`))
		if err := w.client.Patch(ctx, template, more); !apierrors.IsInvalid(err) {
			t.Errorf("a template that is changed: %v; want it refused", err)
		}
		for _, endpoint := range w.Endpoints() {
			host, _, err := net.SplitHostPort(endpoint)
			if err != nil || !w.network.own().Contains(netip.MustParseAddr(host)) {
				t.Errorf("a daemon is at %s, where pods do not reach it (%v)", endpoint, err)
			}
		}
	})
	t.Run("cert-manager, where there is one, has issued the certificates of webhooks", func(t *testing.T) {
		if w.certManager == nil {
			t.Skip("the world has made them itself: E2E_CERT_MANAGER is not set")
		}
		secrets := &corev1.SecretList{}
		if err := w.client.List(ctx, secrets); err != nil {
			t.Fatal(err)
		}
		issued := map[string]bool{}
		for _, secret := range secrets.Items {
			if secret.Annotations["cert-manager.io/certificate-name"] != "" && len(secret.Data[corev1.TLSCertKey]) > 0 {
				issued[secret.Namespace] = true
			}
		}
		for _, name := range managers {
			if namespace := w.Manager(name).Namespace; !issued[namespace] {
				t.Errorf("in %s no Secret is of a certificate that cert-manager has issued", namespace)
			}
		}
	})
	t.Run("the end of a manager is told", func(t *testing.T) {
		if err := w.Err(); err != nil {
			t.Fatalf("before it was ended: %v", err)
		}
		node := w.kind.name + "-control-plane"
		if _, err := docker.Run(ctx, nil, "exec", node, "sh", "-c",
			"crictl stop --timeout=0 $(crictl ps --quiet --name=manager --label=io.kubernetes.pod.namespace="+w.Manager(ElementoProvider).Namespace+")"); err != nil {
			t.Fatal(err)
		}
		select {
		case <-w.Failed():
		case <-ctx.Done():
			t.Fatal("nobody is told of a manager that was killed")
		}
		if end := (*ExitError)(nil); !errors.As(w.Err(), &end) || end.Name != ElementoProvider {
			t.Errorf("what is told is %v", w.Err())
		}
		if err := w.available(ctx, w.Manager(ElementoProvider).deployment); err != nil {
			t.Errorf("it does not come back: %v", err)
		}
	})
	name := w.network.name
	down()
	if left := ofNetwork(t, name); left != "" {
		t.Errorf("there is still %s", left)
	}
	if _, err := net.InterfaceByName(name); err == nil {
		t.Errorf("the bridge %s is still there", name)
	}
}
