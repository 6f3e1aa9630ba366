package main

import (
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

const manifest = `
- apiVersion: cluster.x-k8s.io/v1beta2
  kind: MachineDeployment
  metadata: {name: md}
  spec:
    replicas: 3
    template:
      spec:
        infrastructureRef: {apiGroup: infrastructure.cluster.x-k8s.io, kind: ElementoMachineTemplate, name: md}
- apiVersion: infrastructure.cluster.x-k8s.io/v1beta1
  kind: ElementoMachineTemplate
  metadata: {name: md}
  spec: {template: {spec: {slots: 2}}}
- apiVersion: infrastructure.cluster.x-k8s.io/v1beta1
  kind: ElementoCluster
  metadata: {name: c}
  spec: {endpointMode: Forward}
`

func objects(t *testing.T, text string) []unstructured.Unstructured {
	t.Helper()
	var contents []map[string]any
	if err := yaml.Unmarshal([]byte(text), &contents); err != nil {
		t.Fatal(err)
	}
	var all []unstructured.Unstructured
	for _, c := range contents {
		all = append(all, unstructured.Unstructured{Object: c})
	}
	return all
}

func TestThePeersManifestIsOursWithItsInfrastructure(t *testing.T) {
	t.Parallel()
	all := objects(t, manifest)
	if err := forPeer(all); err != nil {
		t.Fatal(err)
	}
	deployment, template, cluster := all[0], all[1], all[2]
	if kind, _, _ := unstructured.NestedString(deployment.Object, "spec", "template", "spec", "infrastructureRef", "kind"); kind != "DevMachineTemplate" {
		t.Errorf("the MachineDeployment makes Machines of a %s", kind)
	}
	if deployment.GetAPIVersion() != "cluster.x-k8s.io/v1beta2" {
		t.Errorf("the MachineDeployment is of %s", deployment.GetAPIVersion())
	}
	for _, part := range []string{"vm", "node", "apiServer", "etcd"} {
		path := []string{"spec", "template", "spec", "backend", "inMemory", part, "provisioning", "startupDuration"}
		if takes, _, _ := unstructured.NestedString(template.Object, path...); takes != "0s" {
			t.Errorf("%s takes %q to start", part, takes)
		}
	}
	if _, left, _ := unstructured.NestedFieldNoCopy(template.Object, "spec", "template", "spec", "slots"); left {
		t.Error("the peer's template has a field of ours")
	}
	for _, o := range []unstructured.Unstructured{template, cluster} {
		if o.GetAPIVersion() != "infrastructure.cluster.x-k8s.io/v1beta2" {
			t.Errorf("%s is of %s", o.GetKind(), o.GetAPIVersion())
		}
	}
	if len(cluster.GetAnnotations()) == 0 {
		t.Error("the cluster's infrastructure has no annotations, into which the peer writes")
	}
	if cluster.GetKind() != "DevCluster" {
		t.Errorf("the cluster's infrastructure is a %s", cluster.GetKind())
	}
}

func TestWhatThePeerHasNothingLikeIsRefused(t *testing.T) {
	t.Parallel()
	if err := forPeer(objects(t, `[{apiVersion: infrastructure.cluster.x-k8s.io/v1beta1, kind: ElementoCleanup, metadata: {name: c}}]`)); err == nil {
		t.Error("an ElementoCleanup is for the peer")
	}
}
