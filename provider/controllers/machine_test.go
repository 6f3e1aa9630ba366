package controllers_test

import (
	"testing"

	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
	"sigs.k8s.io/cluster-api/util/conditions"
)

func TestAMachineBecomesAVMAndIsGoneWithoutATrace(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 1})
	cluster, infra := s.provisionedCluster()
	machine, m := s.provisionedMachine(cluster)

	if want := "elemento://d1/" + m.Spec.VMName; m.Spec.ProviderID != want {
		t.Errorf("providerID is %q, want %q", m.Spec.ProviderID, want)
	}
	if m.Status.FailureDomain != "d1" || len(m.Status.Addresses) != 1 || m.Status.PowerState != infrav1.PowerStateRunning {
		t.Errorf("status is %+v", m.Status)
	}
	if !conditions.IsTrue(m, infrav1.ReadyCondition) {
		t.Error(describe(m))
	}
	vms := s.vms()[m.Spec.VMName]
	if len(vms) != 1 || vms[0].UID != m.Status.VMUID || vms[0].Address != m.Status.Addresses[0].Address {
		t.Fatalf("AtomOS has %+v, the status says %+v", vms, m.Status)
	}

	s.remove(m)
	s.remove(machine)
	s.remove(infra)
	s.wantNothingLeft()
}
