package suite

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"

	"elemento.cloud/cluster-api-provider-elemento/e2e/inventory"
	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
)

// pair is one VM and all that belongs to it.
type pair struct {
	vms      inventory.Inventory
	infra    []infrav1.ElementoMachine
	machines []clusterv1.Machine
	nodes    []corev1.Node
}

func aPair() *pair {
	const id = "elemento://d1/vm"
	p := &pair{vms: inventory.Inventory{{Host: "h", Kind: inventory.VM, Name: "vm", ID: "1"}}}
	em := infrav1.ElementoMachine{}
	em.Name, em.Spec.VMName, em.Spec.Domain, em.Spec.ProviderID = "em", "vm", "d1", id
	machine := clusterv1.Machine{}
	machine.Name, machine.Spec.ProviderID, machine.Spec.InfrastructureRef.Name, machine.Status.NodeRef.Name = "m", id, "em", "node"
	node := corev1.Node{}
	node.Name, node.Spec.ProviderID = "node", id
	p.infra, p.machines, p.nodes = []infrav1.ElementoMachine{em}, []clusterv1.Machine{machine}, []corev1.Node{node}
	return p
}

func TestWhatDoesNotFitTogetherIsFound(t *testing.T) {
	t.Parallel()
	type counts struct{ withoutMachine, withoutVM, withoutNode int }
	for name, c := range map[string]struct {
		spoil func(*pair)
		want  counts
	}{
		"all fits": {func(*pair) {}, counts{}},
		"a VM that no one owns": {func(p *pair) {
			p.vms = append(p.vms, inventory.Resource{Kind: inventory.VM, Name: "stray"})
		}, counts{withoutMachine: 1}},
		"a VM twice":                                {func(p *pair) { p.vms = append(p.vms, p.vms[0]) }, counts{withoutVM: 1}},
		"a Machine without a VM":                    {func(p *pair) { p.vms = nil }, counts{withoutVM: 1}},
		"a Machine of no one":                       {func(p *pair) { p.infra = nil }, counts{withoutMachine: 1, withoutVM: 1}},
		"an ElementoMachine alone":                  {func(p *pair) { p.machines = nil }, counts{withoutMachine: 2}},
		"a VM without a name yet":                   {func(p *pair) { p.infra[0].Spec.VMName = "" }, counts{withoutMachine: 1, withoutVM: 1}},
		"another providerID on the ElementoMachine": {func(p *pair) { p.infra[0].Spec.ProviderID = "elemento://d2/vm" }, counts{withoutVM: 1}},
		"another providerID on the Machine":         {func(p *pair) { p.machines[0].Spec.ProviderID = "" }, counts{withoutVM: 1}},
		"a Node with another providerID":            {func(p *pair) { p.nodes[0].Spec.ProviderID = "" }, counts{withoutNode: 1}},
		"another Node than the Machine's":           {func(p *pair) { p.machines[0].Status.NodeRef.Name = "other" }, counts{withoutNode: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := aPair()
			c.spoil(p)
			machine, vm, node := mismatches(p.vms, p.infra, p.machines, p.nodes)
			if got := (counts{len(machine), len(vm), len(node)}); got != c.want {
				t.Errorf("found %+v, want %+v: %q %q %q", got, c.want, machine, vm, node)
			}
		})
	}
}
