package controllers_test

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
)

func TestWhatHasAnotherWatchLabelIsLeftToTheManagerThatHasIt(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"rack-1": 1})
	s.stopManager()
	s.watchFilter = "ours"
	s.startManager()

	s.watchLabel = "theirs"
	theirCluster, theirInfra := s.cluster()
	editStatus(s, theirCluster, func(c *clusterv1.Cluster) { c.Status.Initialization.InfrastructureProvisioned = new(true) })
	_, theirs := s.machine(theirCluster, func(_ *clusterv1.Machine, m *infrav1.ElementoMachine) {
		m.Spec.Host, m.Spec.Domain, m.Spec.VMName = "host-1", "rack-1", "theirs"
	})
	cleanup := &infrav1.ElementoCleanup{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "theirs"},
		Spec: infrav1.ElementoCleanupSpec{
			IdentityRef: infrav1.IdentityReference{Name: "elemento-identity"}, ClientUID: s.clientUID,
			Host: "host-1", Domain: "rack-1", VMName: "theirs-before", Owner: infrav1.CleanupOwner{Kind: "ElementoMachine", Name: "before"},
		},
	}
	s.create(cleanup)

	// Both have machines on the host, whose streams tell of it.
	s.watchLabel = "ours"
	cluster, _ := s.provisionedCluster()
	_, ours := s.provisionedMachine(cluster)
	host := must(s.fake.Host("host-1"))
	for range 2 {
		host.SetMaintenance(true)
		awaitCondition(s, ours, infrav1.HostAvailableCondition, infrav1.HostInMaintenanceReason)
		host.SetMaintenance(false)
		awaitCondition(s, ours, infrav1.HostAvailableCondition, infrav1.AvailableReason)
	}
	for _, object := range []conditioned{theirs, theirInfra, cleanup} {
		if err := s.Get(s.ctx(), client.ObjectKeyFromObject(object), object); err != nil {
			t.Error(err)
		} else if len(object.GetConditions()) > 0 || len(object.GetFinalizers()) > 0 {
			t.Errorf("another manager's object was worked on: %s", describe(object))
		}
	}
}
