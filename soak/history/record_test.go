package history_test

import (
	"context"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"elemento.cloud/cluster-api-provider-elemento/e2e/world"
	fake "elemento.cloud/cluster-api-provider-elemento/fakeatomos/history"
	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
	"elemento.cloud/cluster-api-provider-elemento/soak/history"
)

func TestWhatBecomesOfObjectsIsRecorded(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	server, err := world.StartAPIServer(ctx, world.Options{Progress: os.Stderr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Stop() })
	upstream, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/cluster-api").Output()
	if err != nil {
		t.Fatal(err)
	}
	api := strings.TrimSpace(string(upstream))
	core := filepath.Join(api, "core", "config", "crd", "bases", "cluster.x-k8s.io_")
	if _, err := envtest.InstallCRDs(server.Config, envtest.CRDInstallOptions{
		Paths: []string{
			core + "clusters.yaml", core + "machines.yaml", core + "machinesets.yaml", core + "machinedeployments.yaml",
			filepath.Join(api, "controlplane", "kubeadm", "config", "crd", "bases", "controlplane.cluster.x-k8s.io_kubeadmcontrolplanes.yaml"),
			filepath.Join("..", "..", "provider", "config", "crd", "bases"),
		},
		ErrorIfPathMissing: true,
	}); err != nil {
		t.Fatal(err)
	}
	scheme := runtime.NewScheme()
	if err := infrav1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	if err := corev1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	c, err := client.New(server.Config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	left := func(name string) *infrav1.ElementoCleanup {
		return &infrav1.ElementoCleanup{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Annotations: map[string]string{"kubectl.kubernetes.io/last-applied-configuration": "all of it again"}},
			Spec: infrav1.ElementoCleanupSpec{
				ClientUID: "client", Host: "h1", VMName: "vm-of-" + name, Owner: infrav1.CleanupOwner{Kind: "ElementoMachine", Name: "m"},
			},
		}
	}
	before := left("before")
	if err := c.Create(ctx, before); err != nil {
		t.Fatal(err)
	}

	path := filepath.Join(t.TempDir(), history.Objects)
	writer, err := fake.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	// It comes to the API server by a way that can be cut.
	config := rest.CopyConfig(server.Config)
	at, err := url.Parse(config.Host)
	if err != nil {
		t.Fatal(err)
	}
	way, err := world.NewProxy("127.0.0.1:0", at.Host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = way.Close() })
	config.Host, config.ServerName = "https://"+way.Address(), at.Hostname()
	recording, stop := context.WithCancel(ctx)
	wait, err := history.Record(recording, config, writer)
	if err != nil {
		t.Fatal(err)
	}
	after := left("after")
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "secret"}, StringData: map[string]string{"value": "secret"}}
	for _, object := range []client.Object{after, secret} {
		if err := c.Create(ctx, object); err != nil {
			t.Fatal(err)
		}
	}
	patch := client.MergeFrom(after.DeepCopy())
	after.Labels = map[string]string{"changed": "yes"}
	if err := c.Patch(ctx, after, patch); err != nil {
		t.Fatal(err)
	}
	if err := c.Delete(ctx, after); err != nil {
		t.Fatal(err)
	}
	want := []string{"added default/before", "recorded all that are there", "added default/after", "modified default/after", "deleted default/after"}
	var got []string
	told := func() []string {
		for got = nil; len(got) < len(want) && ctx.Err() == nil; time.Sleep(50 * time.Millisecond) {
			got = nil
			if _, err := fake.Read(path, 0, func(e history.Event) error {
				got = append(got, e.Event+" "+e.Name)
				return nil
			}); err != nil {
				t.Fatal(err)
			}
		}
		return got
	}
	told()
	heal := way.Cut(world.Refuse)
	want = append(want, "unrecorded what happens from now on")
	told()
	if err := c.Create(ctx, left("meanwhile")); err != nil {
		t.Fatal(err)
	}
	if err := c.Delete(ctx, before); err != nil {
		t.Fatal(err)
	}
	heal()
	want = append(want, "added default/meanwhile", "deleted default/before", "recorded all that are there")
	told()
	stop()
	wait()
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	last := ""
	if !slices.Equal(got, want) {
		t.Errorf("recorded is %q, want %q", got, want)
	}
	if _, err := fake.Read(path, 0, func(e history.Event) error {
		if last = e.Event; e.Event == "recorded" || e.Event == "unrecorded" {
			return nil
		}
		o, err := history.ObjectOf(e)
		if err != nil {
			return err
		}
		if o.Kind != "ElementoCleanup" || o.Key() != e.Name || o.Metadata.UID != e.UID || o.Spec.VMName != e.VM || e.VM == "" || e.Host != "h1" || o.Metadata.CreationTimestamp.IsZero() {
			t.Errorf("the event %+v tells of %+v", e, o)
		}
		if e.Event == "deleted" && e.Name == "default/before" && o.Metadata.DeletionTimestamp.IsZero() {
			t.Error("what was gone when it was looked for again is not told to have been deleted")
		}
		for _, text := range []string{"managedFields", "all of it again"} {
			if strings.Contains(string(e.Detail), text) {
				t.Errorf("it tells %q", text)
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if last != "unrecorded" {
		t.Errorf("the last event is %s", last)
	}
}
