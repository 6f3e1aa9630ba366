package main

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// standIn is a program in sonobuoy's place whose run becomes of a status; can says what of
// it can be fetched. It writes down what it is asked for.
func standIn(t *testing.T, status string, can ...string) (s sonobuoy, asked func() []string) {
	t.Helper()
	dir := t.TempDir()
	script := `#!/bin/sh
echo "$1" >> ` + dir + `/asked
case " ` + strings.Join(can, " ") + ` " in *" $1 "*) ;; *) exit 1 ;; esac
case "$1" in
status) echo '{"status": "` + status + `", "tar-info": {"name": "a.tar.gz"}}' ;;
logs) echo the aggregator found no node ;;
retrieve) eval archive=\${$#}/a.tar.gz; touch "$archive"; echo "$archive" ;;
esac
`
	s = sonobuoy{program: filepath.Join(dir, "sonobuoy"), dir: t.TempDir(), said: io.Discard}
	// A process that another test starts meanwhile must not have the file open: it could
	// not be run.
	syscall.ForkLock.RLock()
	err := os.WriteFile(s.program, []byte(script), 0o755)
	syscall.ForkLock.RUnlock()
	if err != nil {
		t.Fatal(err)
	}
	return s, func() []string {
		t.Helper()
		content, err := os.ReadFile(filepath.Join(dir, "asked"))
		if err != nil {
			t.Fatal(err)
		}
		return strings.Fields(string(content))
	}
}

func TestWhatAFailedRunHasLeftIsFetchedBeforeItIsRemoved(t *testing.T) {
	t.Parallel()
	s, asked := standIn(t, "failed", "run", "status", "logs", "retrieve", "delete")
	archive, err := s.run(t.Context(), all, "", 1, time.Hour, func(string) {})
	if err == nil || !strings.Contains(err.Error(), logFile) {
		t.Errorf("a run that has failed is told of by %v", err)
	}
	if got := asked(); !slices.Equal(got, []string{"delete", "run", "status", "logs", "retrieve", "delete"}) {
		t.Errorf("sonobuoy was asked for %q", got)
	}
	if said, err := os.ReadFile(filepath.Join(s.dir, logFile)); string(said) != "the aggregator found no node\n" {
		t.Errorf("its log is %q (%v)", said, err)
	}
	if archive != filepath.Join(s.dir, "a.tar.gz") {
		t.Errorf("its archive is %q", archive)
	}
}

func TestARunThatHasLeftNothingIsRemovedToo(t *testing.T) {
	t.Parallel()
	s, asked := standIn(t, "running", "run", "status", "delete")
	archive, err := s.run(t.Context(), all, "", 1, -patience, func(string) {}) // its time is over
	if err == nil || !strings.Contains(err.Error(), "it has not ended") || archive != "" {
		t.Errorf("a run that does not end comes to %q, %v", archive, err)
	}
	if got := asked(); got[len(got)-1] != "delete" {
		t.Errorf("sonobuoy was asked for %q", got)
	}
}

func TestARunThatHasEndedLeavesItsArchive(t *testing.T) {
	t.Parallel()
	s, asked := standIn(t, "complete", "run", "status", "retrieve", "delete")
	if archive, err := s.run(t.Context(), all, "", 1, time.Hour, func(string) {}); err != nil || archive != filepath.Join(s.dir, "a.tar.gz") {
		t.Errorf("it leaves %q, %v", archive, err)
	}
	if got := asked(); slices.Contains(got, "logs") {
		t.Errorf("sonobuoy was asked for %q", got)
	}
}
