package main

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/onsi/gomega"

	"elemento.cloud/cluster-api-provider-elemento/e2e/docker"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos/guest/container"
)

func TestWhatIsLeftInDockerIsFound(t *testing.T) {
	if _, err := docker.Run(t.Context(), nil, "version"); err != nil {
		t.Skip("no Docker Engine answers: ", err)
	}
	gomega.RegisterTestingT(t)
	name := fmt.Sprintf("elemento-trial-%d", os.Getpid())
	do := func(args ...string) string {
		t.Helper()
		out, err := docker.Run(context.WithoutCancel(t.Context()), nil, args...)
		if err != nil {
			t.Error(err)
		}
		return out
	}
	var nothing bytes.Buffer
	if err := tar.NewWriter(&nothing).Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := docker.Run(t.Context(), &nothing, "import", "-", name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { do("image", "rm", name) })
	do("network", "create", "--internal", name)
	networkThere := true
	t.Cleanup(func() {
		if networkThere {
			do("network", "rm", name)
		}
	})
	guest := do("create", "--network="+name, "--volume=/var", "--label="+container.InstanceLabel+"="+name, name, "none")
	guestThere := true
	t.Cleanup(func() {
		if guestThere {
			do("rm", "--volumes", guest)
		}
	})

	seen := traces{network: name}
	seen.look(t.Context())
	if left, all := seen.left(t.Context()); len(left) != 3 || all != 3 {
		t.Errorf("of a container, its volume and a network %d are left: %q", all, left)
	}
	do("rm", guest) // and not its volume
	guestThere = false
	if got := seen.ofGuests(t.Context()); len(got) != 0 {
		t.Errorf("of guests there is %q", got)
	}
	if left, _ := seen.left(t.Context()); len(left) != 2 || left[0] != seen.volumes[0] {
		t.Errorf("without the container are left: %q", left)
	}
	do("volume", "rm", seen.volumes[0])
	do("network", "rm", name)
	networkThere = false
	if left, _ := seen.left(t.Context()); len(left) != 0 {
		t.Errorf("of nothing is left: %q", left)
	}
}
