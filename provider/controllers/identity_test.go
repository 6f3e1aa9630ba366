package controllers_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/cluster-api/util/conditions"
	"sigs.k8s.io/controller-runtime/pkg/client"

	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
	"elemento.cloud/cluster-api-provider-elemento/provider/fleet"
)

func TestTheIdentityIsLetGoHoweverManyCleanupsEndAtOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 1})
	host := s.host("host-1")
	host.Isolate()
	var cleanups []*infrav1.ElementoCleanup
	for n := range 10 {
		cleanups = append(cleanups, s.cleanup(infrav1.ElementoCleanupSpec{Host: "host-1", VMName: fmt.Sprintf("vm-%d", n)}))
	}
	for _, c := range cleanups {
		awaitCondition(s, c, infrav1.ReadyCondition, infrav1.HostUnreachableReason)
	}
	s.wantIdentityHeld(true)
	must(0, host.Reconnect())
	s.awaitNoCleanups()
	s.wantIdentityHeld(false)
}

func TestAnIdentityThatActsForAnotherClientForgetsNothingAndMakesNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 1})
	other := uuid.NewString()
	s.config.Clients[0].ClientUIDs = append(s.config.Clients[0].ClientUIDs, other)
	for _, d := range s.daemons {
		d.stop()
	}
	s.daemons = []*running{s.daemon(), s.daemon()}
	s.identityAge = time.Millisecond
	s.renewIdentity()
	cluster, infra := s.provisionedCluster()
	_, m := s.provisionedMachine(cluster)
	_, doomed := s.provisionedMachine(cluster)
	awaitCondition(s, m, infrav1.ReadyCondition, infrav1.ReadyReason)

	identity := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "elemento-identity"}}
	edit(s, identity, func(i *corev1.Secret) { i.Data[fleet.KeyClientUID] = []byte(other) })
	must(0, s.Delete(s.ctx(), doomed))
	awaitCondition(s, doomed, infrav1.DeletingCondition, infrav1.ClientChangedReason)
	edit(s, m, func(m *infrav1.ElementoMachine) {
		m.Annotations = map[string]string{infrav1.ReconcileRequestedAnnotation: "now"}
	})
	awaitCondition(s, m, infrav1.ReadyCondition, infrav1.ClientChangedReason)
	edit(s, infra, func(c *infrav1.ElementoCluster) { c.Labels["look"] = "again" })
	awaitCondition(s, infra, infrav1.ReadyCondition, infrav1.ClientChangedReason)
	if vms := s.vms(); len(vms) != 2 {
		t.Errorf("AtomOS has %+v, want both VMs", vms)
	}
	for _, host := range s.fake.Inventory().Hosts {
		for _, vm := range host.VMs {
			if vm.Owner == other {
				t.Errorf("VM %s was made for the other client", vm.Name)
			}
		}
	}

	edit(s, identity, func(i *corev1.Secret) { i.Data[fleet.KeyClientUID] = []byte(s.clientUID) })
	s.awaitGone(doomed)
	eventually(s, m, "the machine is ready again", func() bool { return conditions.IsTrue(m, infrav1.ReadyCondition) })
	s.remove(m)
	s.remove(infra)
	s.wantNothingLeft()
}

func TestTheIdentityThatARecordNamesIsKeptAndNoOther(t *testing.T) {
	t.Parallel()
	s := impatientSite(t, hosts{"d1": 1})
	cluster, infra := s.provisionedCluster()
	_, m := s.provisionedMachine(cluster)
	s.host(m.Spec.Host).Isolate()
	// The record is asked for again, and the cluster has another identity then.
	edit(s, m, func(m *infrav1.ElementoMachine) { m.Finalizers = append(m.Finalizers, "example.com/another") })
	must(0, s.Delete(s.ctx(), m))
	eventually(s, m, "the machine is released", func() bool { return !slices.Contains(m.Finalizers, infrav1.MachineFinalizer) })
	another := s.identity("another-elemento-identity")
	s.create(another)
	tellings := func() int { return s.logs.count("ElementoCleanup " + s.cleanups()[0].Name + " takes over") }
	s.await("the record is told of", func() bool { return tellings() > 0 }, func() string { return describe(m) })
	edit(s, infra, func(c *infrav1.ElementoCluster) { c.Spec.IdentityRef.Name = another.Name })
	told := tellings()
	s.stopManager() // what it let go it does not work on again; its successor does
	s.startManager()
	s.await("the record is asked for again", func() bool { return tellings() > told }, func() string { return describe(m) })
	s.wantIdentityHeld(true)
	must(0, s.Get(s.ctx(), client.ObjectKeyFromObject(another), another))
	if len(another.Finalizers) > 0 {
		t.Errorf("an identity that no record names is kept: %v", another.Finalizers)
	}
	edit(s, m, func(m *infrav1.ElementoMachine) { m.Finalizers = nil })
	s.awaitGone(m)
}
