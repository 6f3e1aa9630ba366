package world

import (
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func TestWhatCallsServicesTrustsNobodyUntilAllItsCAsAreThere(t *testing.T) {
	t.Parallel()
	service := func(with map[string]any) map[string]any {
		with["service"] = map[string]any{"name": "webhook-service"}
		return with
	}
	webhooks := func(configs ...map[string]any) *unstructured.Unstructured {
		hooks := []any{}
		for _, c := range configs {
			hooks = append(hooks, map[string]any{"clientConfig": c})
		}
		return &unstructured.Unstructured{Object: map[string]any{"kind": "ValidatingWebhookConfiguration", "webhooks": hooks}}
	}
	definition := func(config map[string]any) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{"kind": "CustomResourceDefinition", "spec": map[string]any{
			"conversion": map[string]any{"webhook": map[string]any{"clientConfig": config}},
		}}}
	}
	for name, c := range map[string]struct {
		object *unstructured.Unstructured
		want   bool
	}{
		"one of two webhooks":            {webhooks(service(map[string]any{"caBundle": "Y2E="}), service(map[string]any{})), false},
		"both webhooks":                  {webhooks(service(map[string]any{"caBundle": "Y2E="}), service(map[string]any{"caBundle": "Y2E="})), true},
		"a definition without it":        {definition(service(map[string]any{})), false},
		"a definition with it":           {definition(service(map[string]any{"caBundle": "Y2E="})), true},
		"a definition that calls nobody": {&unstructured.Unstructured{Object: map[string]any{"kind": "CustomResourceDefinition", "spec": map[string]any{}}}, true},
	} {
		if got, err := trusts(c.object); err != nil || got != c.want {
			t.Errorf("%s: %v, %v; want %v", name, got, err, c.want)
		}
	}
}
