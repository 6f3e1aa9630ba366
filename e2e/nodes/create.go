package main

import (
	"context"
	"fmt"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemento.cloud/cluster-api-provider-elemento/e2e/suite"
	"elemento.cloud/cluster-api-provider-elemento/e2e/world"
	"elemento.cloud/cluster-api-provider-elemento/reports"
)

func (s *scenario) create(ctx SpecContext) {
	r := s.site.Report
	r.Step("a namespace in which Clastix has the shipped role", func() {
		s.seen.network = s.site.World.DockerNetwork()
		s.controlPlane, s.worker = s.site.KubernetesVersion, s.site.KubernetesVersion
		s.cluster = s.site.NewCluster(ctx, "nodes", controlPlanes)
		s.cluster.Patience = patience
		if s.upgrades {
			s.cluster.ControlPlanes, s.cluster.Version = upgradedControlPlanes, world.OlderVersion
			s.controlPlane, s.worker = world.OlderVersion, world.OlderVersion
		}
		s.clastix = s.site.Clastix(ctx)
	})
	r.Step("clusterctl generate cluster, applied as Clastix", func() { s.apply(ctx, workers) })
	r.Step("its API answers", func() { s.reach, s.workload = s.cluster.Answering(ctx, s.clastix) })
	r.Step("the pod network, applied to it", func() { suite.ApplyPodNetwork(ctx, s.workload) })
	r.Step(size(s.cluster.ControlPlanes, workers)+": Machines Ready, made by cloud-init and kubeadm", func() { s.await(ctx, workers) })
	r.Step("Nodes Ready", func() { s.nodesReady(ctx, workers) })
	r.Step("CoreDNS, kube-proxy and flannel available", func() { s.systemAvailable(ctx, workers) })
	r.Evidence(reports.Evidence{Title: "the manifest that was applied", Path: s.cluster.Manifest(workers)},
		reports.Evidence{Title: "what cloud-init and kubeadm did in each guest", Path: guestsDir})
}

// apply has Clastix ask for the cluster with so many workers.
func (s *scenario) apply(ctx context.Context, workers int) {
	GinkgoHelper()
	Expect(suite.Apply(ctx, s.clastix, suite.Clastix, s.cluster.Generate(ctx, workers))).To(Succeed())
}

// nodesReady waits for the Nodes of so many workers and of the control planes, all Ready
// and of the versions that they are to have.
func (s *scenario) nodesReady(ctx context.Context, workers int) {
	GinkgoHelper()
	for _, n := range s.cluster.AwaitNodes(ctx, s.workload, s.cluster.ControlPlanes+workers) {
		want := s.worker
		if _, is := n.Labels[controlPlaneLabel]; is {
			want = s.controlPlane
		}
		Expect(n.Status.NodeInfo.KubeletVersion).To(Equal(want), "kubelet of %s", n.Name)
		Expect(n.Status.NodeInfo.ContainerRuntimeVersion).To(HavePrefix("containerd://"))
	}
}

// controlPlaneLabel is on the Nodes of control planes.
const controlPlaneLabel = "node-role.kubernetes.io/control-plane"

// systemAvailable waits for what a cluster of so many workers runs itself.
func (s *scenario) systemAvailable(ctx context.Context, workers int) {
	GinkgoHelper()
	s.cluster.AwaitDNS(ctx, s.workload)
	nodes := s.cluster.ControlPlanes + workers
	Eventually(func(g Gomega) {
		for _, name := range []client.ObjectKey{{Namespace: "kube-system", Name: "kube-proxy"}, {Namespace: "kube-flannel", Name: "flannel"}} {
			set := &appsv1.DaemonSet{}
			g.Expect(s.workload.Get(ctx, name, set)).To(Succeed())
			g.Expect(set.Status.NumberAvailable).To(Equal(int32(nodes)), fmt.Sprintf("pods of %s", name.Name))
		}
	}, patience, suite.Often).WithContext(ctx).Should(Succeed())
}
