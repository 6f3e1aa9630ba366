package binaries

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestInstalledProgramsOfTheRightVersionAreTakenBeforeBuiltOnes(t *testing.T) {
	assets := t.TempDir()
	t.Setenv("KUBEBUILDER_ASSETS", assets)
	pinned, err := newBuild(t.Context(), Etcd)
	if err != nil {
		t.Fatal(err)
	}
	install := func(name, says string) string {
		path := filepath.Join(assets, name)
		if err := os.WriteFile(path, []byte("#!/bin/sh\necho "+says+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	installed := install(Etcd, "etcd Version: "+strings.TrimPrefix(pinned.version, "v"))
	if got, err := Path(t.Context(), Etcd, nil); err != nil || got != installed {
		t.Errorf("etcd is %q, %v; want the installed %s", got, err, installed)
	}
	install(Etcd, "etcd Version: 3.3.3")
	var said bytes.Buffer
	if got, err := Path(t.Context(), Etcd, &said); err != nil || got == installed || !strings.Contains(said.String(), installed) {
		t.Errorf("of an installed etcd of another version: %q, %v; %q is said", got, err, said.String())
	}
	if got, err := Path(t.Context(), Kubectl, nil); err != nil || filepath.Dir(got) == assets {
		t.Errorf("kubectl, which is not installed, is %q, %v", got, err)
	}
	if _, err := Path(t.Context(), "no-such-program", nil); err == nil || !strings.Contains(err.Error(), KubeAPIServer) {
		t.Errorf("an unknown program: %v; want the known ones named", err)
	}
}
