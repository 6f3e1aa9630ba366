package main

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestTheAuditLogOfOneUserIsKept(t *testing.T) {
	t.Parallel()
	log := filepath.Join(t.TempDir(), "audit.log")
	const ours = `{"verb":"patch","user":{"username":"clastix"},"stage":"ResponseComplete","responseStatus":{"code":200},"requestReceivedTimestamp":"2026-01-01T00:00:00.000100Z","stageTimestamp":"2026-01-01T00:00:00.000350Z"}` + "\n"
	if err := os.WriteFile(log, []byte(`{"verb":"get","user":{"username":"other"}}`+"\n"+ours+`{"verb":"pat`), 0o600); err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(t.TempDir(), "kept.jsonl")
	requests, err := auditOf("clastix", log, to)
	if err != nil {
		t.Fatal(err)
	}
	if len(requests) != 1 || !requests[0].changes() || requests[0].ResponseStatus.Code != 200 {
		t.Fatalf("the requests are %+v", requests)
	}
	if took := requests[0].StageTimestamp.Sub(requests[0].RequestReceivedTimestamp); took.Microseconds() != 250 {
		t.Errorf("it took %s, want 250 µs", took)
	}
	kept, err := os.ReadFile(to)
	if err != nil {
		t.Fatal(err)
	}
	if string(kept) != ours {
		t.Errorf("kept is %s", kept)
	}
}

func TestASecretInALogIsFound(t *testing.T) {
	t.Parallel()
	const line = "MHcCAQEEIAbcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	secrets := map[string]bool{}
	remember(secrets, "token: abcdef.0123456789abcdef\nshort\n  "+line+"\n")
	log := filepath.Join(t.TempDir(), "a.log")
	if err := os.WriteFile(log, []byte("quiet\nsaid abcdef.0123456789abcdef\nshort\n\""+line+"\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	found, lines, err := leaks(secrets, log)
	if err != nil || lines != 4 || !slices.Equal(found, []string{"a.log:2", "a.log:4"}) {
		t.Errorf("found %v in %d lines, %v", found, lines, err)
	}
}

func TestEveryChangeOfAnObjectIsFound(t *testing.T) {
	t.Parallel()
	before := map[string]string{"same": "1", "changed": "1", "gone": "1"}
	after := map[string]string{"same": "1", "changed": "2", "new": "1"}
	if found := changes(before, after); len(found) != 3 {
		t.Errorf("the changes are %q, want one each of changed, gone and new", found)
	}
	if found := changes(before, before); len(found) != 0 {
		t.Errorf("between the same objects there are changes: %q", found)
	}
}
