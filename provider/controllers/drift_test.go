package controllers

import (
	"strings"
	"testing"

	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/cluster-api/util/conditions"

	"elemento.cloud/cluster-api-provider-elemento/daemon/rpc"
	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
)

func TestAVMThatWasChangedByHandIsReportedOnce(t *testing.T) {
	t.Parallel()
	recorder := events.NewFakeRecorder(10)
	r := &MachineReconciler{Events: recorder}
	s := &machineScope{
		object:         &infrav1.ElementoMachine{Spec: infrav1.ElementoMachineSpec{Slots: 2, MemoryMiB: 1024}},
		infrastructure: &infrav1.ElementoCluster{Spec: infrav1.ElementoClusterSpec{Network: infrav1.ClusterNetwork{Name: "lan"}}},
		vm:             &rpc.VM{Slots: 2, MemoryMib: 1024, Networks: []string{"lan"}},
	}
	r.reportDrift(s)
	if !conditions.IsTrue(s.object, infrav1.VMMatchesSpecCondition) || len(recorder.Events) > 0 {
		t.Fatalf("a VM as it should be is reported: %+v", s.object.Status.Conditions)
	}

	s.vm = &rpc.VM{Slots: 4, MemoryMib: 2048, Networks: []string{"another"}}
	r.reportDrift(s)
	r.reportDrift(s)
	c := conditions.Get(s.object, infrav1.VMMatchesSpecCondition)
	for _, words := range []string{"slots: 4 instead of 2", "memoryMiB: 2048 instead of 1024", "networks: lan is not attached"} {
		if !strings.Contains(c.Message, words) {
			t.Errorf("message %q does not say %q", c.Message, words)
		}
	}
	if c.Reason != infrav1.DriftedReason || len(recorder.Events) != 1 {
		t.Errorf("reason %s with %d events, want %s with one", c.Reason, len(recorder.Events), infrav1.DriftedReason)
	}

	s.vm = &rpc.VM{Slots: 2, MemoryMib: 1024, Networks: []string{"lan"}}
	r.reportDrift(s)
	if !conditions.IsTrue(s.object, infrav1.VMMatchesSpecCondition) {
		t.Error("a VM that was mended is still reported")
	}
}

func TestMemoryThatAHostRoundsToItsUnitIsNotDrift(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		wanted  int64
		reports uint64
		drifted bool
	}{
		{wanted: 512, reports: 512},
		{wanted: 512, reports: 1024},  // 1 GB, up
		{wanted: 512, reports: 0},     // 0 GB, down
		{wanted: 1536, reports: 1024}, // 1 GB, down
		{wanted: 1536, reports: 2048}, // 2 GB, up
		{wanted: 1500, reports: 1495}, // 1.46 GB
		{wanted: 1536, reports: 3072, drifted: true},
		{wanted: 4096, reports: 3072, drifted: true},
		{wanted: 4096, reports: 5120, drifted: true},
	} {
		s := &machineScope{
			object:         &infrav1.ElementoMachine{Spec: infrav1.ElementoMachineSpec{Slots: 2, MemoryMiB: c.wanted}},
			infrastructure: &infrav1.ElementoCluster{},
			vm:             &rpc.VM{Slots: 2, MemoryMib: c.reports},
		}
		(&MachineReconciler{Events: events.NewFakeRecorder(1)}).reportDrift(s)
		if drifted := conditions.IsFalse(s.object, infrav1.VMMatchesSpecCondition); drifted != c.drifted {
			t.Errorf("%d MiB are wanted and %d reported: drifted is %v, want %v", c.wanted, c.reports, drifted, c.drifted)
		}
	}
}
