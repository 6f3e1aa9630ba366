package suite

import (
	"os"
	"path/filepath"
	"testing"
)

func TestTwoSuitesDoNotWriteToOneDirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	log, err := takeLog(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := takeLog(dir); err == nil {
		t.Error("a second suite takes the directory of one that runs")
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	report := filepath.Join(dir, "report.json")
	if err := os.WriteFile(report, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	again, err := takeLog(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if _, err := os.Stat(report); err == nil {
		t.Error("the report of the run before is still there")
	}
}

func TestADirectoryThatNoSuiteHasUsedIsLeftAlone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	theirs := filepath.Join(dir, "history")
	if err := os.Mkdir(theirs, 0o700); err != nil {
		t.Fatal(err)
	}
	log, err := takeLog(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	if _, err := os.Stat(theirs); err != nil {
		t.Errorf("what someone else has put there is gone: %v", err)
	}
}
