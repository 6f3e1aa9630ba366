package world

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func TestVariablesAreExpandedAsClusterctlDoes(t *testing.T) {
	t.Parallel()
	values := map[string]string{"GIVEN": "value", "EMPTY": ""}
	for text, want := range map[string]string{
		"a ${GIVEN} b":             "a value b",
		"${GIVEN:=default}":        "value",
		"${OTHER:=default}":        "default",
		"${OTHER:-default}":        "default",
		"${OTHER=default}":         "default",
		"${OTHER:=}":               "",
		"[${EMPTY:=default}]":      "[]",
		"${GIVEN}${OTHER:=:8443}":  "value:8443",
		"a $GIVEN and ${1} remain": "a $GIVEN and ${1} remain",
	} {
		if got, err := expand(text, values); err != nil || got != want {
			t.Errorf("expand(%q) = %q, %v; want %q", text, got, err, want)
		}
	}
	_, err := expand("${ONE} ${GIVEN} ${TWO}", values)
	if err == nil || !strings.Contains(err.Error(), "ONE") || !strings.Contains(err.Error(), "TWO") {
		t.Errorf("two variables without a value: %v; want both named", err)
	}
}

const providerManifests = `
apiVersion: v1
kind: Namespace
metadata: {name: a-system}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.example.com}
spec:
  conversion:
    strategy: Webhook
    webhook:
      clientConfig: {service: {name: a-service, namespace: a-system, path: /convert}}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: a-webhook}
webhooks:
- name: one.example.com
  clientConfig: {service: {name: a-service, namespace: a-system, path: /validate}}
---
apiVersion: v1
kind: Service
metadata: {name: a-service, namespace: a-system}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: a-manager, namespace: a-system}
spec:
  template:
    spec:
      containers: [{name: manager, args: [--one]}]
`

func TestManifestsAreMadeFitForAProcess(t *testing.T) {
	t.Parallel()
	c, err := sortComponents(providerManifests)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.objects) != 1 || len(c.definitions) != 1 || len(c.webhooks) != 1 || c.deployment.Name != "a-manager" {
		t.Fatalf("sorted into %d objects, %d definitions, %d webhooks and deployment %q", len(c.objects), len(c.definitions), len(c.webhooks), c.deployment.Name)
	}
	if manager, err := c.manager(); err != nil || len(manager.Args) != 1 {
		t.Errorf("the manager's container is %v, %v", manager, err)
	}
	for _, object := range append(append(c.objects, c.definitions...), c.webhooks...) {
		if _, labeled := object.GetLabels()[clusterctlLabel]; !labeled {
			t.Errorf("%s %s lacks clusterctl's label", object.GetKind(), object.GetName())
		}
	}
	if err := c.callByURL("127.64.0.1:9443", []byte("the authority")); err != nil {
		t.Fatal(err)
	}
	hooks, _, err := unstructured.NestedSlice(c.webhooks[0].Object, "webhooks")
	if err != nil {
		t.Fatal(err)
	}
	validation, _, _ := unstructured.NestedMap(hooks[0].(map[string]any), "clientConfig")
	conversion, _, _ := unstructured.NestedMap(c.definitions[0].Object, "spec", "conversion", "webhook", "clientConfig")
	for path, config := range map[string]map[string]any{"/validate": validation, "/convert": conversion} {
		if config["url"] != "https://127.64.0.1:9443"+path || config["caBundle"] == nil || config["service"] != nil {
			t.Errorf("%s is called by %v", path, config)
		}
	}
}

func TestManifestsWithoutOneManagerAreRefused(t *testing.T) {
	t.Parallel()
	deployment := providerManifests[strings.LastIndex(providerManifests, "---"):]
	for what, text := range map[string]string{
		"no deployment":   strings.TrimSuffix(providerManifests, deployment),
		"two deployments": providerManifests + deployment,
	} {
		if _, err := sortComponents(text); err == nil {
			t.Errorf("%s: taken", what)
		}
	}
}
