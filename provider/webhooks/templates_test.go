package webhooks_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/webhook"

	"elemento.cloud/cluster-api-provider-elemento/e2e/apitest"
	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
	"elemento.cloud/cluster-api-provider-elemento/provider/webhooks"
)

// api is a real API server that calls the shipped webhooks.
var api client.Client

func TestMain(m *testing.M) {
	os.Exit(apitest.Run(m, "../config", serveWebhooks))
}

// serveWebhooks has the server call the shipped webhooks, which run here.
func serveWebhooks(ctx context.Context, s *apitest.Server) (end func() error, err error) {
	api = s.Client
	install := envtest.WebhookInstallOptions{Paths: []string{"../config/webhook/manifests.yaml"}}
	if err := install.PrepWithoutInstalling(); err != nil {
		return nil, err
	}
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	served, err := serve(running, s.Config, install, ended)
	end = func() error {
		cancel()
		return errors.Join(<-ended, install.Cleanup())
	}
	if err != nil {
		return end, err
	}
	<-served
	if err := install.Install(s.Config); err != nil {
		return end, err
	}
	return end, called(ctx)
}

// serve runs a manager with nothing but the webhooks, until ctx ends; then it says
// on ended how that went.
func serve(ctx context.Context, config *rest.Config, install envtest.WebhookInstallOptions, ended chan<- error) (served <-chan struct{}, err error) {
	defer func() {
		if err != nil {
			ended <- nil
		}
	}()
	mgr, err := ctrl.NewManager(config, ctrl.Options{
		Scheme:  apitest.Scheme,
		Metrics: metricsserver.Options{BindAddress: "0"},
		WebhookServer: webhook.NewServer(webhook.Options{
			Host: install.LocalServingHost, Port: install.LocalServingPort, CertDir: install.LocalServingCertDir,
		}),
	})
	if err != nil {
		return nil, err
	}
	if err := webhooks.SetupWithManager(mgr); err != nil {
		return nil, err
	}
	go func() { ended <- mgr.Start(ctx) }()
	return mgr.Elected(), nil
}

// called waits until the API server calls the webhooks, which it learns of a
// little after they are stored: until what they alone refuse is refused.
func called(ctx context.Context) error {
	return wait.PollUntilContextCancel(ctx, 20*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		wrong := machineTemplate(metav1.NamespaceDefault)
		wrong.Spec.Template.ObjectMeta.Labels = map[string]string{"-": ""}
		err := api.Create(ctx, wrong, client.DryRunAll)
		// While the server comes up the call itself fails.
		if apierrors.IsInvalid(err) || apierrors.IsInternalError(err) {
			return apierrors.IsInvalid(err), nil
		}
		return false, err
	})
}

func machineTemplate(namespace string) *infrav1.ElementoMachineTemplate {
	t := &infrav1.ElementoMachineTemplate{}
	t.Namespace, t.GenerateName = namespace, "t-"
	t.Spec.Template.Spec = infrav1.ElementoMachineSpec{Slots: 2, MemoryMiB: 4096, Image: "kubernetes"}
	return t
}

func clusterTemplate(namespace string) *infrav1.ElementoClusterTemplate {
	t := &infrav1.ElementoClusterTemplate{}
	t.Namespace, t.GenerateName = namespace, "t-"
	t.Spec.Template.Spec.Network.Managed.CIDR = "10.20.0.0/24"
	return t
}

func create[T client.Object](t *testing.T, make func(namespace string) T) T {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}
	if err := api.Create(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	object := make(ns.Name)
	if err := api.Create(t.Context(), object); err != nil {
		t.Fatal(err)
	}
	return object
}

func wantRefused(t *testing.T, err error, says ...string) {
	t.Helper()
	if !apierrors.IsInvalid(err) {
		t.Errorf("got %v, want it refused as invalid", err)
		return
	}
	for _, part := range says {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the message does not say %q:\n%v", part, err)
		}
	}
}

func TestATemplatesSpecCannotBeChanged(t *testing.T) {
	t.Parallel()
	machines := create(t, machineTemplate)
	machines.Spec.Template.Spec.Slots, machines.Spec.Template.Spec.Image = 4, "other"
	wantRefused(t, api.Update(t.Context(), machines), "spec.template.spec", "image, slots cannot be changed", "make a new template under another name")

	clusters := create(t, clusterTemplate)
	clusters.Spec.Template.Spec.Network.Managed.CIDR = "10.21.0.0/24"
	wantRefused(t, api.Update(t.Context(), clusters), "spec.template.spec", "network cannot be changed", "make a new template under another name")
}

func TestATemplatesMetadataAndStatusCanBeChanged(t *testing.T) {
	t.Parallel()
	machines := create(t, machineTemplate)
	machines.Labels = map[string]string{"a": "b"}
	machines.Spec.Template.ObjectMeta.Labels = map[string]string{"a": "b"}
	if err := api.Update(t.Context(), machines); err != nil {
		t.Errorf("labels: %v", err)
	}
	machines.Status.NodeInfo.OperatingSystem = "linux"
	if err := api.Status().Update(t.Context(), machines); err != nil {
		t.Errorf("status: %v", err)
	}
}

func TestALabelThatKubernetesRefusesIsRefusedInATemplate(t *testing.T) {
	t.Parallel()
	wrong := machineTemplate(metav1.NamespaceDefault)
	wrong.Spec.Template.ObjectMeta.Labels = map[string]string{"a b": ""}
	wantRefused(t, api.Create(t.Context(), wrong), "spec.template.metadata.labels")

	machines := create(t, machineTemplate)
	machines.Spec.Template.ObjectMeta.Labels = map[string]string{"a b": ""}
	wantRefused(t, api.Update(t.Context(), machines), "spec.template.metadata.labels")
}

func TestTheTopologyControllerMayAskWhatAChangeWouldDo(t *testing.T) {
	t.Parallel()
	ask := func(o client.Object, annotations map[string]string, options ...client.PatchOption) error {
		o.SetAnnotations(annotations)
		o.SetManagedFields(nil)
		return api.Patch(t.Context(), o, client.Apply, append(options, client.FieldOwner("test"), client.ForceOwnership)...) //nolint:staticcheck // as the topology controller does
	}
	changed := func(template *infrav1.ElementoMachineTemplate) *infrav1.ElementoMachineTemplate {
		o := template.DeepCopy()
		o.TypeMeta = metav1.TypeMeta{APIVersion: infrav1.GroupVersion.String(), Kind: "ElementoMachineTemplate"}
		o.Spec.Template.Spec.Slots, o.Spec.Template.Spec.Domain = 4, "rack-2"
		return o
	}
	template := create(t, func(namespace string) *infrav1.ElementoMachineTemplate {
		o := machineTemplate(namespace)
		o.Spec.Template.Spec.Domain = "rack-1"
		return o
	})
	marked := map[string]string{clusterv1.TopologyDryRunAnnotation: ""}
	if err := ask(changed(template), marked, client.DryRunAll); err != nil {
		t.Errorf("a marked dry run: %v", err)
	}
	wantRefused(t, ask(changed(template), nil, client.DryRunAll), "cannot be changed")
	wantRefused(t, ask(changed(template), marked), "cannot be changed")
}
