package v1beta1_test

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"

	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
)

// mutableFields of an ElementoMachine may change while there is a VM, and why.
var mutableFields = map[string]string{
	"host": "the provider writes another when the VM is proven absent",
}

// The rules name every field by hand, so that one that is new is easily left out.
func TestEveryFieldOfAMachineIsEitherFixedByARuleOrMutableOnPurpose(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("..", "..", "config", "crd", "bases", "infrastructure.cluster.x-k8s.io_elementomachines.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	crd := &apiextensionsv1.CustomResourceDefinition{}
	if err := yaml.Unmarshal(text, crd); err != nil {
		t.Fatal(err)
	}
	schema := crd.Spec.Versions[0].Schema.OpenAPIV3Schema
	spec := schema.Properties["spec"]

	var fields []string
	for field := range reflect.TypeFor[infrav1.ElementoMachineSpec]().Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		fields = append(fields, name)
		// As a rule of the kind, which also names it for people, or as one of the
		// spec, which points at it. Where it may be absent, its coming and going
		// is a change too.
		always := slices.Contains(spec.Required, name) || spec.Properties[name].Default != nil
		fixed := slices.ContainsFunc(schema.XValidations, func(r apiextensionsv1.ValidationRule) bool {
			return compares(r.Rule, "spec."+name) && (always || strings.Contains(r.Rule, "has(self.spec."+name+") == has(oldSelf.spec."+name+")")) &&
				listed(r.Message, name)
		}) || slices.ContainsFunc(spec.XValidations, func(r apiextensionsv1.ValidationRule) bool {
			return compares(r.Rule, name) && strings.Contains(r.Rule, "(has(self."+name+")") && r.FieldPath == "."+name
		})
		if why, mutable := mutableFields[name]; fixed == mutable {
			t.Errorf("spec.%s: fixed by a rule is %v, mutable on purpose is %v (%s): want exactly one", name, fixed, mutable, why)
		}
	}
	for name := range mutableFields {
		if !slices.Contains(fields, name) {
			t.Errorf("there is no field %s", name)
		}
	}
}

// compares tells whether a rule asks that a field is as it was.
func compares(rule, field string) bool {
	comparison := "self." + field + " == oldSelf." + field
	for _, after := range []string{" ", ")"} {
		if strings.Contains(rule, comparison+after) {
			return true
		}
	}
	return strings.HasSuffix(rule, comparison)
}

// listed tells whether a message names a field among those in parentheses.
func listed(message, field string) bool {
	_, list, _ := strings.Cut(message, "(")
	list, _, _ = strings.Cut(list, ")")
	return slices.Contains(strings.Split(list, ", "), field)
}
