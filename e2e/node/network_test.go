package node

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"elemento.cloud/cluster-api-provider-elemento/e2e/binaries"
)

func TestThePodNetworkIsOfTheVersionThatTheImageHolds(t *testing.T) {
	t.Parallel()
	pinned, err := binaries.Version(t.Context(), binaries.Flannel)
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile(`elemento\.cloud/flannel:(\S+)`).FindAllStringSubmatch(Network, -1)
	if len(named) == 0 {
		t.Fatal("cni.yaml names no image of flannel")
	}
	for _, image := range named {
		if image[1] != pinned {
			t.Errorf("cni.yaml runs %s, and e2e/binaries/flannel pins %s", image[0], pinned)
		}
	}
}

func TestThePodNetworkHasTheAddressesOfTheTemplates(t *testing.T) {
	t.Parallel()
	template, err := os.ReadFile("../../provider/templates/cluster-template.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for variable, said := range map[string]string{"POD_CIDR": `"Network": "%"`, "SERVICE_CIDR": `--destination, %,`} {
		found := regexp.MustCompile(`\$\{` + variable + `:=([^}]+)\}`).FindSubmatch(template)
		if found == nil {
			t.Fatalf("the template has no default of %s", variable)
		}
		if said := strings.ReplaceAll(said, "%", string(found[1])); !strings.Contains(Network, said) {
			t.Errorf("cni.yaml does not say %s, the template's default of %s", said, variable)
		}
	}
}
