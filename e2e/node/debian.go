package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// The Debian that a node is: its systemd still runs where the host has cgroup v1.
const suite = "bookworm"

// packages are what a node has of Debian, besides what every Debian has.
var packages = []string{
	"systemd", "systemd-sysv", "hostname", "kmod", "mount", "util-linux", "procps", "e2fsprogs", "ca-certificates", "jq", "pigz",
	"iproute2", "iptables", "nftables", "conntrack", "ebtables", "ipset", "ethtool", "socat",
	"runc", "containernetworking-plugins", "cloud-init",
	// A package that cloud-init needs names it by what it provides, which debootstrap
	// does not follow.
	"python3-cffi-backend",
}

// debian is the first stage: Debian from its packages, those of DEBIAN_MIRROR where it
// is set, and otherwise of debootstrap's own mirror.
func debian(progress io.Writer) stage {
	return stage{
		name:   "debian",
		about:  "Debian " + suite + " with systemd and cloud-init, a few minutes",
		inputs: append([]string{suite}, packages...),
		make: func(ctx context.Context, _, to string) error {
			if os.Geteuid() != 0 {
				return errors.New("only root can install Debian's packages into a directory: run `sudo make node-image`")
			}
			if err := installDebootstrap(ctx, progress); err != nil {
				return err
			}
			root, err := os.MkdirTemp("", "elemento-node-")
			if err != nil {
				return err
			}
			defer os.RemoveAll(root)
			// Signatures are checked, or it fails: mirrors are asked in the clear.
			args := []string{"--variant=minbase", "--force-check-gpg", "--include=" + strings.Join(packages, ","), suite, root}
			if mirror := os.Getenv("DEBIAN_MIRROR"); mirror != "" {
				args = append(args, mirror)
			}
			cmd := exec.CommandContext(ctx, "debootstrap", args...)
			if out, err := cmd.CombinedOutput(); err != nil {
				return fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, lastLines(out))
			}
			for _, leftover := range []string{"var/cache/apt", "var/lib/apt/lists", "var/log", "usr/share/doc", "usr/share/man", "usr/share/locale", "etc/machine-id"} {
				if err := os.RemoveAll(filepath.Join(root, leftover)); err != nil {
					return err
				}
			}
			fmt.Fprintln(progress, "importing it")
			return pipe(func(w io.Writer) error {
				cmd := exec.CommandContext(ctx, "tar", "--numeric-owner", "-C", root, "-c", ".")
				cmd.Stdout = w
				return cmd.Run()
			}, func(r io.Reader) error { return docker(ctx, r, nil, "import", "-", to) })
		},
	}
}

// installDebootstrap sees that debootstrap is there, and says so where it installs it.
func installDebootstrap(ctx context.Context, progress io.Writer) error {
	if _, err := exec.LookPath("debootstrap"); err == nil {
		return nil
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		return fmt.Errorf("debootstrap makes it, and there is no apt-get to install it with: install it as your system does: %w", err)
	}
	fmt.Fprintln(progress, "installing Debian's debootstrap")
	for _, args := range [][]string{{"update", "-q"}, {"install", "-q", "-y", "--no-install-recommends", "debootstrap"}} {
		cmd := exec.CommandContext(ctx, "apt-get", args...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, lastLines(out))
		}
	}
	return nil
}

// lastLines are the end of what a command has said.
func lastLines(out []byte) string {
	return strings.TrimSpace(string(out[max(0, len(out)-2000):]))
}
