package controllers_test

import (
	"testing"
	"time"

	eventsv1 "k8s.io/api/events/v1"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemento.cloud/cluster-api-provider-elemento/daemon"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos"
	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
)

// blank is for how long hosts list nothing when they come up. Daemons believe them after a
// time that is longer than any of their looks may take.
const blank = time.Second

func newBlankSite(t *testing.T) (*site, func(machine *infrav1.ElementoMachine) *fakeatomos.Host) {
	t.Helper()
	s := newSiteOf(t, hosts{"d1": 1}, func(c *daemon.Config) { c.HostSettleTime.Duration = 4 * blank })
	down := func(m *infrav1.ElementoMachine) *fakeatomos.Host {
		host := must(s.fake.Host(m.Spec.Host))
		host.SetBlank(blank)
		host.Down()
		return host
	}
	return s, down
}

func TestAMachineWhoseHostComesBackWithoutItsListIsNotReplaced(t *testing.T) {
	t.Parallel()
	s, down := newBlankSite(t)
	cluster, _ := s.provisionedCluster()
	machine, m := s.provisionedMachine(cluster)
	s.joined(machine)
	_, other := s.provisionedMachine(cluster)
	awaitCondition(s, m, infrav1.ReadyCondition, infrav1.ReadyReason)
	awaitCondition(s, other, infrav1.ReadyCondition, infrav1.ReadyReason)
	uid, another := m.Status.VMUID, other.Status.VMUID

	host := down(m)
	awaitCondition(s, m, infrav1.VMProvisionedCondition, infrav1.HostUnreachableReason)
	must(0, host.Up())
	for _, m := range []*infrav1.ElementoMachine{m, other} {
		awaitCondition(s, m, infrav1.ReadyCondition, infrav1.ReadyReason)
	}
	if m.Status.VMUID != uid || other.Status.VMUID != another {
		t.Errorf("VMs are %s and %s, want %s and %s", m.Status.VMUID, other.Status.VMUID, uid, another)
	}
	must(0, s.Get(s.ctx(), client.ObjectKeyFromObject(machine), machine))
	if _, asked := machine.Annotations[clusterv1.RemediateMachineAnnotation]; asked {
		t.Error("Cluster API was asked to replace the Machine")
	}
	told := &eventsv1.EventList{}
	must(0, s.List(s.ctx(), told, client.InNamespace(s.namespace)))
	for _, e := range told.Items {
		if e.Reason == infrav1.VMLostReason || e.Reason == infrav1.RecreatingReason {
			t.Errorf("there is an event %s: %s", e.Reason, e.Note)
		}
	}
}

func TestACleanupTakesAwayWhatAHostDidNotListWhenItCameBack(t *testing.T) {
	t.Parallel()
	s, down := newBlankSite(t)
	s.stopManager()
	s.grace = time.Second
	s.startManager()
	cluster, infra := s.provisionedCluster()
	_, m := s.provisionedMachine(cluster)
	awaitCondition(s, m, infrav1.ReadyCondition, infrav1.ReadyReason)

	host := down(m)
	s.remove(m)
	left := &infrav1.ElementoCleanupList{}
	must(0, s.List(s.ctx(), left, client.InNamespace(s.namespace)))
	if len(left.Items) != 1 {
		t.Fatalf("there are %d cleanups, want 1", len(left.Items))
	}
	must(0, host.Up())
	s.awaitGone(&left.Items[0])
	if vms := s.vms(); len(vms) > 0 {
		t.Errorf("there is still %v", vms)
	}
	s.remove(infra)
	s.wantNothingLeft()
}
