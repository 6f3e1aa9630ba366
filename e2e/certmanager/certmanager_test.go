package certmanager

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"elemento.cloud/cluster-api-provider-elemento/e2e/binaries"
)

func TestTheChartHasItsVersionAndItsKinds(t *testing.T) {
	t.Parallel()
	source, err := binaries.Source(t.Context(), binaries.CertManagerController)
	if err != nil {
		t.Fatal(err)
	}
	version, err := binaries.Version(t.Context(), binaries.CertManagerController)
	if err != nil {
		t.Fatal(err)
	}
	chart := filepath.Join(t.TempDir(), "chart")
	if err := writeChart(filepath.Join(source, "deploy"), chart, version); err != nil {
		t.Fatal(err)
	}
	for file, has := range map[string]string{
		"Chart.yaml":                "appVersion: " + version,
		"values.yaml":               "installCRDs: false",
		"templates/deployment.yaml": "kind: Deployment",
		"templates/_helpers.tpl":    `define "cert-manager.name"`,
		"templates/crds.yaml":       "name: certificates.cert-manager.io",
	} {
		content, err := os.ReadFile(filepath.Join(chart, file))
		if err != nil || !strings.Contains(string(content), has) {
			t.Errorf("%s does not say %q (%v)", file, has, err)
		}
	}
}

func TestDocumentsAreJoinedOnce(t *testing.T) {
	t.Parallel()
	if got := string(documents([]byte("---\na: 1\n"), []byte("b: 2"))); got != "a: 1\n---\nb: 2\n" {
		t.Errorf("joined they are\n%s", got)
	}
}
