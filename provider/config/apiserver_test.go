// Package config_test holds what is shipped against a real API server: the
// components, the permissions, and the templates.
package config_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"elemento.cloud/cluster-api-provider-elemento/e2e/binaries"
	"elemento.cloud/cluster-api-provider-elemento/e2e/world"
	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
)

const fieldOwner = client.FieldOwner("provider-config-test")

var (
	// server is a real API server with Cluster API's kinds and the shipped
	// components, and nothing that reconciles.
	server *world.APIServer
	// admin may do everything on it.
	admin  client.Client
	scheme = runtime.NewScheme()

	kubectl, clusterctl string
	// clusterctlConfig names the release that is laid out from this tree, and
	// release is its directory.
	clusterctlConfig, release string
	components                []unstructured.Unstructured
)

func TestMain(m *testing.M) {
	code, err := withComponents(context.Background(), m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func withComponents(ctx context.Context, m *testing.M) (code int, err error) {
	dir, err := os.MkdirTemp("", "elemento-release-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	if kubectl, err = binaries.Path(ctx, binaries.Kubectl, os.Stderr); err != nil {
		return 0, err
	}
	if clusterctl, err = binaries.Path(ctx, binaries.Clusterctl, os.Stderr); err != nil {
		return 0, err
	}
	if clusterctlConfig, err = world.Release(ctx, dir, os.Stderr); err != nil {
		return 0, err
	}
	release = filepath.Join(dir, "infrastructure-elemento", world.ReleaseVersion)
	text, err := os.ReadFile(filepath.Join(release, "infrastructure-components.yaml"))
	if err != nil {
		return 0, err
	}
	if components, err = decode(text); err != nil {
		return 0, err
	}
	for _, add := range []func(*runtime.Scheme) error{
		clientgoscheme.AddToScheme, apiextensionsv1.AddToScheme, clusterv1.AddToScheme, infrav1.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			return 0, err
		}
	}

	if server, err = world.StartAPIServer(ctx, world.Options{Progress: os.Stderr}); err != nil {
		return 0, err
	}
	defer func() {
		if stopErr := server.Stop(); err == nil {
			err = stopErr
		}
	}()
	if admin, err = client.New(server.Config, client.Options{Scheme: scheme}); err != nil {
		return 0, err
	}
	if err := install(ctx); err != nil {
		return 0, err
	}
	return m.Run(), nil
}

// install puts Cluster API's kinds on the server, and of our components what needs
// no pods.
func install(ctx context.Context) error {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/cluster-api").Output()
	if err != nil {
		return fmt.Errorf("finding Cluster API's source: %w", err)
	}
	source := strings.TrimSpace(string(out))
	var paths []string
	for _, part := range []string{"core", "bootstrap/kubeadm", "controlplane/kubeadm"} {
		paths = append(paths, filepath.Join(source, part, "config", "crd", "bases"))
	}
	if _, err := envtest.InstallCRDs(server.Config, envtest.CRDInstallOptions{Paths: paths, ErrorIfPathMissing: true}); err != nil {
		return err
	}
	var ours []*apiextensionsv1.CustomResourceDefinition
	for _, object := range components {
		switch object.GetKind() {
		case "CustomResourceDefinition":
			crd := &apiextensionsv1.CustomResourceDefinition{}
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, crd); err != nil {
				return err
			}
			ours = append(ours, crd)
		case "Deployment", "ValidatingWebhookConfiguration", "Service", "Certificate", "Issuer":
		default:
			if err := admin.Apply(ctx, client.ApplyConfigurationFromUnstructured(object.DeepCopy()), fieldOwner); err != nil {
				return fmt.Errorf("%s %s: %w", object.GetKind(), object.GetName(), err)
			}
		}
	}
	_, err = envtest.InstallCRDs(server.Config, envtest.CRDInstallOptions{CRDs: ours})
	return err
}

// decode reads the objects of a manifest.
func decode(text []byte) (objects []unstructured.Unstructured, err error) {
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4<<10)
	for {
		var object unstructured.Unstructured
		if err := decoder.Decode(&object); errors.Is(err, io.EOF) {
			return objects, nil
		} else if err != nil {
			return nil, err
		}
		if len(object.Object) > 0 {
			objects = append(objects, object)
		}
	}
}

// as is a client that acts as a user of some groups.
func as(t *testing.T, user string, groups ...string) client.Client {
	t.Helper()
	config := rest.CopyConfig(server.Config)
	config.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: append(slices.Clone(groups), "system:authenticated")}
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// namespace makes a namespace that only this test uses.
func namespace(t *testing.T) string {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}
	if err := admin.Create(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	return ns.Name
}

// tenant makes a namespace in which Clastix may drive clusters.
func tenant(t *testing.T) string {
	t.Helper()
	ns := namespace(t)
	if out, err := exec.CommandContext(t.Context(), kubectl, "--kubeconfig", server.Kubeconfig, "apply", "--namespace", ns, "--kustomize", "tenant").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return ns
}

// generate has clusterctl make a cluster from one of the shipped templates.
func generate(t *testing.T, ns, flavor string, environment ...string) []unstructured.Unstructured {
	t.Helper()
	args := []string{
		"generate", "cluster", "demo", "--config", clusterctlConfig, "--kubeconfig", server.Kubeconfig,
		"--infrastructure", "elemento:" + world.ReleaseVersion, "--target-namespace", ns, "--kubernetes-version", "v1.36.3",
		"--control-plane-machine-count", "3", "--worker-machine-count", "3",
	}
	if flavor != "" {
		args = append(args, "--flavor", flavor)
	}
	cmd := exec.CommandContext(t.Context(), clusterctl, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	cmd.Env = append(os.Environ(), environment...)
	text, err := cmd.Output()
	if err != nil {
		t.Fatalf("clusterctl generate cluster: %v\n%s", err, stderr.String())
	}
	objects, err := decode(text)
	if err != nil {
		t.Fatal(err)
	}
	return objects
}
