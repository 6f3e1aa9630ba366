// Package debian installs Debian into directories, from its packages, whose signatures
// are checked, and packages on a machine that is one. It wants root, and installs Debian's
// debootstrap where that is missing.
package debian

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// Suite is the Debian that there is: its systemd still runs where the host has cgroup v1.
const Suite = "bookworm"

// Archive installs what every Debian has, and these packages, and writes it all as a tar
// archive. Packages are those of DEBIAN_MIRROR where it is set, and otherwise of
// debootstrap's own mirror. It takes minutes, and says on progress what it does.
func Archive(ctx context.Context, w io.Writer, progress io.Writer, packages ...string) error {
	if os.Geteuid() != 0 {
		return errors.New("only root can install Debian's packages into a directory: run make by sudo")
	}
	if err := Install(ctx, progress, "debootstrap", "debootstrap"); err != nil {
		return err
	}
	root, err := os.MkdirTemp("", "elemento-debian-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(root)
	args := append(options(packages), Suite, root)
	if mirror := mirror(); mirror != "" {
		args = append(args, mirror)
	}
	cmd := exec.CommandContext(ctx, "debootstrap", args...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, lastLines(out))
	}
	for _, leftover := range leftovers {
		if err := os.RemoveAll(filepath.Join(root, leftover)); err != nil {
			return err
		}
	}
	tar := exec.CommandContext(ctx, "tar", "--numeric-owner", "-C", root, "-c", ".")
	tar.Stdout = w
	return tar.Run()
}

// Inputs are all that decides what Archive writes, but for the day.
func Inputs(packages ...string) []string {
	return slices.Concat([]string{runtime.GOARCH, Suite, mirror()}, options(packages), leftovers)
}

// mirror is where packages come from, debootstrap's own where it is empty.
func mirror() string { return os.Getenv("DEBIAN_MIRROR") }

// options are debootstrap's. Signatures are checked, or it fails: mirrors are asked in
// the clear.
func options(packages []string) []string {
	return []string{"--variant=minbase", "--force-check-gpg", "--include=" + strings.Join(packages, ",")}
}

// leftovers are what nobody needs of what was installed.
var leftovers = []string{"var/cache/apt", "var/lib/apt/lists", "var/log", "usr/share/doc", "usr/share/man", "usr/share/locale", "etc/machine-id"}

// lastLines are the end of what a command has said.
func lastLines(out []byte) string {
	return strings.TrimSpace(string(out[max(0, len(out)-2000):]))
}
