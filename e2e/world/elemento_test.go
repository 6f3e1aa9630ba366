package world

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"elemento.cloud/cluster-api-provider-elemento/e2e/binaries"
)

// clusterctl runs clusterctl with a release laid out in dir.
func clusterctl(t *testing.T, w *World, config string, variables []string, args ...string) string {
	t.Helper()
	program, err := binaries.Path(t.Context(), binaries.Clusterctl, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, append([]string{"--config", config}, args...)...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+w.AdminKubeconfig(), "CLUSTERCTL_DISABLE_VERSIONCHECK=true")
	cmd.Env = append(cmd.Env, variables...)
	output, err := cmd.Output()
	if err != nil {
		t.Fatalf("clusterctl %s: %v\n%s", strings.Join(args, " "), err, output)
	}
	return string(output)
}

func TestTwoWholeWorldsFitOnAMachineAndClusterctlExplainsAClusterThatWaits(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	worlds := make([]*World, 2)
	var group errgroup.Group
	for i := range worlds {
		options := Options{Dir: t.TempDir(), Progress: t.Output(), Elemento: &Elemento{AtomOS: AtomOS{Hosts: 2}}}
		group.Go(func() (err error) {
			worlds[i], err = Up(ctx, options)
			return err
		})
	}
	err := group.Wait()
	t.Cleanup(func() {
		for _, w := range worlds {
			if w == nil {
				continue
			}
			if err := w.Err(); err != nil {
				t.Error(err)
			}
			if err := w.Down(context.WithoutCancel(ctx)); err != nil {
				t.Error(err)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	w := worlds[0]
	for _, other := range worlds[1:] {
		for _, host := range other.Hosts() {
			for _, own := range w.Hosts() {
				if host.URL == own.URL {
					t.Errorf("both worlds have a host at %s", host.URL)
				}
			}
		}
	}

	config, err := Release(ctx, t.TempDir(), t.Output())
	if err != nil {
		t.Fatal(err)
	}
	manifest := clusterctl(t, w, config, append(w.TemplateVariables(), `ELEMENTO_DOMAINS=["atlantis"]`),
		"generate", "cluster", "waits", "--infrastructure", "elemento:"+ReleaseVersion, "--target-namespace", "default",
		"--kubernetes-version", KubernetesVersion, "--control-plane-machine-count", "1", "--worker-machine-count", "1")
	file := filepath.Join(t.TempDir(), "cluster.yaml")
	if err := os.WriteFile(file, []byte(manifest), 0o600); err != nil {
		t.Fatal(err)
	}
	kubectl(t, w, "apply", "-f", file)
	var said string
	see(t, ctx, "the unknown domain in what clusterctl describes", func(context.Context) (bool, error) {
		said = clusterctl(t, w, config, nil, "describe", "cluster", "waits", "--show-conditions", "ElementoCluster")
		return strings.Contains(said, "DomainUnknown") && strings.Contains(said, "atlantis"), nil
	})
	t.Log("\n" + said)
	if columns := kubectl(t, w, "get", "elementoclusters"); !strings.Contains(columns, "DomainUnknown") {
		t.Errorf("kubectl get does not say what the cluster waits for:\n%s", columns)
	}

	kubectl(t, w, "delete", "-f", file, "--wait=false")
	see(t, ctx, "the end of the cluster", func(context.Context) (bool, error) {
		return kubectl(t, w, "get", "clusters,elementoclusters", "--no-headers", "--ignore-not-found") == "", nil
	})
	inventory, err := w.Fake().Inventory(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if left := inventory.Resources(); len(left) > 0 {
		t.Errorf("left on AtomOS: %v", left)
	}
}

func kubectl(t *testing.T, w *World, args ...string) string {
	t.Helper()
	program, err := binaries.Path(t.Context(), binaries.Kubectl, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	output, err := exec.CommandContext(t.Context(), program, append([]string{"--kubeconfig", w.AdminKubeconfig()}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, output)
	}
	return string(output)
}
