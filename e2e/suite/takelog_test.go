package suite

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
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
}

func TestARunBeginsWithWhatIsToOutlastTheOneBefore(t *testing.T) {
	t.Parallel()
	site := &Site{Dir: t.TempDir()}
	log, err := takeLog(site.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	stays := []string{filepath.Join("chunks", "sig-node", "result.json"), "soak.json", filepath.Join("part-1", "report.json")}
	goes := []string{"report.json", filepath.Join("history", "vms.jsonl"), filepath.Join(Artifacts, "atomos.json")}
	for _, name := range slices.Concat(stays, goes) {
		file := filepath.Join(site.Dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, nil, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if log, err = takeLog(site.Dir); err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	for _, name := range stays {
		if _, err := os.Stat(filepath.Join(site.Dir, name)); err != nil {
			t.Errorf("%s is gone: %v", name, err)
		}
	}
	for _, name := range goes {
		if _, err := os.Stat(filepath.Join(site.Dir, name)); err == nil {
			t.Errorf("%s of the run before is still there", name)
		}
	}
	if _, err := os.Stat(site.Artifact("atomos.json")); err == nil {
		t.Error("an artifact of the run before is taken for one of this")
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
