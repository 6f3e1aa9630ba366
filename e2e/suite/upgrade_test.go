package suite

import (
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "sigs.k8s.io/cluster-api/util/yaml"
)

const twoKinds = `
kind: KubeadmControlPlane
apiVersion: controlplane.cluster.x-k8s.io/v1beta2
metadata: {name: c-control-plane}
spec: {version: v1.36.3, machineTemplate: {spec: {infrastructureRef: {name: c-control-plane}}}}
---
kind: ElementoMachineTemplate
apiVersion: infrastructure.cluster.x-k8s.io/v1beta1
metadata: {name: c-control-plane}
---
kind: MachineDeployment
apiVersion: cluster.x-k8s.io/v1beta2
metadata: {name: c-md-0}
spec: {template: {spec: {version: v1.36.3, infrastructureRef: {name: c-md-0}}}}
---
kind: ElementoMachineTemplate
apiVersion: infrastructure.cluster.x-k8s.io/v1beta1
metadata: {name: c-md-0}
`

func TestAnotherVersionHasATemplateOfItsOwn(t *testing.T) {
	t.Parallel()
	manifest, err := utilyaml.ToUnstructured([]byte(twoKinds))
	if err != nil {
		t.Fatal(err)
	}
	for kind, path := range map[string][]string{
		"KubeadmControlPlane": {"spec", "machineTemplate", "spec", "infrastructureRef", "name"},
		"MachineDeployment":   {"spec", "template", "spec", "infrastructureRef", "name"},
	} {
		for _, other := range []bool{true, false} {
			objects, err := versioned(manifest, kind, "v1.36.3", other)
			if err != nil {
				t.Fatal(err)
			}
			if len(objects) != 2 || objects[0].GetKind() != "ElementoMachineTemplate" || objects[1].GetKind() != kind {
				t.Fatalf("%s: what is applied is %v; want the template and who names it, in this order", kind, objects)
			}
			want := objects[1].GetName()
			if other {
				want += "-v1-36-3"
			}
			named, _, err := unstructured.NestedString(objects[1].Object, path...)
			if err != nil || named != want || objects[0].GetName() != want {
				t.Errorf("%s names template %q, and the template is %q; want %q: %v", kind, named, objects[0].GetName(), want, err)
			}
		}
	}
	if again, err := versioned(manifest, "MachineDeployment", "v1.36.3", false); err != nil || again[0].GetName() != "c-md-0" {
		t.Errorf("the manifest itself was changed: %v, %v", again, err)
	}
	if _, err := versioned(manifest[:1], "KubeadmControlPlane", "v1.36.3", true); err == nil {
		t.Error("a manifest without the template is no upgrade, and nobody says so")
	}
}
