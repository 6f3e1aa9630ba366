package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemento.cloud/cluster-api-provider-elemento/e2e/docker"
	"elemento.cloud/cluster-api-provider-elemento/e2e/suite"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos/guest/container"
	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
)

// guestsDir is where, in the directory of the report, is kept what each guest says.
const guestsDir = suite.Artifacts + "/guests"

// guests are the containers of the world's guests, by the name of their VM.
func (s *scenario) guests(ctx context.Context) map[string]string {
	GinkgoHelper()
	listed, err := docker.Run(ctx, nil, "ps", "--no-trunc", "--filter=label="+container.InstanceLabel+"="+s.seen.network,
		fmt.Sprintf("--format={{.Label %q}} {{.ID}}", container.NameLabel))
	Expect(err).NotTo(HaveOccurred())
	found := map[string]string{}
	for line := range strings.Lines(listed) {
		vm, id, _ := strings.Cut(strings.TrimSpace(line), " ")
		found[vm] = id
	}
	return found
}

// everyVMIsAContainer demands it, each VM of the cluster one of its own, and returns how
// many there are.
func (s *scenario) everyVMIsAContainer(ctx context.Context) int {
	GinkgoHelper()
	machines := &infrav1.ElementoMachineList{}
	Expect(s.site.Admin.List(ctx, machines, client.InNamespace(s.cluster.Key.Namespace))).To(Succeed())
	var vms []string
	for _, m := range machines.Items {
		vms = append(vms, m.Spec.VMName)
	}
	slices.Sort(vms)
	Expect(slices.Sorted(maps.Keys(s.guests(ctx)))).To(Equal(vms), "the VMs of running containers")
	return len(vms)
}

// examineGuests looks into the guests that it has not seen before: cloud-init found its
// seed and came to a good end, and kubeadm ran there.
func (s *scenario) examineGuests(ctx context.Context) {
	GinkgoHelper()
	s.seen.look(ctx)
	for vm, id := range s.guests(ctx) {
		if s.examined[vm] {
			continue
		}
		s.examine(ctx, vm, id)
		s.examined[vm] = true
	}
}

func (s *scenario) examine(ctx context.Context, vm, id string) {
	GinkgoHelper()
	inside := func(command ...string) string {
		GinkgoHelper()
		out, err := docker.Run(ctx, nil, append([]string{"exec", id}, command...)...)
		Expect(err).NotTo(HaveOccurred(), "in the guest %s", vm)
		return out
	}
	// The node may be Ready a moment before cloud-init has come to its end.
	var status string
	Eventually(func() (err error) {
		status, err = docker.Run(ctx, nil, "exec", id, "cloud-init", "status", "--long")
		if err == nil && !strings.Contains(status, "status: done") {
			err = fmt.Errorf("cloud-init in the guest %s: %s", vm, status)
		}
		return err
	}, suite.Long, "1s").WithContext(ctx).Should(Succeed())

	result := inside("cat", "/run/cloud-init/result.json")
	var cloudInit struct {
		V1 struct {
			Datasource string
			Errors     []string
		}
	}
	Expect(json.Unmarshal([]byte(result), &cloudInit)).To(Succeed())
	Expect(cloudInit.V1.Datasource).To(HavePrefix("DataSourceNoCloud"), "where cloud-init in %s found its seed", vm)
	Expect(cloudInit.V1.Errors).To(BeEmpty(), "what cloud-init in %s says went wrong", vm)

	said := suite.BootstrapToken.ReplaceAllString(inside("cat", "/var/log/cloud-init-output.log"), "(token)")
	Expect(said).To(Or(
		ContainSubstring("Your Kubernetes control-plane has initialized successfully!"), // kubeadm init
		ContainSubstring("This node has joined the cluster"),                            // kubeadm join
	), "what kubeadm in %s said", vm)
	inside("test", "-e", "/run/cluster-api/bootstrap-success.complete")

	var kept strings.Builder
	for _, part := range []struct{ command, said string }{
		{"cloud-init --version", inside("cloud-init", "--version")},
		{"cloud-init status --long", status},
		{"cat /run/cloud-init/result.json", result},
		{"kubeadm version", inside("kubeadm", "version")},
		{"systemctl is-active containerd kubelet", inside("systemctl", "is-active", "containerd", "kubelet")},
		{"cat /var/log/cloud-init-output.log", said},
	} {
		fmt.Fprintf(&kept, "# %s\n%s\n\n", part.command, part.said)
	}
	dir := filepath.Join(s.site.Dir, guestsDir)
	Expect(os.MkdirAll(dir, 0o755)).To(Succeed())
	Expect(os.WriteFile(filepath.Join(dir, vm+".txt"), []byte(kept.String()), 0o644)).To(Succeed())
}
