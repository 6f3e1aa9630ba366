package controllers_test

import (
	"context"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/cluster-api/util/conditions"
	"sigs.k8s.io/controller-runtime/pkg/client"

	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
)

// elsewhere is another management cluster that acts for the same client: neither
// knows of the other's objects.
func (s *site) elsewhere() *site {
	s.t.Helper()
	other := &site{
		t: s.t, fake: s.fake, authority: s.authority, config: s.config, daemons: s.daemons,
		Client: s.Client, clientUID: s.clientUID, grace: s.grace,
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "site-"}}
	other.create(namespace)
	other.namespace = namespace.Name
	other.create(other.identity("elemento-identity"))
	other.startManager()
	return other
}

func TestTwoManagementClustersOfAClientReserveEndpointsOfTheirOwn(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 1})
	other := s.elsewhere()
	_, a := s.provisionedCluster()
	_, b := other.provisionedCluster()
	if a.Spec.ControlPlaneEndpoint == b.Spec.ControlPlaneEndpoint {
		t.Errorf("both have %v", a.Spec.ControlPlaneEndpoint)
	}
}

// Daemons that do not share their memory may propose the same.
func TestAForwardIsNotTakenFromAnotherManagementCluster(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 1})
	other := s.elsewhere()
	winners, winner := s.provisionedCluster()
	losers, loser := other.provisionedCluster(func(c *infrav1.ElementoCluster) {
		c.Spec.EndpointHost, c.Spec.ControlPlaneEndpoint = winner.Spec.EndpointHost, winner.Spec.ControlPlaneEndpoint
	})
	_, first := s.provisionedMachine(winners, controlPlane)
	awaitCondition(s, winner, infrav1.EndpointReadyCondition, infrav1.ProvisionedReason)
	target := func() string {
		for _, host := range s.fake.Inventory().Hosts {
			for _, forward := range host.Forwards {
				for _, vm := range host.VMs {
					if vm.UID == forward.TargetVMUID {
						return vm.Name
					}
				}
			}
		}
		return ""
	}
	losersMachine, last := other.provisionedMachine(losers, controlPlane)
	c := awaitCondition(other, loser, infrav1.EndpointReadyCondition, infrav1.InUseReason)
	if !strings.Contains(c.Message, first.Spec.VMName) || !strings.Contains(c.Message, "another management cluster") || !strings.Contains(c.Message, "anew") {
		t.Errorf("it says %q", c.Message)
	}
	if vm := target(); vm != first.Spec.VMName {
		t.Errorf("the forward leads to %q, want %s", vm, first.Spec.VMName)
	}
	other.remove(last)
	other.remove(losersMachine)
	other.remove(loser)
	if vm := target(); vm != first.Spec.VMName {
		t.Errorf("after the loser's deletion the forward leads to %q, want %s", vm, first.Spec.VMName)
	}
	must(0, s.Get(context.WithoutCancel(t.Context()), client.ObjectKeyFromObject(winner), winner))
	if !conditions.IsTrue(winner, infrav1.EndpointReadyCondition) {
		t.Error(describe(winner))
	}
	// The winner's own control planes have it in turn, and it goes with the winner.
	_, second := s.provisionedMachine(winners, controlPlane)
	s.remove(first)
	eventually(s, winner, "the forward leads to the winner's other VM", func() bool { return target() == second.Spec.VMName })
	s.remove(second)
	s.remove(winner)
	s.wantNothingLeft()
}
