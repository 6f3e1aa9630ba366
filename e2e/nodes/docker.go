package main

import (
	"context"
	"slices"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"elemento.cloud/cluster-api-provider-elemento/e2e/docker"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos/guest/container"
)

// traces is what there is, and was, in Docker of one world.
type traces struct {
	// network is the name of the world's Docker network, by which its guests are labeled.
	network string
	// containers and volumes are all that were seen on it, by ID and by name.
	containers, volumes []string
}

// look takes down what there is now.
func (t *traces) look(ctx context.Context) {
	GinkgoHelper()
	on := list(ctx, "ps", "--all", "--quiet", "--no-trunc", "--filter=network="+t.network)
	for _, id := range on {
		mounted, err := docker.Run(ctx, nil, "inspect", "--format={{range .Mounts}}{{if .Name}}{{.Name}} {{end}}{{end}}", id)
		if err != nil {
			continue // it has gone meanwhile
		}
		t.volumes = append(t.volumes, strings.Fields(mounted)...)
	}
	t.containers = append(t.containers, on...)
	slices.Sort(t.containers)
	slices.Sort(t.volumes)
	t.containers, t.volumes = slices.Compact(t.containers), slices.Compact(t.volumes)
}

// ofGuests is what there is now of guests.
func (t *traces) ofGuests(ctx context.Context) []string {
	GinkgoHelper()
	label := "--filter=label=" + container.InstanceLabel + "=" + t.network
	return slices.Concat(list(ctx, "ps", "--all", "--quiet", "--no-trunc", label), list(ctx, "volume", "ls", "--quiet", label))
}

// left is what is still there of what was seen, and how much that had been.
func (t *traces) left(ctx context.Context) (left []string, all int) {
	GinkgoHelper()
	left = t.ofGuests(ctx)
	still := func(was, is []string) {
		for _, name := range was {
			if slices.Contains(is, name) && !slices.Contains(left, name) {
				left = append(left, name)
			}
		}
	}
	still(t.containers, list(ctx, "ps", "--all", "--quiet", "--no-trunc"))
	still(t.volumes, list(ctx, "volume", "ls", "--quiet"))
	still([]string{t.network}, list(ctx, "network", "ls", "--format={{.Name}}"))
	return left, len(t.containers) + len(t.volumes) + 1
}

// list returns what a command of Docker's client lists.
func list(ctx context.Context, args ...string) []string {
	GinkgoHelper()
	listed, err := docker.Run(ctx, nil, args...)
	Expect(err).NotTo(HaveOccurred())
	return strings.Fields(listed)
}
