package main

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestFailedLoopsAreFoundInTheLogOfAllManagers(t *testing.T) {
	t.Parallel()
	log := filepath.Join(t.TempDir(), "manager.log")
	if err := os.WriteFile(log, []byte(`{"msg":"Starting","version":"(devel)"}
{"msg":"call","method":"EnsureVM"}
I1121 not JSON
{"msg":"Reconciler error","controller":"elementomachine","err":"no"}
{"msg":"Starting","version":"v0.2.0"}
`), 0o600); err != nil {
		t.Fatal(err)
	}
	versions, failures, err := loops(log)
	if err != nil || !slices.Equal(versions, []string{"(devel)", "v0.2.0"}) || len(failures) != 1 {
		t.Errorf("versions %v, failures %v, %v", versions, failures, err)
	}
}
