package main

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"

	"elemento.cloud/cluster-api-provider-elemento/e2e/inventory"
	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
)

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
