package node

import (
	"context"
	"io"

	"elemento.cloud/cluster-api-provider-elemento/e2e/debian"
	"elemento.cloud/cluster-api-provider-elemento/e2e/docker"
)

// packages are what a node has of Debian, besides what every Debian has.
var packages = []string{
	"systemd", "systemd-sysv", "hostname", "kmod", "mount", "util-linux", "procps", "e2fsprogs", "ca-certificates", "curl", "jq", "pigz",
	"iproute2", "iptables", "nftables", "conntrack", "ebtables", "ipset", "ethtool", "socat",
	"runc", "containernetworking-plugins", "cloud-init",
	// A package that cloud-init needs names it by what it provides, which debootstrap
	// does not follow.
	"python3-cffi-backend",
}

// debianStage is the first: Debian from its packages.
func debianStage(progress io.Writer) stage {
	return stage{
		name:   "debian",
		about:  "Debian " + debian.Suite + " with systemd and cloud-init, a few minutes",
		inputs: debian.Inputs(packages...),
		make: func(ctx context.Context, _, to string) error {
			return docker.Feed(ctx, func(w io.Writer) error { return debian.Archive(ctx, w, progress, packages...) }, "import", "-", to)
		},
	}
}
