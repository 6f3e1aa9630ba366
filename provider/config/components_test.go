package config_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	clusterctlv1 "sigs.k8s.io/cluster-api/cmd/clusterctl/api/v1alpha3"
	"sigs.k8s.io/cluster-api/util/contract"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
)

// kinds are the short names of our kinds.
var kinds = map[string]string{
	"ElementoCluster":         "ec",
	"ElementoClusterTemplate": "ectpl",
	"ElementoMachine":         "em",
	"ElementoMachineTemplate": "emtpl",
	"ElementoCleanup":         "ecl",
}

func TestEveryKindKeepsTheContract(t *testing.T) {
	t.Parallel()
	found := map[string]bool{}
	for _, object := range components {
		if object.GetKind() != "CustomResourceDefinition" {
			continue
		}
		var crd apiextensionsv1.CustomResourceDefinition
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &crd); err != nil {
			t.Fatal(err)
		}
		kind := crd.Spec.Names.Kind
		found[kind] = true
		if want := contract.CalculateCRDName(infrav1.GroupVersion.Group, kind); crd.Name != want {
			t.Errorf("%s is called %s, want %s", kind, crd.Name, want)
		}
		if got := crd.Labels["cluster.x-k8s.io/v1beta2"]; got != infrav1.GroupVersion.Version {
			t.Errorf("%s keeps the contract v1beta2 by version %q", kind, got)
		}
		if got := crd.Labels[clusterv1.ProviderNameLabel]; got != "infrastructure-elemento" {
			t.Errorf("%s is of provider %q", kind, got)
		}
		_, moves := crd.Labels[clusterctlv1.ClusterctlMoveLabel]
		if moves != (kind == "ElementoCleanup") {
			t.Errorf("%s has the label to move on its own: %v; owned objects move with their owner, a cleanup has none", kind, moves)
		}
		if crd.Spec.Scope != apiextensionsv1.NamespaceScoped {
			t.Errorf("%s is not namespaced", kind)
		}
		if !slices.Contains(crd.Spec.Names.Categories, "cluster-api") {
			t.Errorf("%s is not among what `kubectl get cluster-api` shows", kind)
		}
		if !slices.Contains(crd.Spec.Names.ShortNames, kinds[kind]) {
			t.Errorf("%s has the short names %v, want %s", kind, crd.Spec.Names.ShortNames, kinds[kind])
		}
		if len(crd.Spec.Versions[0].AdditionalPrinterColumns) < 3 {
			t.Errorf("%s has hardly any columns", kind)
		}
	}
	for kind := range kinds {
		if !found[kind] {
			t.Errorf("there is no %s among the components", kind)
		}
	}
}

func TestTheComponentsAreAsClusterctlWantsThem(t *testing.T) {
	t.Parallel()
	count := map[string]int{}
	for _, object := range components {
		count[object.GetKind()]++
		if object.GetLabels()[clusterv1.ProviderNameLabel] != "infrastructure-elemento" {
			t.Errorf("%s %s has no provider label", object.GetKind(), object.GetName())
		}
		if ns := object.GetNamespace(); ns != "" && ns != "elemento-system" {
			t.Errorf("%s %s is in namespace %s", object.GetKind(), object.GetName(), ns)
		}
		if object.GetKind() != "Deployment" {
			continue
		}
		var deployment appsv1.Deployment
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &deployment); err != nil {
			t.Fatal(err)
		}
		if containers := deployment.Spec.Template.Spec.Containers; len(containers) != 1 || containers[0].Name != "manager" {
			t.Errorf("the Deployment has other containers than the one called manager")
		}
	}
	for _, kind := range []string{"Namespace", "Deployment", "ServiceAccount", "ValidatingWebhookConfiguration", "Certificate", "Issuer"} {
		if count[kind] != 1 {
			t.Errorf("there are %d of kind %s, want one", count[kind], kind)
		}
	}
}

func TestTheMetadataNamesTheReleaseAndTheContract(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(release, "metadata.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var metadata clusterctlv1.Metadata
	if err := yaml.UnmarshalStrict(text, &metadata); err != nil {
		t.Fatal(err)
	}
	if metadata.APIVersion != clusterctlv1.GroupVersion.String() || metadata.Kind != "Metadata" {
		t.Errorf("it is a %s of %s", metadata.Kind, metadata.APIVersion)
	}
	if series := metadata.ReleaseSeries; len(series) == 0 || series[len(series)-1].Contract != clusterv1.GroupVersion.Version {
		t.Errorf("the release series are %+v", series)
	}
}

func TestTheManagerMayDoNothingThatItHasNotSaid(t *testing.T) {
	t.Parallel()
	manager := as(t, "system:serviceaccount:elemento-system:elemento-manager", "system:serviceaccounts", "system:serviceaccounts:elemento-system")
	for _, test := range []struct {
		verb  string
		what  schema.GroupResource
		may   bool
		scope string
	}{
		{"get", schema.GroupResource{Resource: "secrets"}, true, "default"},
		{"patch", schema.GroupResource{Resource: "secrets"}, true, "default"}, // see TestTheManagerChangesNoSecret
		{"update", schema.GroupResource{Resource: "secrets"}, false, "default"},
		{"create", schema.GroupResource{Group: "infrastructure.cluster.x-k8s.io", Resource: "elementocleanups"}, true, "default"},
		{"delete", schema.GroupResource{Group: "infrastructure.cluster.x-k8s.io", Resource: "elementocleanups"}, true, "default"},
		{"delete", schema.GroupResource{Group: "infrastructure.cluster.x-k8s.io", Resource: "elementomachines"}, false, "default"},
		{"list", schema.GroupResource{Resource: "secrets"}, false, "default"},
		{"delete", schema.GroupResource{Resource: "secrets"}, false, "default"},
		{"create", schema.GroupResource{Group: "rbac.authorization.k8s.io", Resource: "rolebindings"}, false, "default"},
		{"create", schema.GroupResource{Group: "rbac.authorization.k8s.io", Resource: "roles"}, false, "default"},
		{"patch", schema.GroupResource{Group: "rbac.authorization.k8s.io", Resource: "roles"}, false, "default"},
		{"bind", schema.GroupResource{Group: "rbac.authorization.k8s.io", Resource: "roles"}, false, "default"},
		{"escalate", schema.GroupResource{Group: "rbac.authorization.k8s.io", Resource: "roles"}, false, "default"},
		{"create", schema.GroupResource{Resource: "pods"}, false, "elemento-system"},
		{"delete", schema.GroupResource{Group: "cluster.x-k8s.io", Resource: "machines"}, false, "default"},
	} {
		if got := may(t, manager, test.verb, test.what, test.scope, ""); got != test.may {
			t.Errorf("the manager may %s %s: %v, want %v", test.verb, test.what, got, test.may)
		}
	}
}

func TestColumnsSayWhatAMachineWaitsFor(t *testing.T) {
	t.Parallel()
	ns := namespace(t)
	machine := &infrav1.ElementoMachine{Spec: infrav1.ElementoMachineSpec{
		VMName: "vm-a", Domain: "rack-1", Host: "host-a", Slots: 2, MemoryMiB: 4096, Image: "kubernetes",
	}}
	machine.Namespace, machine.Name = ns, "m"
	if err := admin.Create(t.Context(), machine); err != nil {
		t.Fatal(err)
	}
	before := machine.DeepCopy()
	machine.Status.PowerState = infrav1.PowerStateOff
	machine.Status.Addresses = clusterv1.MachineAddresses{{Type: clusterv1.MachineInternalIP, Address: "10.20.0.5"}}
	machine.SetConditions(readyFalse(infrav1.NoCapacityReason, "no host of rack-1 has room"))
	if err := admin.Status().Patch(t.Context(), machine, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
	out := get(t, "em", "m", "--namespace", ns)
	for _, part := range []string{"False", "NoCapacity", "Off", "10.20.0.5", "rack-1", "host-a"} {
		if !strings.Contains(out, part) {
			t.Errorf("kubectl get does not show %q:\n%s", part, out)
		}
	}
	if out := get(t, "cluster-api", "--namespace", ns, "--output", "wide"); !strings.Contains(out, "no host of rack-1 has room") {
		t.Errorf("kubectl get cluster-api --output wide does not show the message:\n%s", out)
	}
}
