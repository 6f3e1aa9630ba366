package world

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestDockerNetworksOfWorldsDoNotMeet(t *testing.T) {
	t.Parallel()
	all := netip.MustParsePrefix("10.77.0.0/16")
	if got := (dockerNetwork{number: 0}).subnet(); got.Addr() != all.Addr() {
		t.Errorf("the first is %s", got)
	}
	if got := (dockerNetwork{number: networks - 1}).subnet().String(); got != "10.92.224.0/19" {
		t.Errorf("the last is %s", got)
	}
	for number := range networks - 1 {
		n, next := dockerNetwork{number: number}, dockerNetwork{number: number + 1}
		if n.subnet().Overlaps(next.subnet()) {
			t.Errorf("%s and %s overlap", n.subnet(), next.subnet())
		}
		parts := []netip.Prefix{n.dockers(), n.own(), n.guests()}
		for i, part := range parts {
			if part != part.Masked() || !n.subnet().Overlaps(part) {
				t.Errorf("%s is no part of %s", part, n.subnet())
			}
			for _, other := range parts[i+1:] {
				if part.Overlaps(other) {
					t.Errorf("of %s, %s and %s overlap", n.subnet(), part, other)
				}
			}
		}
		block := &Block{number: number, network: &n}
		for _, own := range []byte{1, 254} {
			if a := netip.MustParseAddr(block.Address(own)); !n.own().Contains(a) {
				t.Errorf("%s is not in %s", a, n.own())
			}
		}
	}
}

func TestWhatDockerDoesNotRemoveIsRemovedByTheNextTry(t *testing.T) {
	for name, rm := range map[string]string{
		"it waits without an end": "exec sleep 3600",
		"it refuses":              "exit 1",
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			client := `#!/bin/sh
cd ` + dir + `
echo "$*" >> asked
case "$1" in
ps) [ -e removed ] || echo stuck ;;
rm) [ -e tried ] || { touch tried; ` + rm + `; }; touch removed ;;
esac
`
			if err := os.WriteFile(filepath.Join(dir, "docker"), []byte(client), 0o755); err != nil {
				t.Fatal(err)
			}
			t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
			n := dockerNetwork{name: "elemento-7"}
			ended, cancel := context.WithCancel(t.Context())
			cancel() // what is taken down is so because something has ended
			if err := n.clearWithin(ended, 5*time.Second, time.Millisecond); err != nil {
				t.Error(err)
			}
			asked, err := os.ReadFile(filepath.Join(dir, "asked"))
			if err != nil {
				t.Fatal(err)
			}
			if removals := strings.Count(string(asked), "rm --force --volumes stuck"); removals != 2 {
				t.Errorf("the container was to be removed %d times:\n%s", removals, asked)
			}
		})
	}
}

func TestWhatDockerNeverRemovesIsGivenUp(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "docker"), []byte("#!/bin/sh\necho of no use >&2; exit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	n := dockerNetwork{name: "elemento-7"}
	if err := n.clearWithin(t.Context(), 5*time.Second, time.Millisecond); err == nil || !strings.Contains(err.Error(), "of no use") {
		t.Errorf("it is given up with %v", err)
	}
}
