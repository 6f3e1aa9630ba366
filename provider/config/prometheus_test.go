package config_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// watched is what the shipped components are with the component for the Prometheus
// Operator.
func watched(t *testing.T) (objects []unstructured.Unstructured) {
	t.Helper()
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	config, err := filepath.Rel(dir, here)
	if err != nil {
		t.Fatal(err)
	}
	overlay := "resources: [" + config + "/default]\ncomponents: [" + config + "/prometheus/operator]\n"
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(overlay), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), kubectl, "kustomize", dir).Output()
	if err != nil {
		t.Fatal(err)
	}
	for decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(out), 4096); ; {
		var object unstructured.Unstructured
		if err := decoder.Decode(&object); errors.Is(err, io.EOF) {
			return objects
		} else if err != nil {
			t.Fatal(err)
		}
		objects = append(objects, object)
	}
}

func TestTheOperatorScrapesTheManagerThatIsShipped(t *testing.T) {
	t.Parallel()
	byKind := map[string][]unstructured.Unstructured{}
	for _, object := range watched(t) {
		byKind[object.GetKind()] = append(byKind[object.GetKind()], object)
	}
	ours := slices.IndexFunc(byKind["PodMonitor"], func(m unstructured.Unstructured) bool { return m.GetName() == "elemento-manager" })
	if deployments := len(byKind["Deployment"]); ours < 0 || deployments != 1 {
		t.Fatalf("there are %d Deployments, want one, or no PodMonitor is the manager's", deployments)
	}
	var deployment appsv1.Deployment
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(byKind["Deployment"][0].Object, &deployment); err != nil {
		t.Fatal(err)
	}
	monitor := byKind["PodMonitor"][ours]
	if monitor.GetNamespace() != deployment.Namespace {
		t.Errorf("it looks in namespace %s, the manager is in %s", monitor.GetNamespace(), deployment.Namespace)
	}
	selector, _, _ := unstructured.NestedStringMap(monitor.Object, "spec", "selector", "matchLabels")
	if len(selector) == 0 {
		t.Error("it selects all pods")
	}
	for label, value := range selector {
		if deployment.Spec.Template.Labels[label] != value {
			t.Errorf("it wants pods whose label %s is %q; the manager's is %q", label, value, deployment.Spec.Template.Labels[label])
		}
	}
	endpoints, _, _ := unstructured.NestedSlice(monitor.Object, "spec", "podMetricsEndpoints")
	if len(endpoints) != 1 {
		t.Fatalf("it has %d endpoints, want one", len(endpoints))
	}
	endpoint := endpoints[0].(map[string]any)
	ports := map[string]bool{}
	for _, p := range deployment.Spec.Template.Spec.Containers[0].Ports {
		ports[p.Name] = true
	}
	if !ports[endpoint["port"].(string)] {
		t.Errorf("it wants port %v, the manager has %v", endpoint["port"], ports)
	}
	secret, _, _ := unstructured.NestedString(endpoint, "authorization", "credentials", "name")
	if !slices.ContainsFunc(byKind["Secret"], func(s unstructured.Unstructured) bool {
		return s.GetName() == secret && s.GetNamespace() == monitor.GetNamespace() && s.GetAnnotations()["kubernetes.io/service-account.name"] == secret
	}) {
		t.Errorf("there is no Secret %s with a token", secret)
	}
}

func TestWhoReadsMetricsMayReadNothingElse(t *testing.T) {
	t.Parallel()
	for _, object := range watched(t) {
		if object.GetName() != "elemento-metrics-reader" || object.GetKind() == "Secret" { // which takes a controller
			continue
		}
		if err := admin.Create(t.Context(), &object); err != nil {
			t.Fatal(err)
		}
	}
	reader := as(t, "system:serviceaccount:elemento-system:elemento-metrics-reader", "system:serviceaccounts", "system:serviceaccounts:elemento-system")
	for path, want := range map[string]bool{"/metrics": true, "/debug/pprof/heap": false} {
		review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{NonResourceAttributes: &authorizationv1.NonResourceAttributes{Path: path, Verb: "get"}}}
		if err := reader.Create(t.Context(), review); err != nil {
			t.Fatal(err)
		}
		if review.Status.Allowed != want {
			t.Errorf("it may read %s: %v, want %v", path, review.Status.Allowed, want)
		}
	}
	if err := reader.List(t.Context(), &apiextensionsv1.CustomResourceDefinitionList{}, client.Limit(1)); err == nil {
		t.Error("it may list objects")
	}
}
