package config_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
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

// plain are the kinds of a cluster without a class, apart from its health checks.
func plain(healthChecks int) map[string]int {
	return map[string]int{
		"Cluster": 1, "ElementoCluster": 1, "KubeadmControlPlane": 1, "MachineDeployment": 1,
		"KubeadmConfigTemplate": 1, "ElementoMachineTemplate": 2, "MachineHealthCheck": healthChecks,
	}
}

// flavors are the cluster templates: what their objects are, and which variables
// must be given.
var flavors = map[string]struct {
	kinds    map[string]int
	required []string
}{
	"":                {plain(2), nil},
	"vip":             {plain(2), []string{"CONTROL_PLANE_ENDPOINT_HOST=10.20.0.254"}},
	"kcp-remediation": {plain(2), nil},
	"md-remediation":  {plain(1), nil},
	"topology": {map[string]int{
		"Cluster": 1, "ClusterClass": 1, "ElementoClusterTemplate": 1, "KubeadmControlPlaneTemplate": 1,
		"KubeadmConfigTemplate": 1, "ElementoMachineTemplate": 2,
	}, nil},
}

func TestEveryTemplateIsTested(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join(release, "cluster-template*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, file := range files {
		name := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(file), "cluster-template"), ".yaml")
		found = append(found, strings.TrimPrefix(name, "-"))
	}
	slices.Sort(found)
	if tested := slices.Sorted(maps.Keys(flavors)); !slices.Equal(found, tested) {
		t.Errorf("the flavors are %q, and %q are tested", found, tested)
	}
}

func TestWhatClusterctlGeneratesIsAcceptedFromClastixAndStaysTheSame(t *testing.T) {
	t.Parallel()
	for flavor, test := range flavors {
		t.Run("flavor "+flavor, func(t *testing.T) {
			t.Parallel()
			ns := tenant(t)
			objects := generate(t, ns, flavor, test.required...)
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
	for flavor, test := range flavors {
		if flavor != "topology" {
			t.Run("flavor "+flavor, func(t *testing.T) {
				t.Parallel()
				variablesArrive(t, flavor, test.required)
			})
		}
	}
}

func variablesArrive(t *testing.T, flavor string, required []string) {
	mode := "NAT"
	if flavor == "vip" { // which has one mode only
		mode = "Bridged"
	}
	objects := generate(t, "default", flavor, append(slices.Clone(required),
		"ELEMENTO_IDENTITY_SECRET=my-elemento-identity", `ELEMENTO_DOMAINS=["rack-1"]`, "ELEMENTO_NETWORK_CIDR=10.9.0.0/24", "ELEMENTO_NETWORK_MODE=NAT",
		"ELEMENTO_CONTROL_PLANE_SLOTS=3", "ELEMENTO_CONTROL_PLANE_MEMORY_MIB=3000", "ELEMENTO_CONTROL_PLANE_DISK_GIB=30",
		"ELEMENTO_WORKER_SLOTS=5", "ELEMENTO_WORKER_MEMORY_MIB=5000", "ELEMENTO_WORKER_DISK_GIB=50", "ELEMENTO_OVERPROVISION=7", "ELEMENTO_ARCHITECTURE=ARM_8")...)
	want := map[string]map[string]any{
		"ElementoCluster demo": {
			"identityRef.name": "my-elemento-identity", "domains": []any{"rack-1"}, "network.managed.cidr": "10.9.0.0/24", "network.managed.mode": mode,
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

// A flavor is the default template with differences: they are these and no others.
func TestAFlavorDiffersFromTheDefaultWhereItMeansTo(t *testing.T) {
	t.Parallel()
	ordinary := leaves(generate(t, "default", ""))
	for flavor, prefixes := range map[string][]string{
		"vip": {
			"ElementoCluster demo.spec.endpointMode", "ElementoCluster demo.spec.controlPlaneEndpoint.",
			"KubeadmControlPlane demo-control-plane.spec.kubeadmConfigSpec.files.", "KubeadmControlPlane demo-control-plane.spec.kubeadmConfigSpec.preKubeadmCommands.",
			"KubeadmControlPlane demo-control-plane.spec.kubeadmConfigSpec.initConfiguration.localAPIEndpoint.",
			"KubeadmControlPlane demo-control-plane.spec.kubeadmConfigSpec.joinConfiguration.controlPlane.",
		},
		"kcp-remediation": {
			"KubeadmControlPlane demo-control-plane.spec.remediation.",
			"MachineHealthCheck demo-control-plane.spec.remediation.",
		},
		"md-remediation": {"MachineHealthCheck demo-control-plane.", "MachineHealthCheck demo-md-0.spec.checks.", "MachineHealthCheck demo-md-0.spec.remediation."},
	} {
		means := map[string]bool{}
		other := leaves(generate(t, "default", flavor, flavors[flavor].required...))
		for _, path := range slices.Sorted(maps.Keys(merged(ordinary, other))) {
			if reflect.DeepEqual(ordinary[path], other[path]) {
				continue
			}
			i := slices.IndexFunc(prefixes, func(prefix string) bool { return strings.HasPrefix(path, prefix) })
			if i < 0 {
				t.Errorf("flavor %s: %s is %v, and %v by default", flavor, path, other[path], ordinary[path])
				continue
			}
			means[prefixes[i]] = true
		}
		for _, prefix := range prefixes {
			if !means[prefix] {
				t.Errorf("flavor %s does not differ in %s", flavor, prefix)
			}
		}
	}
}

// leaves are the values of objects by kind, name and path.
func leaves(objects []unstructured.Unstructured) map[string]any {
	all := map[string]any{}
	var walk func(path string, value any)
	walk = func(path string, value any) {
		switch value := value.(type) {
		case map[string]any:
			for key, inner := range value {
				walk(path+"."+key, inner)
			}
		case []any:
			for i, inner := range value {
				walk(fmt.Sprintf("%s.%d", path, i), inner)
			}
		default:
			all[path] = value
		}
	}
	for _, object := range objects {
		walk(object.GetKind()+" "+object.GetName(), object.Object)
	}
	return all
}

func merged(a, b map[string]any) map[string]any {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return all
}

func TestTheVirtualIPIsTheEndpointAndThatOfKubeVIP(t *testing.T) {
	t.Parallel()
	all := leaves(generate(t, "default", "vip", "CONTROL_PLANE_ENDPOINT_HOST=10.9.0.254", "CONTROL_PLANE_ENDPOINT_PORT=8443", "KUBE_VIP_VERSION=v9.9.9"))
	const kcp = "KubeadmControlPlane demo-control-plane.spec.kubeadmConfigSpec."
	for path, want := range map[string]any{
		"ElementoCluster demo.spec.endpointMode":                         "VIP",
		"ElementoCluster demo.spec.controlPlaneEndpoint.host":            "10.9.0.254",
		"ElementoCluster demo.spec.controlPlaneEndpoint.port":            int64(8443),
		kcp + "initConfiguration.localAPIEndpoint.bindPort":              int64(8443),
		kcp + "joinConfiguration.controlPlane.localAPIEndpoint.bindPort": int64(8443),
		kcp + "files.0.path": "/etc/kubernetes/manifests/kube-vip.yaml",
	} {
		if all[path] != want {
			t.Errorf("%s is %v, want %v", path, all[path], want)
		}
	}
	text, _ := all[kcp+"files.0.content"].(string)
	var pod corev1.Pod
	if err := yaml.UnmarshalStrict([]byte(text), &pod); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{}
	for _, variable := range pod.Spec.Containers[0].Env {
		env[variable.Name] = variable.Value
	}
	if env["address"] != "10.9.0.254" || env["port"] != "8443" || pod.Spec.Containers[0].Image != "ghcr.io/kube-vip/kube-vip:v9.9.9" {
		t.Errorf("kube-vip's image is %s, its environment %v", pod.Spec.Containers[0].Image, env)
	}
	// The command that lets kube-vip begin a cluster finds what it changes.
	command, _ := all[kcp+"preKubeadmCommands.0"].(string)
	_, rest, _ := strings.Cut(command, "s#")
	if found, _, _ := strings.Cut(rest, "#"); found == "" || strings.Count(text, found) != 1 {
		t.Errorf("%q is %d times in the manifest", found, strings.Count(text, found))
	}
}

func TestHealthChecksHaveTheirMaxima(t *testing.T) {
	t.Parallel()
	for flavor, test := range map[string]struct {
		check string
		given string
	}{
		"kcp-remediation": {"MachineHealthCheck demo-control-plane", "ELEMENTO_MAX_UNHEALTHY_CONTROL_PLANES=34%"},
		"md-remediation":  {"MachineHealthCheck demo-md-0", "ELEMENTO_MAX_UNHEALTHY_WORKERS=34%"},
	} {
		const most = ".spec.remediation.triggerIf.unhealthyLessThanOrEqualTo"
		if number, ok := leaves(generate(t, "default", flavor))[test.check+most].(int64); !ok || number < 1 {
			t.Errorf("flavor %s has no maximum by default", flavor)
		}
		if got := leaves(generate(t, "default", flavor, test.given))[test.check+most]; got != "34%" {
			t.Errorf("flavor %s: the maximum is %v", flavor, got)
		}
	}
}

// Without an end a Machine would wait for ever whose guest hangs, or whose host fell
// silent before the node joined: nothing else looks at it.
func TestEveryHealthCheckGivesAMachineItsTimeToBecomeANode(t *testing.T) {
	t.Parallel()
	for flavor, given := range flavors {
		if flavor == "topology" { // has them in the ClusterClass
			continue
		}
		for timeout, variables := range map[int64][]string{1200: nil, 7: {"ELEMENTO_NODE_STARTUP_TIMEOUT=7"}} {
			checks := 0
			for path, value := range leaves(generate(t, "default", flavor, append(variables, given.required...)...)) {
				if strings.HasPrefix(path, "MachineHealthCheck ") && strings.HasSuffix(path, ".spec.clusterName") {
					checks++
				}
				if strings.HasSuffix(path, ".nodeStartupTimeoutSeconds") {
					checks--
					if value != timeout {
						t.Errorf("flavor %s: %s is %v, want %d", flavor, path, value, timeout)
					}
				}
			}
			if checks != 0 {
				t.Errorf("flavor %s: %d health checks have Cluster API's default", flavor, checks)
			}
		}
	}
	text, err := os.ReadFile(filepath.Join(release, "clusterclass-elemento.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if checks, ends := strings.Count(string(text), "healthCheck:"), strings.Count(string(text), "nodeStartupTimeoutSeconds: 1200"); checks != 2 || ends != checks {
		t.Errorf("%d of the %d health checks of the ClusterClass give an end", ends, checks)
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
