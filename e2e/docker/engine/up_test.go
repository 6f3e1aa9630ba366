package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// machine makes a machine's PATH of nothing but an apt-get, which tells what it is to
// install and installs the programs of the packages that it knows, and of those programs
// that are there already.
func machine(t *testing.T, there []string, packages map[string]string) (asked string) {
	t.Helper()
	dir := t.TempDir()
	asked = filepath.Join(dir, "asked")
	script := "#!/bin/sh\ncase $1 in update) exit ;; esac\necho \"$@\" >>" + asked + "\nfor package; do case $package in\n"
	for name, programs := range packages {
		script += name + ") for program in " + programs + "; do echo >" + dir + "/$program; chmod 755 " + dir + "/$program; done ;;\n"
	}
	script += "esac; done\n"
	program := func(name, content string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	program("apt-get", script)
	chmod, err := filepath.EvalSymlinks("/bin/chmod")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(chmod, filepath.Join(dir, "chmod")); err != nil {
		t.Fatal(err)
	}
	for _, name := range there {
		program(name, "")
	}
	t.Setenv("PATH", dir)
	return asked
}

func TestWhatIsMissingOfDockerIsInstalled(t *testing.T) {
	older := map[string]string{"docker.io": "dockerd docker"}
	newer := map[string]string{"docker.io": "dockerd", "docker-cli": "docker"}
	for name, c := range map[string]struct {
		there    []string
		packages map[string]string
		want     string
	}{
		"all is there":     {[]string{"dockerd", "docker"}, older, ""},
		"nothing is there": {nil, older, "docker.io iptables"},
		"nothing is there, and the client is apart": {nil, newer, "docker.io iptables; docker-cli"},
		"there is an engine without a client":       {[]string{"dockerd"}, newer, "docker-cli"},
	} {
		t.Run(name, func(t *testing.T) {
			asked := machine(t, c.there, c.packages)
			if err := install(t.Context()); err != nil {
				t.Fatal(err)
			}
			content, _ := os.ReadFile(asked) // which is not there where nobody was asked
			var got []string
			for line := range strings.Lines(string(content)) {
				got = append(got, strings.TrimSpace(strings.TrimPrefix(line, "install -q -y --no-install-recommends")))
			}
			if got := strings.Join(got, "; "); got != c.want {
				t.Errorf("apt-get is asked for %q, not %q", got, c.want)
			}
		})
	}
}
