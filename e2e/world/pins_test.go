package world

import (
	"slices"
	"testing"

	"elemento.cloud/cluster-api-provider-elemento/e2e/binaries"
)

func TestTheFakeHasTheVersionsOfKubernetesForWhichThereAreNodes(t *testing.T) {
	t.Parallel()
	pinned, err := binaries.KubernetesVersions(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if had := []string{KubernetesVersion, OlderVersion}; !slices.Equal(had, pinned) {
		t.Errorf("the fake's images are of %v, and e2e/binaries pins %v for those of nodes", had, pinned)
	}
}
