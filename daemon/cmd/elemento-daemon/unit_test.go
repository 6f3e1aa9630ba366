package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const unitFile = "elemento-daemon.service"

// verify asks systemd what it thinks of a unit, and returns what it complains of.
func verify(t *testing.T, unit string, command ...string) string {
	t.Helper()
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("there is no systemd-analyze on this machine; Debian's package systemd has it")
	}
	path := filepath.Join(t.TempDir(), unitFile)
	if err := os.WriteFile(path, []byte(unit), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), analyze, append(command, path)...).CombinedOutput()
	if err != nil {
		return string(out) + err.Error()
	}
	return strings.TrimSpace(string(out))
}

// ours are the lines about our unit: systemd also tells of what else the machine has.
func ours(complaints string) string {
	var lines []string
	for line := range strings.Lines(complaints) {
		if strings.Contains(line, unitFile) {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "")
}

// shipped is the unit that we ship, with a program that is there.
func shipped(t *testing.T) string {
	t.Helper()
	unit, err := os.ReadFile(filepath.Join("..", "..", unitFile))
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	const installed = "/usr/local/bin/elemento-daemon"
	if !strings.Contains(string(unit), "ExecStart="+installed+" ") {
		t.Fatalf("the unit does not start %s", installed)
	}
	return strings.ReplaceAll(string(unit), installed, program)
}

func TestTheSystemdUnitIsSound(t *testing.T) {
	t.Parallel()
	unit := shipped(t)
	if complaint := ours(verify(t, unit, "verify", "--man=no")); complaint != "" {
		t.Errorf("systemd says: %s", complaint)
	}
	if complaint := ours(verify(t, unit+"\n[Service]\nNoNewPrivilege=yes\n", "verify", "--man=no")); complaint == "" {
		t.Error("a unit with a mistake passes too, so that the one without has shown nothing")
	}
}

// systemd's own score of what a service could do, from 0 to 10, of which up to 2 is a
// service that can do little but what it is for; in tenths as systemd wants them.
func TestTheSystemdUnitMayDoLittle(t *testing.T) {
	t.Parallel()
	if complaint := verify(t, shipped(t), "security", "--offline=true", "--no-pager", "--threshold=20"); !strings.Contains(complaint, "Overall exposure level") || strings.Contains(complaint, "exit status") {
		t.Errorf("systemd says: %s", complaint)
	}
}
