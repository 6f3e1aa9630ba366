package binaries_test

import (
	"debug/buildinfo"
	"path/filepath"
	"strings"
	"testing"

	"elemento.cloud/cluster-api-provider-elemento/e2e/binaries"
)

func TestOurProgramsAreBuiltTheWayThatIsSaid(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		way  binaries.Way
		want map[string]string
	}{
		"plainly":        {binaries.Way{}, map[string]string{"CGO_ENABLED": "0", "-trimpath": "", "-ldflags": ""}},
		"for an image":   {binaries.Way{Packed: true}, map[string]string{"CGO_ENABLED": "0", "-trimpath": "true"}},
		"by other flags": {binaries.Way{Flags: []string{"-tags=a_tag"}}, map[string]string{"-tags": "a_tag"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			target := filepath.Join(t.TempDir(), "runtime")
			if err := binaries.Own(t.Context(), "e2e/docker/runtime", target, c.way); err != nil {
				t.Fatal(err)
			}
			info, err := buildinfo.ReadFile(target)
			if err != nil {
				t.Fatal(err)
			}
			settings := map[string]string{}
			for _, s := range info.Settings {
				settings[s.Key] = s.Value
			}
			for key, want := range c.want {
				if settings[key] != want {
					t.Errorf("%s is %q, not %q", key, settings[key], want)
				}
			}
		})
	}
}

func TestABuildThatFailsSaysWhatAndWhy(t *testing.T) {
	t.Parallel()
	err := binaries.Own(t.Context(), "e2e/no/such", filepath.Join(t.TempDir(), "x"), binaries.Way{})
	if err == nil || !strings.Contains(err.Error(), "building ./e2e/no/such") || !strings.Contains(err.Error(), "directory not found") {
		t.Errorf("it says %v", err)
	}
}
