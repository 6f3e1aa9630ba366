package main

import (
	"context"
	"fmt"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"

	"elemento.cloud/cluster-api-provider-elemento/e2e/suite"
	"elemento.cloud/cluster-api-provider-elemento/reports"
)

func (s *scenario) create(ctx context.Context, f1 *reports.Examination) {
	f1.Step("a namespace in which Clastix has the shipped role", func() {
		s.cluster = s.site.NewCluster(ctx, "poc", controlPlanes)
		s.cluster.Flavor = s.flavor
		s.clastix = s.site.Clastix(ctx)
		s.watch()
	})
	f1.Step("clusterctl generate cluster, applied as Clastix", func() { s.apply(ctx, workers) })
	f1.Step(fmt.Sprintf("%d control planes and %d workers Ready", controlPlanes, workers), func() { s.await(ctx, workers) })
	f1.Step("the cluster is Available", func() {
		Eventually(func(g Gomega) {
			cluster := &clusterv1.Cluster{}
			g.Expect(s.site.Admin.Get(ctx, s.cluster.Key, cluster)).To(Succeed())
			g.Expect(cluster.Status.Conditions).To(ContainElement(SatisfyAll(
				HaveField("Type", clusterv1.ClusterAvailableCondition), HaveField("Status", metav1.ConditionTrue))))
		}, suite.Long, suite.Often).WithContext(ctx).Should(Succeed())
	})
	var nodes []corev1.Node
	f1.Step("its kubeconfig, fetched as Clastix, shows all Nodes Ready", func() {
		nodes = s.cluster.AwaitNodes(ctx, s.cluster.WorkloadClient(ctx, s.clastix), controlPlanes+workers)
	})
	found := s.cluster.Machines(ctx, s.site.Admin)
	s.learnSecrets(ctx)
	f1.Figure(
		reports.Figure{Name: "control planes Ready", Value: float64(suite.Ready(found.ControlPlane)), Command: "kubectl get machines"},
		reports.Figure{Name: "workers Ready", Value: float64(suite.Ready(found.Workers)), Command: "kubectl get machines"},
		reports.Figure{Name: "Nodes Ready", Value: float64(suite.ReadyNodes(nodes)), Command: "kubectl get nodes"},
	)
	f1.Evidence(reports.Evidence{Title: "the manifest that was applied", Path: s.cluster.Manifest(workers)})
}

func (s *scenario) everyVMHasItsMachine(ctx context.Context, f2 *reports.Examination) {
	f2.Step("VMs on AtomOS, ElementoMachines, Machines and Nodes compared", func() {
		by := "C4 GET matcher/running, kubectl get machines,elementomachines"
		f2.Figure(s.compare(ctx, controlPlanes+workers, by)...)
	})
}

// compare demands that AtomOS and Kubernetes tell the same, and returns figures.
func (s *scenario) compare(ctx context.Context, want int, by string) []reports.Figure {
	return s.cluster.Compare(ctx, s.cluster.WorkloadClient(ctx, s.clastix), want, by)
}
