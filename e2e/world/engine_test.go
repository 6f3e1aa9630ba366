package world

import (
	"context"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"

	"elemento.cloud/cluster-api-provider-elemento/e2e/docker"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos/guest/container"
)

// nodeOrSkip is the name of the node image; without it, or an engine, there is nothing
// to test.
func nodeOrSkip(t *testing.T) string {
	t.Helper()
	if _, err := docker.Ask(t.Context()); err != nil {
		t.Skipf("this test needs Docker: %v", err)
	}
	image := container.NodeImage(KubernetesVersion)
	if named := os.Getenv("E2E_NODE_IMAGE"); named != "" {
		image = named
	}
	if _, err := docker.Run(t.Context(), nil, "image", "inspect", "--format={{.Id}}", image); err != nil {
		t.Skipf("this test needs the image %s: make it by `make node-image`", image)
	}
	return image
}

// ofNetwork is what Docker holds of a network and its containers.
func ofNetwork(t *testing.T, name string) string {
	t.Helper()
	var all []string
	for _, command := range [][]string{
		{"network", "ls", "--format=network {{.Name}}", "--filter=name=^" + name + "$"},
		{"ps", "--all", "--format=container {{.Names}}", "--filter=network=" + name},
		{"volume", "ls", "--format=volume {{.Name}}", "--filter=label=" + container.InstanceLabel + "=" + name},
	} {
		found, err := docker.Run(context.Background(), nil, command...)
		if err != nil {
			t.Fatal(err)
		}
		if found != "" {
			all = append(all, found)
		}
	}
	return strings.Join(all, ", ")
}

func TestContainersReachWhatRunsHereAtAddressesOfTheirNetwork(t *testing.T) {
	t.Parallel()
	image := nodeOrSkip(t)
	block, err := reserveBlock()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(block.release)
	n, err := makeDockerNetwork(t.Context(), block.number)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.remove(context.Background()); err != nil {
			t.Error(err)
		}
	})
	block.network = n
	if err := n.take(t.Context(), image, n.own(), n.guests()); err != nil {
		t.Fatal(err)
	}
	for what, address := range map[string]string{
		"a host": block.Address(firstHostAddress), "the last guest": lastOf(n.guests()).String(),
	} {
		l, err := listen("tcp", net.JoinHostPort(address, "0"))
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		defer l.Close()
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				_, _ = conn.Write([]byte("hello\n"))
				_ = conn.Close()
			}
		}()
		host, port, _ := net.SplitHostPort(l.Addr().String())
		said, err := docker.Run(t.Context(), nil, "run", "--rm", "--network="+n.name, "--entrypoint=bash", image, "-c",
			"read line < /dev/tcp/"+host+"/"+port+" && echo $line")
		if err != nil || said != "hello" {
			t.Errorf("%s at %s says %q to a container: %v", what, l.Addr(), said, err)
		}
	}
}

func lastOf(p netip.Prefix) netip.Addr {
	a := p.Addr()
	for next := a; p.Contains(next); next = next.Next() {
		a = next
	}
	return a.Prev()
}

// abandoned in the environment makes a harness of this test binary that makes a network,
// with a container of the image that it names, and is killed.
const abandoned = "ELEMENTO_WORLD_ABANDONED_NETWORK"

func abandon(image string) error {
	ctx := context.Background()
	block, err := reserveBlock()
	if err != nil {
		return err
	}
	n, err := makeDockerNetwork(ctx, block.number)
	if err != nil {
		return err
	}
	if _, err := docker.Run(ctx, nil, "volume", "create", "--label="+container.InstanceLabel+"="+n.name); err != nil {
		return err
	}
	if _, err := docker.Run(ctx, nil, "create", "--network="+n.name, "--volume=/var", image, "true"); err != nil {
		return err
	}
	if _, err := os.Stdout.WriteString(n.name + "\n"); err != nil {
		return err
	}
	// Until it is killed, or its parent is gone.
	_, err = io.ReadAll(os.Stdin)
	return err
}

func TestWhatAKilledHarnessLeavesInDockerIsRemovedByTheNext(t *testing.T) {
	t.Parallel()
	image := nodeOrSkip(t)
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	harness := exec.CommandContext(t.Context(), program)
	harness.Env = append(os.Environ(), abandoned+"="+image)
	out, err := harness.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := harness.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	harness.Stderr = t.Output()
	if err := harness.Start(); err != nil {
		t.Fatal(err)
	}
	said := make([]byte, 64)
	read, err := out.Read(said)
	if err != nil {
		t.Fatalf("the harness makes no network: %v", err)
	}
	name := strings.TrimSpace(string(said[:read]))
	// While its harness lives nobody takes it away.
	if err := sweepNetworks(t.Context(), -1); err != nil {
		t.Fatal(err)
	}
	before := ofNetwork(t, name)
	for _, what := range []string{"network " + name, "container ", "volume "} {
		if !strings.Contains(before, what) {
			t.Errorf("of %s there is no %s: %s", name, what, before)
		}
	}
	if err := harness.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = harness.Wait() // it was killed
	// Whoever else makes a world may be at it already, and then we leave it alone.
	see(t, testContext(t), "the end of what it left", func(ctx context.Context) (bool, error) {
		if err := sweepNetworks(ctx, -1); err != nil {
			return false, err
		}
		return ofNetwork(t, name) == "", nil
	})
}
