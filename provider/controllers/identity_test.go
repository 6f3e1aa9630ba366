package controllers_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/cluster-api/util/conditions"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
	"elemento.cloud/cluster-api-provider-elemento/provider/controllers"
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

func TestAnIdentityThatIsMissingIsNotReadForEachMachine(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 1})
	secrets := &countedReads{Reader: s.Client}
	identities := &controllers.Identities{Secrets: secrets, Fleet: s.newFleet()}
	infra := func(identity string) *infrav1.ElementoCluster {
		_, c := s.cluster(func(c *infrav1.ElementoCluster) { c.Spec.IdentityRef.Name = identity })
		must(0, s.Get(s.ctx(), client.ObjectKeyFromObject(c), c))
		return c
	}
	late := infra("late-elemento-identity")
	broken := s.identity("broken-elemento-identity")
	delete(broken.Data, fleet.KeyClientUID)
	s.create(broken)
	bad := infra(broken.Name)
	for _, c := range []*infrav1.ElementoCluster{late, bad} {
		editStatus(s, s.clusterOf(c), func(c *clusterv1.Cluster) { c.Status.Initialization.InfrastructureProvisioned = new(true) })
	}
	s.stopManager()
	r := &controllers.MachineReconciler{
		Client: s.Client, Live: s.Client, Fleet: s.newFleet(), Identities: identities, Events: events.NewFakeRecorder(1000),
	}
	var machines []*infrav1.ElementoMachine
	for range 10 {
		for _, c := range []*infrav1.ElementoCluster{late, bad} {
			_, m := s.machine(s.clusterOf(c))
			machines = append(machines, m)
		}
	}
	began := time.Now()
	for range 3 {
		for _, m := range machines {
			must(r.Reconcile(s.ctx(), ctrl.Request{NamespacedName: client.ObjectKeyFromObject(m)}))
		}
	}
	rounds := int(time.Since(began)/(5*time.Second)) + 1 // each is remembered for 5 s
	if secrets.reads > 2*rounds {
		t.Errorf("two Secrets were read %d times by %d machines within %s", secrets.reads, len(machines), time.Since(began))
	}
	for _, m := range machines {
		must(0, s.Get(s.ctx(), client.ObjectKeyFromObject(m), m))
		if c := conditions.Get(m, infrav1.IdentityAvailableCondition); c == nil || c.Status != metav1.ConditionFalse {
			t.Errorf("%s does not say what is wrong", describe(m))
		}
	}

	s.startManager()
	s.create(s.identity("late-elemento-identity"))
	eventually(s, late, "the cluster is provisioned", func() bool { return late.Status.Initialization.Provisioned != nil })
	s.awaitProvisioned(machines[0])
}

// countedReads counts the Secrets that are read.
type countedReads struct {
	client.Reader
	reads int
}

func (r *countedReads) Get(ctx context.Context, key client.ObjectKey, object client.Object, options ...client.GetOption) error {
	r.reads++
	return r.Reader.Get(ctx, key, object, options...)
}

// clusterOf is the Cluster of an ElementoCluster.
func (s *site) clusterOf(infra *infrav1.ElementoCluster) *clusterv1.Cluster {
	s.t.Helper()
	cluster := &clusterv1.Cluster{}
	must(0, s.Get(s.ctx(), client.ObjectKeyFromObject(infra), cluster))
	return cluster
}
