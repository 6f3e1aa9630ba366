package config_test

import (
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// apply applies objects as Clastix with server-side apply and strict validation,
// and returns their resource versions.
func apply(t *testing.T, objects []unstructured.Unstructured) map[string]string {
	t.Helper()
	clastix := client.WithFieldValidation(as(t, "someone", "clastix"), "Strict")
	versions := map[string]string{}
	for _, object := range objects {
		applied := object.DeepCopy()
		name := object.GetKind() + " " + object.GetName()
		if err := clastix.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(applied), client.FieldOwner("gitops")); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		versions[name] = applied.GetResourceVersion()
	}
	return versions
}

func TestWhatClusterctlGeneratesIsAcceptedFromClastixAndStaysTheSame(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		flavor string
		kinds  map[string]int
	}{
		{"", map[string]int{
			"Cluster": 1, "ElementoCluster": 1, "KubeadmControlPlane": 1, "MachineDeployment": 1,
			"KubeadmConfigTemplate": 1, "ElementoMachineTemplate": 2, "MachineHealthCheck": 2,
		}},
		{"topology", map[string]int{
			"Cluster": 1, "ClusterClass": 1, "ElementoClusterTemplate": 1, "KubeadmControlPlaneTemplate": 1,
			"KubeadmConfigTemplate": 1, "ElementoMachineTemplate": 2,
		}},
	} {
		t.Run("flavor "+test.flavor, func(t *testing.T) {
			t.Parallel()
			ns := tenant(t)
			objects := generate(t, ns, test.flavor)
			count := map[string]int{}
			for _, object := range objects {
				count[object.GetKind()]++
			}
			if !maps.Equal(count, test.kinds) {
				t.Errorf("there are %v, want %v", count, test.kinds)
			}
			first := apply(t, objects)
			for name, version := range apply(t, objects) {
				if first[name] != version {
					t.Errorf("applying %s again changes it", name)
				}
			}
		})
	}
}

func TestTheVariablesOfTheTopologyTemplateArrive(t *testing.T) {
	t.Parallel()
	objects := generate(t, "default", "topology",
		"ELEMENTO_IDENTITY_SECRET=my-elemento-identity", `ELEMENTO_DOMAINS=["rack-1"]`, "ELEMENTO_NETWORK_CIDR=10.9.0.0/24", "ELEMENTO_NETWORK_MODE=NAT",
		"ELEMENTO_CONTROL_PLANE_SLOTS=3", "ELEMENTO_CONTROL_PLANE_MEMORY_MIB=3000", "ELEMENTO_CONTROL_PLANE_DISK_GIB=30",
		"ELEMENTO_WORKER_SLOTS=5", "ELEMENTO_WORKER_MEMORY_MIB=5000", "ELEMENTO_WORKER_DISK_GIB=50", "ELEMENTO_OVERPROVISION=7", "ELEMENTO_ARCHITECTURE=ARM_8",
		"ELEMENTO_IMAGE_PREFIX=ubuntu-")
	got := map[string]any{}
	for _, object := range objects {
		if object.GetKind() != "Cluster" {
			continue
		}
		variables, _, err := unstructured.NestedSlice(object.Object, "spec", "topology", "variables")
		if err != nil {
			t.Fatal(err)
		}
		for _, variable := range variables {
			variable := variable.(map[string]any)
			got[variable["name"].(string)] = variable["value"]
		}
	}
	want := map[string]any{
		"identity": "my-elemento-identity", "domains": []any{"rack-1"}, "imagePrefix": "ubuntu-", "architecture": "ARM_8",
		"network":             map[string]any{"cidr": "10.9.0.0/24", "mode": "NAT"},
		"controlPlaneMachine": map[string]any{"slots": int64(3), "memoryMiB": int64(3000), "diskGiB": int64(30), "overprovision": int64(7)},
		"workerMachine":       map[string]any{"slots": int64(5), "memoryMiB": int64(5000), "diskGiB": int64(50), "overprovision": int64(7)},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the variables are %v, want %v", got, want)
	}
}

func TestTheVariablesOfATemplateArrive(t *testing.T) {
	t.Parallel()
	objects := generate(t, "default", "",
		"ELEMENTO_IDENTITY_SECRET=my-elemento-identity", `ELEMENTO_DOMAINS=["rack-1"]`, "ELEMENTO_NETWORK_CIDR=10.9.0.0/24", "ELEMENTO_NETWORK_MODE=NAT",
		"ELEMENTO_CONTROL_PLANE_SLOTS=3", "ELEMENTO_CONTROL_PLANE_MEMORY_MIB=3000", "ELEMENTO_CONTROL_PLANE_DISK_GIB=30",
		"ELEMENTO_WORKER_SLOTS=5", "ELEMENTO_WORKER_MEMORY_MIB=5000", "ELEMENTO_WORKER_DISK_GIB=50", "ELEMENTO_OVERPROVISION=7", "ELEMENTO_ARCHITECTURE=ARM_8")
	want := map[string]map[string]any{
		"ElementoCluster demo": {
			"identityRef.name": "my-elemento-identity", "domains": []any{"rack-1"}, "network.managed.cidr": "10.9.0.0/24", "network.managed.mode": "NAT",
		},
		"ElementoMachineTemplate demo-control-plane": {
			"template.spec.slots": int64(3), "template.spec.memoryMiB": int64(3000), "template.spec.bootVolume.sizeGiB": int64(30),
			"template.spec.overprovision": int64(7), "template.spec.architecture": "ARM_8", "template.spec.image": "kubernetes-v1.36.3",
		},
		"ElementoMachineTemplate demo-md-0": {
			"template.spec.slots": int64(5), "template.spec.memoryMiB": int64(5000), "template.spec.bootVolume.sizeGiB": int64(50),
			"template.spec.overprovision": int64(7), "template.spec.architecture": "ARM_8", "template.spec.image": "kubernetes-v1.36.3",
		},
	}
	for _, object := range objects {
		name := object.GetKind() + " " + object.GetName()
		for path, value := range want[name] {
			got, _, err := unstructured.NestedFieldNoCopy(object.Object, append([]string{"spec"}, strings.Split(path, ".")...)...)
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if !reflect.DeepEqual(got, value) {
				t.Errorf("%s: spec.%s is %v, want %v", name, path, got, value)
			}
		}
		delete(want, name)
	}
	for name := range want {
		t.Errorf("there is no %s", name)
	}
}

func TestAClusterClassHasNoVariablesOfClusterctl(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(release, "clusterclass-elemento.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "${") {
		t.Error("clusterctl takes a ClusterClass as it is, and this one has variables")
	}
}
