package node

import (
	"regexp"
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
