package controllers_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	clusterctlv1 "sigs.k8s.io/cluster-api/cmd/clusterctl/api/v1alpha3"
	"sigs.k8s.io/cluster-api/util/conditions"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemento.cloud/cluster-api-provider-elemento/daemon"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos"
	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
	"elemento.cloud/cluster-api-provider-elemento/provider/controllers"
)

// impatientSite is a site whose manager waits a moment only for silent hosts.
func impatientSite(t *testing.T, domains hosts) *site {
	t.Helper()
	s := newSite(t, domains)
	s.stopManager()
	s.grace = 2 * time.Second
	s.startManager()
	return s
}

// host is one of the fake's.
func (s *site) host(name string) *fakeatomos.Host {
	s.t.Helper()
	return must(s.fake.Host(name))
}

// cleanups are those of the site.
func (s *site) cleanups() []infrav1.ElementoCleanup {
	s.t.Helper()
	list := &infrav1.ElementoCleanupList{}
	must(0, s.List(s.ctx(), list, client.InNamespace(s.namespace)))
	return list.Items
}

// paused keeps a cleanup from being worked off.
func paused(c *infrav1.ElementoCleanup) {
	c.Annotations = map[string]string{clusterv1.PausedAnnotation: ""}
}

// awaitNoCleanups waits until all are worked off.
func (s *site) awaitNoCleanups() {
	s.t.Helper()
	s.await("no cleanup is left", func() bool { return len(s.cleanups()) == 0 }, func() (text string) {
		for _, c := range s.cleanups() {
			text += describe(&c) + "\n"
		}
		return text
	})
}

// cleanup makes one by hand; edit may change it before.
func (s *site) cleanup(spec infrav1.ElementoCleanupSpec, edits ...func(*infrav1.ElementoCleanup)) *infrav1.ElementoCleanup {
	s.t.Helper()
	spec.IdentityRef.Name, spec.ClientUID = "elemento-identity", s.clientUID
	spec.Owner = infrav1.CleanupOwner{Kind: "ElementoMachine", Name: "somebody"}
	c := &infrav1.ElementoCleanup{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "by-hand-" + uuid.NewString()[:6]}, Spec: spec}
	for _, e := range edits {
		e(c)
	}
	s.create(c)
	return c
}

func TestAMachineWhoseHostIsDownGoesAndItsVMGoesWhenTheHostIsBack(t *testing.T) {
	t.Parallel()
	s := impatientSite(t, hosts{"d1": 2})
	cluster, infra := s.provisionedCluster()
	_, m := s.provisionedMachine(cluster)
	if m.Spec.Host == infra.Spec.EndpointHost {
		t.Log("the forward's host is the one that goes down")
	}
	host := s.host(m.Spec.Host)
	host.Down()
	awaitCondition(s, m, infrav1.HostAvailableCondition, infrav1.HostUnreachableReason)
	name := m.Spec.VMName
	s.remove(m)
	s.awaitEvent(m, "LeftBehind")

	all := s.cleanups()
	if len(all) != 1 {
		t.Fatalf("there are %d cleanups, want one", len(all))
	}
	c := &all[0]
	if c.Spec.VMName != name || c.Spec.Host != host.Name() || c.Spec.ClientUID != s.clientUID || c.Spec.Domain != "d1" ||
		c.Spec.Owner.Name != m.Name || c.Spec.Owner.ClusterName != cluster.Name || len(c.OwnerReferences) > 0 {
		t.Errorf("cleanup is %+v", c)
	}
	awaitCondition(s, c, infrav1.ReadyCondition, infrav1.HostUnreachableReason)
	s.await("the cleanup is counted", func() bool {
		return s.gauge("elemento_cleanups") == 1 && s.gauge("elemento_oldest_cleanup_age_seconds") > 0
	}, func() string { return "" })
	s.wantIdentityHeld(true)

	must(0, host.Up())
	s.awaitGone(c)
	s.awaitEvent(c, "CleanedUp")
	s.await("no cleanup is counted", func() bool {
		return s.gauge("elemento_cleanups") == 0 && s.gauge("elemento_oldest_cleanup_age_seconds") == 0
	}, func() string { return "" })
	s.wantIdentityHeld(false)
	s.remove(infra)
	s.wantNothingLeft()
}

// wantIdentityHeld fails the test if the identity is not kept for cleanups, or is
// without any.
func (s *site) wantIdentityHeld(held bool) {
	s.t.Helper()
	secret := &corev1.Secret{}
	must(0, s.Get(s.ctx(), client.ObjectKey{Namespace: s.namespace, Name: "elemento-identity"}, secret))
	_, moves := secret.Labels[clusterctlv1.ClusterctlMoveLabel]
	if kept := slices.Contains(secret.Finalizers, infrav1.IdentityFinalizer); kept != held || moves != held {
		s.t.Errorf("the identity is kept: %v, and moves: %v; want %v", kept, moves, held)
	}
}

func TestAMachineIsKeptForItsSilentHostUntilTheGraceIsOver(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 1})
	cluster, _ := s.provisionedCluster()
	_, m := s.provisionedMachine(cluster)
	s.host(m.Spec.Host).Down()
	awaitCondition(s, m, infrav1.HostAvailableCondition, infrav1.HostUnreachableReason)
	since := conditions.GetLastTransitionTime(m, infrav1.HostAvailableCondition)
	must(0, s.Delete(s.ctx(), m))
	awaitCondition(s, m, infrav1.DeletingCondition, infrav1.WaitingForHostDeletionReason)
	if len(s.cleanups()) > 0 {
		t.Error("a cleanup was made before the grace was over")
	}

	// Another manager counts from the same moment.
	s.stopManager()
	s.grace = 2 * time.Second
	s.startManager()
	s.awaitGone(m)
	if took := time.Since(since.Time); took < s.grace {
		t.Errorf("it went %s after its host, within the grace of %s", took, s.grace)
	}
	if len(s.cleanups()) != 1 {
		t.Errorf("there are %d cleanups, want one", len(s.cleanups()))
	}
}

func TestADeletedMachineOnAHostThatNoDaemonKnowsAnyMoreGoes(t *testing.T) {
	t.Parallel()
	s := impatientSite(t, hosts{"d1": 2})
	cluster, infra := s.provisionedCluster()
	_, m := s.provisionedMachine(cluster)
	all := s.config.Hosts
	for _, d := range s.daemons {
		d.stop()
	}
	s.config.Hosts = slices.DeleteFunc(slices.Clone(all), func(h daemon.Host) bool { return h.ID == m.Spec.Host })
	s.daemons = []*running{s.daemon(), s.daemon()}
	s.renewIdentity()
	awaitCondition(s, m, infrav1.HostAvailableCondition, infrav1.HostUnknownReason)
	s.remove(m)
	if len(s.cleanups()) != 1 {
		t.Fatalf("there are %d cleanups, want one", len(s.cleanups()))
	}

	for _, d := range s.daemons {
		d.stop()
	}
	s.config.Hosts = all
	s.daemons = []*running{s.daemon(), s.daemon()}
	s.renewIdentity()
	s.awaitNoCleanups()
	s.remove(infra)
	s.wantNothingLeft()
}

// renewIdentity has the manager learn of other daemons.
func (s *site) renewIdentity() {
	s.t.Helper()
	s.stopManager()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "elemento-identity"}}
	edit(s, secret, func(secret *corev1.Secret) { secret.Data = s.identity("elemento-identity").Data })
	s.startManager()
}

func TestAClusterOnHostsThatAreDownGoesAndWhatItHasGoesWhenTheyAreBack(t *testing.T) {
	t.Parallel()
	s := impatientSite(t, hosts{"d1": 2})
	cluster, infra := s.provisionedCluster()
	machine, m := s.provisionedMachine(cluster, controlPlane)
	s.joined(machine)
	awaitCondition(s, infra, infrav1.ReadyCondition, infrav1.ReadyReason)
	for _, h := range s.fake.Hosts() {
		h.Down()
	}
	s.remove(m)
	s.remove(infra)
	s.awaitEvent(infra, "LeftBehind")
	var forwards, networks, vms int
	for _, c := range s.cleanups() {
		switch {
		case c.Spec.ForwardPort != 0:
			forwards++
		case c.Spec.NetworkName != "":
			networks++
		default:
			vms++
		}
	}
	if forwards != 1 || networks != 2 || vms != 1 {
		t.Errorf("cleanups are about %d forwards, %d networks and %d VMs, want 1, 2 and 1", forwards, networks, vms)
	}

	for _, h := range s.fake.Hosts() {
		must(0, h.Up())
	}
	s.awaitNoCleanups()
	s.wantNothingLeft()
}

func TestAMachineWhoseVMWasNeverSeenOnASilentHostIsPlacedOnAnother(t *testing.T) {
	t.Parallel()
	s := impatientSite(t, hosts{"d1": 2})
	cluster, infra := s.provisionedCluster()
	m, first := s.unseenVM(cluster)
	first.Isolate() // the VM runs on

	s.awaitProvisioned(m)
	s.awaitEvent(m, "HostChanged")
	if m.Spec.Host == first.Name() {
		t.Fatalf("it is provisioned on %s, which does not answer", m.Spec.Host)
	}
	if all := s.cleanups(); len(all) != 1 || all[0].Spec.Host != first.Name() || all[0].Spec.VMName != m.Spec.VMName {
		t.Fatalf("cleanups are %+v, want one for the first host", all)
	}
	must(0, first.Reconnect())
	s.awaitNoCleanups()
	if vms := s.vms()[m.Spec.VMName]; len(vms) != 1 || vms[0].UID != m.Status.VMUID {
		t.Errorf("AtomOS has %+v, want the VM on %s alone", vms, m.Spec.Host)
	}
	s.remove(m)
	s.remove(infra)
	s.wantNothingLeft()
}

func TestAMachineWithoutAnotherHostWaitsForTheSilentOne(t *testing.T) {
	t.Parallel()
	s := impatientSite(t, hosts{"d1": 1})
	cluster, _ := s.provisionedCluster()
	m, host := s.unseenVM(cluster)
	host.Isolate()
	eventually(s, m, "it says that there is no other host", func() bool {
		c := conditions.Get(m, infrav1.VMProvisionedCondition)
		return c != nil && strings.Contains(c.Message, "there is no other")
	})
	if all := s.cleanups(); len(all) > 0 {
		t.Errorf("cleanups are %+v", all)
	}
	must(0, host.Reconnect())
	s.awaitProvisioned(m)
	if vms := s.vms()[m.Spec.VMName]; len(vms) != 1 {
		t.Errorf("AtomOS has %+v", vms)
	}
}

// unseenVM makes a machine whose VM is made without anybody learning of it, and
// returns it with its host.
func (s *site) unseenVM(cluster *clusterv1.Cluster) (*infrav1.ElementoMachine, *fakeatomos.Host) {
	s.t.Helper()
	slow := s.fault(fakeatomos.Fault{Call: "POST matcher/register", Effect: fakeatomos.DelayBefore, Delay: time.Second, Times: 1})
	s.fault(fakeatomos.Fault{Call: "POST matcher/register", Effect: fakeatomos.LoseReply, Times: 1})
	_, m := s.machine(cluster)
	s.await("the VM is being made", func() bool {
		return !slices.ContainsFunc(s.fake.Faults(), func(f fakeatomos.Fault) bool { return f.ID == slow })
	}, func() string { return describe(m) })
	hidden := s.fault(fakeatomos.Fault{Call: "GET matcher/running", Effect: fakeatomos.Refuse, Status: 500})
	s.await("the VM is made", func() bool { return len(s.vms()) > 0 }, func() string { return describe(m) })
	must(0, s.Get(s.ctx(), client.ObjectKeyFromObject(m), m))
	host := s.host(m.Spec.Host)
	host.Isolate()
	s.fake.RemoveFaults(hidden)
	if m.Status.VMUID != "" {
		s.t.Fatalf("the VM was seen: %+v", m.Status)
	}
	return m, host
}

func TestAMachineIsNotPlacedWhereACleanupOfItsNameWaits(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 2})
	cluster, _ := s.provisionedCluster()
	for here, there := range map[string]string{"host-1": "host-2", "host-2": "host-1"} { // chance cannot do both
		_, m := s.machine(cluster, func(_ *clusterv1.Machine, m *infrav1.ElementoMachine) {
			m.Spec.VMName = "vm-" + uuid.NewString()[:6]
			s.cleanup(infrav1.ElementoCleanupSpec{Host: here, VMName: m.Spec.VMName}, paused)
		})
		s.awaitProvisioned(m)
		if m.Spec.Host != there {
			t.Errorf("machine %s is on %s, where a cleanup of its name waits", m.Name, m.Spec.Host)
		}
	}
}

func TestACleanupSparesTheVMOfAMachineThatLives(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 2})
	cluster, infra := s.provisionedCluster()
	_, m := s.provisionedMachine(cluster)
	there := s.cleanup(infrav1.ElementoCleanupSpec{Host: m.Spec.Host, VMName: m.Spec.VMName})
	other := map[string]string{"host-1": "host-2", "host-2": "host-1"}[m.Spec.Host]
	elsewhere := s.cleanup(infrav1.ElementoCleanupSpec{Host: other, VMName: m.Spec.VMName})
	s.awaitGone(elsewhere) // nothing is there, and it is no one's
	awaitCondition(s, there, infrav1.ReadyCondition, infrav1.OwnerLivesReason)
	s.awaitEvent(there, infrav1.OwnerLivesReason)
	if vms := s.vms()[m.Spec.VMName]; len(vms) != 1 || vms[0].UID != m.Status.VMUID {
		t.Errorf("AtomOS has %+v", vms)
	}

	s.remove(m)
	gone := time.Now()
	s.awaitGone(there)
	if took := time.Since(gone); took > 10*time.Second {
		t.Errorf("the cleanup ended %s after its machine", took)
	}
	s.remove(infra)
	s.wantNothingLeft()
}

func TestACleanupSparesTheForwardAndNetworkOfAClusterThatLives(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 1})
	cluster, infra := s.provisionedCluster()
	_, m := s.provisionedMachine(cluster, controlPlane)
	awaitCondition(s, infra, infrav1.ReadyCondition, infrav1.ReadyReason)
	var waiting []*infrav1.ElementoCleanup
	for _, spec := range []infrav1.ElementoCleanupSpec{
		{Host: infra.Spec.EndpointHost, ForwardPort: infra.Spec.ControlPlaneEndpoint.Port},
		{Host: "host-1", NetworkName: infra.Spec.Network.Name},
	} {
		c := s.cleanup(spec)
		awaitCondition(s, c, infrav1.ReadyCondition, infrav1.OwnerLivesReason)
		waiting = append(waiting, c)
	}
	if s.forwardTarget() == "" || len(s.fake.Inventory().Hosts[0].Networks) == 0 {
		t.Errorf("AtomOS has %v", s.fake.Inventory().Resources())
	}

	s.remove(m)
	s.remove(infra)
	gone := time.Now()
	for _, c := range waiting {
		s.awaitGone(c)
	}
	if took := time.Since(gone); took > 10*time.Second {
		t.Errorf("the cleanups ended %s after their cluster", took)
	}
}

func TestACleanupRemovesNothingForAnotherClient(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 1})
	cluster, _ := s.provisionedCluster()
	_, m := s.provisionedMachine(cluster)
	c := s.cleanup(infrav1.ElementoCleanupSpec{Host: "host-1", VMName: "vm-of-another"}, func(c *infrav1.ElementoCleanup) {
		c.Spec.ClientUID = uuid.NewString()
	})
	condition := awaitCondition(s, c, infrav1.ReadyCondition, infrav1.ClientChangedReason)
	if !strings.Contains(condition.Message, s.clientUID) || !strings.Contains(condition.Message, c.Spec.ClientUID) {
		t.Errorf("message is %q", condition.Message)
	}
	s.awaitEvent(c, infrav1.ClientChangedReason)
	if len(s.vms()[m.Spec.VMName]) != 1 {
		t.Error("a VM is gone")
	}
}

func TestAPausedCleanupIsLeftAloneUntilItIsNot(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 1})
	c := s.cleanup(infrav1.ElementoCleanupSpec{Host: "host-1", VMName: "vm-paused"}, paused)
	awaitCondition(s, c, infrav1.PausedCondition, clusterv1.PausedReason)
	s.wantIdentityHeld(false)
	edit(s, c, func(c *infrav1.ElementoCleanup) { c.Annotations = nil })
	s.awaitGone(c)
}

func TestACleanupThatSomebodyDeletesIsWorkedOffFirst(t *testing.T) {
	t.Parallel()
	s := impatientSite(t, hosts{"d1": 2})
	cluster, infra := s.provisionedCluster()
	_, m := s.provisionedMachine(cluster)
	host := s.host(m.Spec.Host)
	host.Down()
	s.remove(m)
	c := &s.cleanups()[0]
	must(0, s.Delete(s.ctx(), c))
	must(0, s.Delete(s.ctx(), s.identity("elemento-identity")))
	must(0, s.Get(s.ctx(), client.ObjectKeyFromObject(c), c))
	must(0, host.Up())
	s.awaitGone(c)
	s.await("the identity that was kept for it is gone", func() bool {
		secret := s.identity("elemento-identity")
		return apierrors.IsNotFound(s.Get(s.ctx(), client.ObjectKeyFromObject(secret), secret))
	}, func() string { return "" })
	s.create(s.identity("elemento-identity"))
	s.remove(infra)
	s.wantNothingLeft()
}

func TestACleanupThatClusterctlHasMovedIsLeftToTheOtherCluster(t *testing.T) {
	t.Parallel()
	s := impatientSite(t, hosts{"d1": 1})
	s.host("host-1").Down()
	c := s.cleanup(infrav1.ElementoCleanupSpec{Host: "host-1", VMName: "vm-moved"})
	awaitCondition(s, c, infrav1.ReadyCondition, infrav1.HostUnreachableReason)
	secret := s.identity("elemento-identity")
	// As clusterctl does, object by object.
	for _, o := range []client.Object{c, secret} {
		must(0, s.Patch(s.ctx(), o, client.RawPatch("application/merge-patch+json",
			[]byte(`{"metadata":{"annotations":{"`+clusterctlv1.DeleteForMoveAnnotation+`":""}}}`))))
		must(0, s.Patch(s.ctx(), o, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"finalizers":[]}}`))))
	}
	must(0, s.host("host-1").Up())
	for _, o := range []client.Object{secret, c} {
		must(0, s.Delete(s.ctx(), o))
		s.awaitGone(o)
	}
}

func TestTwoRecordsOfTheSameAreOne(t *testing.T) {
	t.Parallel()
	s := impatientSite(t, hosts{"d1": 1})
	cluster, _ := s.provisionedCluster()
	_, m := s.provisionedMachine(cluster)
	s.host(m.Spec.Host).Down()
	// The first release is refused, so that the step is taken again.
	edit(s, m, func(m *infrav1.ElementoMachine) { m.Finalizers = append(m.Finalizers, "example.com/another") })
	must(0, s.Delete(s.ctx(), m))
	s.await("the record is made", func() bool { return len(s.cleanups()) == 1 }, func() string { return describe(m) })
	eventually(s, m, "the machine is released", func() bool { return !slices.Contains(m.Finalizers, infrav1.MachineFinalizer) })
	edit(s, m, func(m *infrav1.ElementoMachine) {
		m.Annotations = map[string]string{infrav1.ReconcileRequestedAnnotation: "again"}
	})
	for end := time.Now().Add(time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if n := len(s.cleanups()); n != 1 {
			t.Fatalf("there are %d cleanups, want one", n)
		}
	}
	edit(s, m, func(m *infrav1.ElementoMachine) { m.Finalizers = nil })
	s.awaitGone(m)
}

func TestAClockThatWentBackDoesNotProlongTheGrace(t *testing.T) {
	t.Parallel()
	s := impatientSite(t, hosts{"d1": 1})
	cluster, infra := s.provisionedCluster()
	_, m := s.provisionedMachine(cluster)
	s.host(m.Spec.Host).Isolate()
	awaitCondition(s, m, infrav1.HostAvailableCondition, infrav1.HostUnreachableReason)
	awaitCondition(s, infra, infrav1.HostsAvailableCondition, infrav1.HostUnreachableReason)
	s.stopManager()
	ahead := metav1.NewTime(time.Now().Add(time.Hour))
	editStatus(s, m, func(m *infrav1.ElementoMachine) {
		conditions.Get(m, infrav1.HostAvailableCondition).LastTransitionTime = ahead
	})
	editStatus(s, infra, func(c *infrav1.ElementoCluster) {
		conditions.Get(c, infrav1.HostsAvailableCondition).LastTransitionTime = ahead
	})
	s.startManager()
	s.remove(m)
	s.remove(infra)
}

func TestAManagerWithAnOldCacheKeepsNoIdentityForACleanupThatIsDone(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 1})
	s.stopManager()
	done := &infrav1.ElementoCleanup{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "done", Finalizers: []string{infrav1.CleanupFinalizer}},
		Spec: infrav1.ElementoCleanupSpec{
			IdentityRef: infrav1.IdentityReference{Name: "elemento-identity"}, ClientUID: s.clientUID,
			Host: "host-1", Domain: "d1", NetworkName: "left", Owner: infrav1.CleanupOwner{Kind: "ElementoCluster", Name: "before"},
		},
	}
	s.create(done)
	must(0, s.Delete(s.ctx(), done)) // it is worked off all the same

	f, cached, key := s.newFleet(), &infrav1.ElementoCleanup{}, client.ObjectKeyFromObject(done)
	r := &controllers.CleanupReconciler{
		Client: oldCleanup{s.Client, cached}, Live: s.Client, Fleet: f, Identities: &controllers.Identities{Secrets: s.Client, Fleet: f},
		Cleanups: &controllers.Cleanups{Client: s.Client, Live: s.Client}, Events: events.NewFakeRecorder(100),
	}
	s.await("the cleanup is done", func() bool {
		if err := s.Get(s.ctx(), key, cached); apierrors.IsNotFound(err) {
			return true
		}
		cached.DeepCopyInto(done)
		must(r.Reconcile(s.ctx(), ctrl.Request{NamespacedName: key}))
		return false
	}, func() string { return describe(done) })

	done.DeepCopyInto(cached) // as it was last, with our finalizer
	must(s.fake.Host("host-1")).Down()
	if result := must(r.Reconcile(s.ctx(), ctrl.Request{NamespacedName: key})); !result.IsZero() {
		t.Errorf("it comes back: %+v", result)
	}
	identity := &corev1.Secret{}
	must(0, s.Get(s.ctx(), client.ObjectKey{Namespace: s.namespace, Name: "elemento-identity"}, identity))
	if len(identity.Finalizers) > 0 || len(identity.Labels) > 0 {
		t.Errorf("nobody will let the identity go: it has the finalizers %v and the labels %v", identity.Finalizers, identity.Labels)
	}
	if users := f.Users(s.clientUID); len(users) > 0 {
		t.Errorf("the fleet acts for %v", users)
	}
}

// oldCleanup is a client to which one cleanup's changes have not come yet.
type oldCleanup struct {
	client.Client
	cleanup *infrav1.ElementoCleanup
}

func (c oldCleanup) Get(ctx context.Context, key client.ObjectKey, object client.Object, options ...client.GetOption) error {
	if cleanup, ok := object.(*infrav1.ElementoCleanup); ok {
		c.cleanup.DeepCopyInto(cleanup)
		return nil
	}
	return c.Client.Get(ctx, key, object, options...)
}
