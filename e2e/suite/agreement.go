package suite

import (
	"context"
	"fmt"
	"slices"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemento.cloud/cluster-api-provider-elemento/e2e/inventory"
	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
	"elemento.cloud/cluster-api-provider-elemento/reports"
)

// Compare demands that AtomOS and Kubernetes tell the same of a cluster of
// [Site.NewCluster]: as many VMs
// as are wanted beside what there was before, each with its Machine, each Machine with
// its Node. It returns figures, measured by what by says.
func (c *Cluster) Compare(ctx context.Context, workload client.Client, want int, by string) []reports.Figure {
	GinkgoHelper()
	vms := c.VMs(ctx)
	infra := &infrav1.ElementoMachineList{}
	Expect(c.Site.Admin.List(ctx, infra, client.InNamespace(c.Key.Namespace))).To(Succeed())
	all := c.Machines(ctx, c.Site.Admin)
	nodes := &corev1.NodeList{}
	Expect(workload.List(ctx, nodes)).To(Succeed())

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

// AwaitNodes waits until the cluster itself shows so many Nodes, all Ready, and returns
// them.
func (c *Cluster) AwaitNodes(ctx context.Context, workload client.Client, want int) []corev1.Node {
	GinkgoHelper()
	nodes := &corev1.NodeList{}
	Eventually(func(g Gomega) {
		g.Expect(workload.List(ctx, nodes)).To(Succeed())
		g.Expect(nodes.Items).To(HaveLen(want))
		g.Expect(ReadyNodes(nodes.Items)).To(Equal(want))
	}, c.patience(), Often).WithContext(ctx).Should(Succeed())
	return nodes.Items
}

// ReadyNodes counts Nodes that are Ready.
func ReadyNodes(nodes []corev1.Node) int {
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
