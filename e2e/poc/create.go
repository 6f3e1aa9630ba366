package main

import (
	"context"
	"fmt"
	"maps"
	"slices"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemento.cloud/cluster-api-provider-elemento/e2e/inventory"
	"elemento.cloud/cluster-api-provider-elemento/e2e/suite"
	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
	"elemento.cloud/cluster-api-provider-elemento/reports"
)

func (s *scenario) create(ctx context.Context, f1 *reports.Examination) {
	f1.Step("a namespace in which Clastix has the shipped role", func() {
		var err error
		s.before, err = s.site.Hosts.Take(ctx)
		Expect(err).NotTo(HaveOccurred())
		s.cluster = &suite.Cluster{
			Site: s.site, Flavor: s.flavor, ControlPlanes: controlPlanes,
			Key: client.ObjectKey{Namespace: s.site.Namespace(ctx, "poc"), Name: "poc"},
		}
		kubeconfig, err := s.site.World.UserKubeconfig(ctx, user, user)
		Expect(err).NotTo(HaveOccurred())
		s.clastix, err = newClastix(kubeconfig, s.site.Admin.Scheme())
		Expect(err).NotTo(HaveOccurred())
		s.objectsBefore = slices.Sorted(maps.Keys(s.site.Objects(ctx, s.cluster.Key.Namespace)))
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
	nodes := &corev1.NodeList{}
	f1.Step("its kubeconfig, fetched as Clastix, shows all Nodes Ready", func() {
		workload := s.workload(ctx)
		Eventually(func(g Gomega) {
			g.Expect(workload.List(ctx, nodes)).To(Succeed())
			g.Expect(readyNodes(nodes.Items)).To(Equal(controlPlanes + workers))
			g.Expect(nodes.Items).To(HaveLen(controlPlanes + workers))
		}, suite.Long, suite.Often).WithContext(ctx).Should(Succeed())
	})
	found := s.cluster.Machines(ctx, s.site.Admin)
	s.learnSecrets(ctx)
	f1.Figure(
		reports.Figure{Name: "control planes Ready", Value: float64(suite.Ready(found.ControlPlane)), Command: "kubectl get machines"},
		reports.Figure{Name: "workers Ready", Value: float64(suite.Ready(found.Workers)), Command: "kubectl get machines"},
		reports.Figure{Name: "Nodes Ready", Value: float64(readyNodes(nodes.Items)), Command: "kubectl get nodes"},
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
	found, err := s.site.Hosts.Take(ctx)
	Expect(err).NotTo(HaveOccurred())
	vms := found.Without(s.before).Of(inventory.VM)
	infra := &infrav1.ElementoMachineList{}
	Expect(s.site.Admin.List(ctx, infra, client.InNamespace(s.cluster.Key.Namespace))).To(Succeed())
	all := s.cluster.Machines(ctx, s.site.Admin)
	nodes := &corev1.NodeList{}
	Expect(s.workload(ctx).List(ctx, nodes)).To(Succeed())

	withoutMachine, withoutVM, withoutNode := mismatches(vms, infra.Items, all.All(), nodes.Items)
	Expect(slices.Concat(withoutMachine, withoutVM, withoutNode)).To(BeEmpty())
	Expect(vms).To(HaveLen(want))
	none := ptr.To(0.0)
	return []reports.Figure{
		{Name: "VMs on AtomOS", Value: float64(len(vms)), Command: by},
		{Name: "VMs without a Machine", Value: float64(len(withoutMachine)), AtMost: none, Command: by},
		{Name: "Machines without their VM", Value: float64(len(withoutVM)), AtMost: none, Command: by},
		{Name: "Machines without their Node", Value: float64(len(withoutNode)), AtMost: none, Command: by},
	}
}

// readyNodes counts Nodes that are Ready.
func readyNodes(nodes []corev1.Node) int {
	n := 0
	for _, node := range nodes {
		for _, condition := range node.Status.Conditions {
			if condition.Type == corev1.NodeReady && condition.Status == corev1.ConditionTrue {
				n++
			}
		}
	}
	return n
}

// mismatches says what does not fit together: each VM on AtomOS, its
// ElementoMachine, its Machine and its Node, found by name and providerID.
func mismatches(vms inventory.Inventory, infra []infrav1.ElementoMachine, all []clusterv1.Machine, nodes []corev1.Node) (withoutMachine, withoutVM, withoutNode []string) {
	onAtomOS := map[string]int{}
	for _, vm := range vms {
		onAtomOS[vm.Name]++
	}
	byName := map[string]clusterv1.Machine{}
	for _, machine := range all {
		byName[machine.Spec.InfrastructureRef.Name] = machine
	}
	node := map[string]string{}
	for _, n := range nodes {
		node[n.Spec.ProviderID] = n.Name
	}
	claimed := map[string]bool{}
	for _, em := range infra {
		machine, owned := byName[em.Name]
		wanted := fmt.Sprintf("elemento://%s/%s", em.Spec.Domain, em.Spec.VMName)
		switch {
		case !owned:
			withoutMachine = append(withoutMachine, fmt.Sprintf("ElementoMachine %s", em.Name))
			continue
		case em.Spec.VMName == "" || onAtomOS[em.Spec.VMName] != 1:
			withoutVM = append(withoutVM, fmt.Sprintf("Machine %s: %d VMs are named %q", machine.Name, onAtomOS[em.Spec.VMName], em.Spec.VMName))
		case em.Spec.ProviderID != wanted || machine.Spec.ProviderID != wanted:
			withoutVM = append(withoutVM, fmt.Sprintf("Machine %s has providerID %q and its ElementoMachine %q, want %q", machine.Name, machine.Spec.ProviderID, em.Spec.ProviderID, wanted))
		case node[wanted] == "" || node[wanted] != machine.Status.NodeRef.Name:
			withoutNode = append(withoutNode, fmt.Sprintf("Machine %s: the Node with providerID %q is %q, the Machine's is %q", machine.Name, wanted, node[wanted], machine.Status.NodeRef.Name))
		}
		claimed[em.Spec.VMName] = true
		delete(byName, em.Name)
	}
	for _, machine := range byName {
		withoutVM = append(withoutVM, fmt.Sprintf("Machine %s has no ElementoMachine", machine.Name))
	}
	for _, vm := range vms {
		if !claimed[vm.Name] {
			withoutMachine = append(withoutMachine, vm.String())
		}
	}
	return withoutMachine, withoutVM, withoutNode
}
