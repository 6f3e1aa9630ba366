package controllers_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/cluster-api/util/conditions"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemento.cloud/cluster-api-provider-elemento/daemon/rpc"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos/guest"
	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
	"elemento.cloud/cluster-api-provider-elemento/provider/controllers"
	"elemento.cloud/cluster-api-provider-elemento/provider/fleet"
)

func TestAMachineBecomesAVMAndIsGoneWithoutATrace(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 1})
	cluster, infra := s.provisionedCluster()
	machine, m := s.provisionedMachine(cluster)
	awaitCondition(s, m, infrav1.ReadyCondition, infrav1.ReadyReason)

	if want := "elemento://d1/" + m.Spec.VMName; m.Spec.ProviderID != want {
		t.Errorf("providerID is %q, want %q", m.Spec.ProviderID, want)
	}
	if m.Status.FailureDomain != "d1" || len(m.Status.Addresses) != 1 || m.Status.PowerState != infrav1.PowerStateRunning {
		t.Errorf("status is %+v", m.Status)
	}
	if !conditions.IsTrue(m, infrav1.VMMatchesSpecCondition) {
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

func TestARegisterWhoseReplyIsLostTwiceMakesOneVM(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 2})
	cluster, _ := s.provisionedCluster()
	s.fault(fakeatomos.Fault{Call: "POST matcher/register", Effect: fakeatomos.LoseReply, Times: 2})
	_, m := s.machine(cluster)
	s.await("the first register", func() bool { return len(s.vms()) > 0 }, func() string { return describe(m) })
	s.daemons[0].stop()
	s.awaitProvisioned(m)

	if vms := s.vms(); len(vms) != 1 || len(vms[m.Spec.VMName]) != 1 {
		t.Errorf("AtomOS has %+v, want one VM", vms)
	}
	s.remove(m)
	for _, left := range s.fake.Inventory().Resources() {
		if strings.Contains(left, m.Spec.VMName) {
			t.Errorf("AtomOS still holds %s", left)
		}
	}
}

func TestAMachineDeletedWhileItsVMIsBeingCreatedLeavesNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 1})
	cluster, infra := s.provisionedCluster()
	s.fault(fakeatomos.Fault{Call: "POST matcher/register", Effect: fakeatomos.DelayBefore, Delay: time.Second})
	_, m := s.machine(cluster)
	eventually(s, m, "the machine is placed", func() bool { return m.Spec.Host != "" })
	s.remove(m)
	s.remove(infra)
	s.wantNothingLeft()
}

func TestAMachineWhoseClusterIsGoneCanBeDeleted(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 1})
	cluster, infra := s.provisionedCluster()
	_, m := s.provisionedMachine(cluster)
	must(0, s.Delete(s.ctx(), infra)) // which waits for its machines
	s.remove(cluster)                 // by somebody who has taken its finalizer away
	s.remove(m)
	s.awaitGone(infra)
	s.wantNothingLeft()
}

func TestAMachineDeletedBeforeItsClusterIsReadyIsGoneAtOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 1})
	cluster, _ := s.cluster()
	_, m := s.machine(cluster)
	awaitCondition(s, m, infrav1.BootstrapDataAvailableCondition, infrav1.WaitingForClusterInfrastructureReason)
	s.remove(m)
}

func TestAHostThatGoesDownBetweenPlacementAndRegisterKeepsTheMachine(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 2})
	cluster, _ := s.provisionedCluster()
	refusal := s.fault(fakeatomos.Fault{Call: "POST matcher/register", Effect: fakeatomos.Refuse, Status: 500})
	_, m := s.machine(cluster)
	eventually(s, m, "the machine is placed", func() bool { return m.Spec.Host != "" })
	placed := m.Spec.Host
	host := must(s.fake.Host(placed))
	host.Down()
	s.fake.RemoveFaults(refusal)

	c := awaitCondition(s, m, infrav1.VMProvisionedCondition, infrav1.HostUnreachableReason)
	if c.Status != metav1.ConditionUnknown {
		t.Errorf("what a silent host has is %s, want Unknown", c.Status)
	}
	must(0, host.Up())
	s.awaitProvisioned(m)
	if m.Spec.Host != placed {
		t.Errorf("the machine went from %s to %s without proof that it was absent", placed, m.Spec.Host)
	}
	if vms := s.vms(); len(vms) != 1 || len(vms[m.Spec.VMName]) != 1 {
		t.Errorf("AtomOS has %+v, want one VM", vms)
	}
}

func TestAHostThatTurnsOutToBeFullIsGivenUpForAnother(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 2})
	cluster, infra := s.provisionedCluster()
	s.fault(fakeatomos.Fault{Call: "POST matcher/register", Effect: fakeatomos.Refuse, Status: 204, Times: 1})
	_, m := s.provisionedMachine(cluster)
	if vms := s.vms(); len(vms) != 1 || len(vms[m.Spec.VMName]) != 1 {
		t.Errorf("AtomOS has %+v, want one VM", vms)
	}
	s.remove(m)
	s.remove(infra)
	s.wantNothingLeft()
}

func TestAManagerWithAnOldCacheMakesNoVMOnAHostThatWasGivenUp(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 2})
	cluster, _ := s.provisionedCluster()
	refusal := s.fault(fakeatomos.Fault{Call: "POST matcher/register", Effect: fakeatomos.Refuse, Status: 500})
	_, m := s.machine(cluster)
	awaitCondition(s, m, infrav1.VMProvisionedCondition, infrav1.OutcomeUnknownReason)
	s.stopManager()
	s.fake.RemoveFaults(refusal)
	must(0, s.Get(s.ctx(), client.ObjectKeyFromObject(m), m))
	old := m.DeepCopy()
	edit(s, m, func(m *infrav1.ElementoMachine) { // the last that its predecessor did
		m.Spec.Host = map[string]string{"host-1": "host-2", "host-2": "host-1"}[m.Spec.Host]
	})

	f := s.newFleet()
	r := &controllers.MachineReconciler{
		Client: oldCache{s.Client, old}, Live: s.Client, Fleet: f, Identities: &controllers.Identities{Secrets: s.Client, Fleet: f},
		Events: events.NewFakeRecorder(100), StopTimeout: time.Minute,
	}
	for range 3 {
		if result := must(r.Reconcile(s.ctx(), ctrl.Request{NamespacedName: client.ObjectKeyFromObject(m)})); result.RequeueAfter == 0 {
			t.Error("it does not look again")
		}
	}
	if vms := s.vms(); len(vms) > 0 {
		t.Errorf("AtomOS has %v, made from an object that says %s while %s is written down", vms, old.Spec.Host, m.Spec.Host)
	}
	s.startManager()
	s.awaitProvisioned(m)
	if vms := s.vms(); len(vms) != 1 || len(vms[m.Spec.VMName]) != 1 {
		t.Errorf("AtomOS has %+v, want one VM", vms)
	}
}

// oldCache is a client to which one machine's changes have not come yet.
type oldCache struct {
	client.Client
	machine *infrav1.ElementoMachine
}

func (c oldCache) Get(ctx context.Context, key client.ObjectKey, object client.Object, options ...client.GetOption) error {
	if m, ok := object.(*infrav1.ElementoMachine); ok && key == client.ObjectKeyFromObject(c.machine) {
		c.machine.DeepCopyInto(m)
		return nil
	}
	return c.Client.Get(ctx, key, object, options...)
}

func TestAManagerWithAnOldCacheDoesNotDeleteAMachineOnceMore(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 1})
	cluster, _ := s.provisionedCluster()
	_, m := s.provisionedMachine(cluster)
	s.stopManager()
	must(0, s.Delete(s.ctx(), m))

	f := s.newFleet()
	cached := &infrav1.ElementoMachine{}
	r := &controllers.MachineReconciler{
		Client: oldCache{s.Client, cached}, Live: s.Client, Fleet: f, Identities: &controllers.Identities{Secrets: s.Client, Fleet: f},
		Events: events.NewFakeRecorder(100), StopTimeout: time.Minute,
	}
	key := client.ObjectKeyFromObject(m)
	s.await("the machine is gone", func() bool {
		if err := s.Get(s.ctx(), key, cached); apierrors.IsNotFound(err) {
			return true
		}
		cached.DeepCopyInto(m)
		must(r.Reconcile(s.ctx(), ctrl.Request{NamespacedName: key}))
		return false
	}, func() string { return describe(m) })
	m.DeepCopyInto(cached) // as it was last, with our finalizer
	asked := func() (calls int64) {
		for _, host := range s.fake.Calls() {
			for call, n := range host {
				if strings.Contains(call, "storage/") { // what a deletion asks for, and no poll
					calls += n
				}
			}
		}
		return calls
	}
	before := asked()
	if result := must(r.Reconcile(s.ctx(), ctrl.Request{NamespacedName: key})); !result.IsZero() {
		t.Errorf("it comes back: %+v", result)
	}
	if after := asked(); after != before {
		t.Errorf("its VM was deleted once more, by %d calls", after-before)
	}
}

func TestAGuestThatNeverHasAnAddressKeepsNobodyWaiting(t *testing.T) {
	t.Parallel()
	guests := &quietGuests{speak: make(chan struct{})}
	s := newSite(t, hosts{"d1": 1}, func(o *fakeatomos.Options) { o.Guests = guests })
	cluster, infra := s.provisionedCluster()
	_, m := s.provisionedMachine(cluster, controlPlane)
	awaitCondition(s, m, infrav1.ReadyCondition, infrav1.WaitingForAddressReason)
	if !conditions.IsTrue(m, infrav1.VMRunningCondition) || len(m.Status.Addresses) > 0 {
		t.Errorf("it runs without an address:\n%s", describe(m))
	}
	awaitCondition(s, infra, infrav1.EndpointReadyCondition, infrav1.WaitingForControlPlaneReason)

	close(guests.speak)
	awaitCondition(s, m, infrav1.ReadyCondition, infrav1.ReadyReason)
	eventually(s, infra, "the endpoint leads to it", func() bool { return infra.Status.EndpointTarget == m.Spec.VMName })
	awaitCondition(s, infra, infrav1.ReadyCondition, infrav1.ReadyReason)
}

// quietGuests have no address before they speak.
type quietGuests struct{ speak chan struct{} }

func (g *quietGuests) Boot(ctx context.Context, _ guest.VM) error {
	select {
	case <-g.speak:
	case <-ctx.Done():
	}
	return nil
}
func (*quietGuests) Shutdown(context.Context, string) bool { return true }
func (*quietGuests) PowerOff(string)                       {}
func (*quietGuests) Remove(string)                         {}
func (*quietGuests) Usage(string) (int64, int64)           { return 0, 0 }

func TestAVMThatIsNotAsItsMachineSaysIsCounted(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 1})
	cluster, infra := s.provisionedCluster()
	_, ordinary := s.provisionedMachine(cluster)
	awaitCondition(s, ordinary, infrav1.ReadyCondition, infrav1.ReadyReason)
	if n := s.gauge("elemento_drifted_vms"); n != 0 {
		t.Fatalf("%v VMs have drifted, want none", n)
	}

	var name *string
	machine, m := s.machine(cluster, func(machine *clusterv1.Machine, _ *infrav1.ElementoMachine) {
		name, machine.Spec.Bootstrap.DataSecretName = machine.Spec.Bootstrap.DataSecretName, nil
		machine.Spec.Bootstrap.ConfigRef = clusterv1.ContractVersionedObjectReference{APIGroup: "bootstrap.example", Kind: "Config", Name: "config"}
	})
	awaitCondition(s, m, infrav1.BootstrapDataAvailableCondition, infrav1.WaitingForBootstrapDataReason)
	must(s.member().EnsureVM(s.ctx(), &rpc.EnsureVMRequest{Host: "host-1", VmName: m.Spec.VMName, Spec: &rpc.VMSpec{
		Slots: 1, MaxOverprovision: 10, MemoryMib: 512, Image: image, BootVolume: &rpc.Volume{SizeGib: 10},
		Networks: []*rpc.NetworkSpec{{Name: infra.Spec.Network.Name}},
	}, UserData: []byte("#cloud-config\n")}))
	edit(s, machine, func(m *clusterv1.Machine) { m.Spec.Bootstrap.DataSecretName = name })
	c := awaitCondition(s, m, infrav1.VMMatchesSpecCondition, infrav1.DriftedReason)
	if !strings.Contains(c.Message, "slots: 1 instead of 2") {
		t.Errorf("message is %q", c.Message)
	}
	s.await("it is counted", func() bool { return s.gauge("elemento_drifted_vms") == 1 }, func() string { return describe(m) })
}

func TestAVMThatNoMachineIsAboutIsLeftAlone(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 1})
	cluster, infra := s.provisionedCluster()
	member := s.member()
	if _, err := member.EnsureVM(s.ctx(), &rpc.EnsureVMRequest{Host: "host-1", VmName: "stranger", Spec: &rpc.VMSpec{
		Slots: 1, MaxOverprovision: 10, MemoryMib: 256, Image: image, BootVolume: &rpc.Volume{SizeGib: 10},
		Networks: []*rpc.NetworkSpec{{Name: "strange", Cidr: "127.99.0.0/24", Mode: rpc.NetworkMode_NETWORK_MODE_BRIDGED}},
	}, UserData: []byte("#cloud-config\n")}); err != nil {
		t.Fatal(err)
	}
	_, m := s.provisionedMachine(cluster)
	s.remove(m)
	s.remove(infra)
	if len(s.vms()["stranger"]) != 1 {
		t.Error("the VM of nobody's is gone")
	}
	s.wantNothingLeft("strange")
}

// member acts for the site's client as another provider would.
func (s *site) member() *fleet.Member {
	s.t.Helper()
	identity := must(fleet.ParseIdentity(s.identity("another").Data))
	return must(s.newFleet().Join(fleet.User{Kind: "Test", NamespacedName: client.ObjectKey{Namespace: s.namespace, Name: "test"}}, identity))
}

// newFleet is another provider's.
func (s *site) newFleet() *fleet.Fleet {
	s.t.Helper()
	f := fleet.New(logr.Discard())
	ctx, cancel := context.WithCancel(context.WithoutCancel(s.t.Context()))
	done := make(chan error, 1)
	go func() { done <- f.Start(ctx) }()
	s.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			s.t.Error(err)
		}
	})
	return f
}

func TestAPausedMachineIsLeftAloneUntilItIsNot(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 1})
	cluster, _ := s.provisionedCluster()
	_, m := s.machine(cluster, func(_ *clusterv1.Machine, m *infrav1.ElementoMachine) {
		m.Annotations = map[string]string{clusterv1.PausedAnnotation: ""}
	})
	awaitCondition(s, m, infrav1.PausedCondition, clusterv1.PausedReason)
	if len(m.Finalizers) > 0 || m.Spec.VMName != "" || len(s.vms()) > 0 {
		t.Errorf("a paused machine was worked on: %+v", m)
	}
	edit(s, m, func(m *infrav1.ElementoMachine) { m.Annotations = nil })
	s.awaitProvisioned(m)
	if !conditions.IsFalse(m, infrav1.PausedCondition) {
		t.Error(describe(m))
	}
}

func TestAMachineWaitsForItsBootstrapData(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 1})
	cluster, _ := s.provisionedCluster()
	var name *string
	machine, m := s.machine(cluster, func(machine *clusterv1.Machine, _ *infrav1.ElementoMachine) {
		name, machine.Spec.Bootstrap.DataSecretName = machine.Spec.Bootstrap.DataSecretName, nil
		machine.Spec.Bootstrap.ConfigRef = clusterv1.ContractVersionedObjectReference{APIGroup: "bootstrap.example", Kind: "Config", Name: "config"}
	})
	awaitCondition(s, m, infrav1.BootstrapDataAvailableCondition, infrav1.WaitingForBootstrapDataReason)
	if m.Spec.Host != "" || m.Spec.ProviderID == "" {
		t.Errorf("host %q, providerID %q: want only the latter", m.Spec.Host, m.Spec.ProviderID)
	}
	edit(s, machine, func(m *clusterv1.Machine) { m.Spec.Bootstrap.DataSecretName = name })
	s.awaitProvisioned(m)
}

func TestWhatCannotBeMadeSaysWhy(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 1})
	cluster, infra := s.provisionedCluster()
	for name, c := range map[string]struct {
		edit              func(*infrav1.ElementoMachineSpec)
		condition, reason string
		words             string
	}{
		"an image that does not exist": {
			func(m *infrav1.ElementoMachineSpec) { m.Image = "no-such-image" },
			infrav1.VMProvisionedCondition, infrav1.ImageNotFoundReason, "no-such-image",
		},
		"a PCI device that no host has": {
			func(m *infrav1.ElementoMachineSpec) {
				m.PCIDevices = []infrav1.PCIDevice{{Vendor: "10de", Model: "2684", Quantity: 1}}
			},
			infrav1.HostAssignedCondition, infrav1.HardwareAbsentReason, "10de:2684",
		},
		"more memory than there is": {
			func(m *infrav1.ElementoMachineSpec) { m.MemoryMiB = 1 << 30 },
			infrav1.HostAssignedCondition, infrav1.HardwareAbsentReason, "",
		},
		"a domain that no daemon knows": {
			func(m *infrav1.ElementoMachineSpec) { m.Domain = "nowhere" },
			infrav1.HostAssignedCondition, infrav1.DomainUnknownReason, "nowhere",
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, m := s.machine(cluster, func(_ *clusterv1.Machine, m *infrav1.ElementoMachine) { c.edit(&m.Spec) })
			condition := awaitCondition(s, m, c.condition, c.reason)
			if !strings.Contains(condition.Message, c.words) {
				t.Errorf("message %q does not say %q", condition.Message, c.words)
			}
			ready := conditions.Get(m, infrav1.ReadyCondition)
			if ready.Reason != c.reason || !strings.Contains(ready.Message, condition.Message) {
				t.Errorf("Ready does not say why:\n%s", describe(m))
			}
			s.remove(m)
		})
	}
	s.remove(infra)
	s.wantNothingLeft()
}

func TestWhatIsAsItShouldBeIsNotWritten(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 1})
	cluster, infra := s.provisionedCluster()
	machine, m := s.provisionedMachine(cluster, controlPlane)
	awaitCondition(s, infra, infrav1.ReadyCondition, infrav1.ReadyReason)
	s.joined(machine)

	// Wake everything, more than once.
	for range 3 {
		edit(s, machine, func(m *clusterv1.Machine) {
			metav1.SetMetaDataAnnotation(&m.ObjectMeta, "elemento.cloud/reconcile", time.Now().String())
		})
		edit(s, cluster, func(c *clusterv1.Cluster) {
			metav1.SetMetaDataAnnotation(&c.ObjectMeta, "elemento.cloud/reconcile", time.Now().String())
		})
	}
	versions := func() []string {
		must(0, s.Get(s.ctx(), client.ObjectKeyFromObject(m), m))
		must(0, s.Get(s.ctx(), client.ObjectKeyFromObject(infra), infra))
		return []string{m.ResourceVersion, infra.ResourceVersion}
	}
	before := versions()
	for end := time.Now().Add(time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if now := versions(); !slices.Equal(now, before) {
			t.Fatalf("resource versions went from %v to %v", before, now)
		}
	}
	// A new manager finds everything as it should be, too.
	s.stopManager()
	s.startManager()
	edit(s, machine, func(m *clusterv1.Machine) { m.Annotations = nil })
	s.await("the new manager is connected", func() bool {
		member, _ := s.fleet.Of(fleet.User{Kind: "ElementoCluster", NamespacedName: client.ObjectKeyFromObject(infra)})
		return member != nil && member.Look(m.Spec.Host, m.Spec.VMName).VM != nil
	}, func() string { return "" })
	for end := time.Now().Add(time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if now := versions(); !slices.Equal(now, before) {
			t.Fatalf("after a restart, resource versions went from %v to %v\n%s\n%s", before, now, describe(m), describe(infra))
		}
	}
}

func TestAllThatIsKnownIsWrittenWithTheVM(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 1})
	cluster, infra := s.provisionedCluster()
	all := must(must(client.NewWithWatch(api, client.Options{Scheme: s.Scheme()})).Watch(s.ctx(), &infrav1.ElementoMachineList{}, client.InNamespace(s.namespace)))
	defer all.Stop()
	machine, m := s.provisionedMachine(cluster)
	first := &infrav1.ElementoMachine{}
	for !conditions.IsTrue(first, infrav1.VMProvisionedCondition) {
		event, open := <-all.ResultChan()
		if !open {
			t.Fatal("the watch ended before a VM was written down")
		}
		first = event.Object.(*infrav1.ElementoMachine)
	}
	if !conditions.IsTrue(first, infrav1.HostAvailableCondition) {
		t.Errorf("the VM was written down, and of its host nothing: %s", describe(first))
	}
	for _, c := range first.Status.Conditions {
		if c.ObservedGeneration != first.Generation {
			t.Errorf("%s is about generation %d, and has to be written again for %d", c.Type, c.ObservedGeneration, first.Generation)
		}
	}
	s.remove(m)
	s.remove(machine)
	s.remove(infra)
	s.wantNothingLeft()
}

func TestMachinesLiveOnWhenADaemonDies(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 1})
	cluster, infra := s.provisionedCluster()
	_, first := s.provisionedMachine(cluster)
	s.daemons[0].stop()
	_, second := s.provisionedMachine(cluster)
	s.remove(first)
	s.remove(second)
	s.remove(infra)
	s.wantNothingLeft()
}

func TestMachinesThatComeAtOnceSpreadOverTheDomains(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 1, "d2": 1})
	cluster, infra := s.provisionedCluster()
	if names := infra.Status.FailureDomains; len(names) != 2 || names[0].Name != "d1" || names[1].Name != "d2" {
		t.Fatalf("failure domains are %+v", names)
	}
	count := map[string]int{}
	var machines []*infrav1.ElementoMachine
	for range 6 {
		_, m := s.machine(cluster)
		machines = append(machines, m)
	}
	for _, m := range machines {
		s.awaitProvisioned(m)
		count[m.Spec.Domain]++
	}
	if count["d1"] != 3 || count["d2"] != 3 {
		t.Errorf("machines by domain: %v, want 3 in each", count)
	}
}

func TestTheMachinesFailureDomainGoesFirst(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 1, "d2": 1})
	cluster, _ := s.provisionedCluster()
	for _, domain := range []string{"d2", "d1"} {
		_, m := s.provisionedMachine(cluster, func(m *clusterv1.Machine, infra *infrav1.ElementoMachine) {
			m.Spec.FailureDomain, infra.Spec.Domain = domain, "d1" // as a template may say
		})
		if m.Spec.Domain != domain || m.Status.FailureDomain != domain {
			t.Errorf("machine is in %s (status: %s), want %s", m.Spec.Domain, m.Status.FailureDomain, domain)
		}
	}
}

func TestAVMThatIsPoweredOffIsPoweredOn(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 1})
	cluster, _ := s.provisionedCluster()
	_, m := s.provisionedMachine(cluster)
	since := s.vms()[m.Spec.VMName][0].RunningSince
	must(0, s.member().SetVMPower(s.ctx(), m.Spec.Host, m.Spec.VMName, rpc.PowerAction_POWER_ACTION_OFF))
	s.await("the VM runs again", func() bool {
		vm := s.vms()[m.Spec.VMName][0]
		return vm.RunningSince.After(since)
	}, func() string { return describe(m) })
	awaitCondition(s, m, infrav1.ReadyCondition, infrav1.ReadyReason)
	s.awaitEvent(m, infrav1.PoweredOffReason)
}

func TestAVMThatIsOffIsPoweredOnWhateverTheClockOfItsHost(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 1})
	s.host("host-1").ShiftClock(time.Hour)
	cluster, _ := s.provisionedCluster()
	_, m := s.provisionedMachine(cluster)
	since := s.vms()[m.Spec.VMName][0].RunningSince
	s.stopManager()
	must(0, s.member().SetVMPower(s.ctx(), m.Spec.Host, m.Spec.VMName, rpc.PowerAction_POWER_ACTION_OFF))
	editStatus(s, m, func(m *infrav1.ElementoMachine) { m.Status = infrav1.ElementoMachineStatus{} }) // it was moved
	s.startManager()
	s.await("the VM runs again", func() bool {
		return s.vms()[m.Spec.VMName][0].RunningSince.After(since)
	}, func() string { return describe(m) })
}

func TestAVMThatIsGoneBeforeItsNodeJoinedIsMadeAgain(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 1})
	cluster, _ := s.provisionedCluster()
	_, m := s.provisionedMachine(cluster)
	uid := m.Status.VMUID
	s.destroyByHand(m)
	eventually(s, m, "there is another VM", func() bool { return m.Status.VMUID != "" && m.Status.VMUID != uid })
	awaitCondition(s, m, infrav1.ReadyCondition, infrav1.ReadyReason)
	s.awaitEvent(m, infrav1.RecreatingReason)
}

func TestAVMThatIsGoneAfterItsNodeJoinedIsReplacedByClusterAPI(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 1})
	cluster, _ := s.provisionedCluster()
	machine, m := s.provisionedMachine(cluster)
	s.joined(machine)
	s.destroyByHand(m)
	awaitCondition(s, m, infrav1.ReadyCondition, infrav1.VMLostReason)
	s.await("Cluster API is asked", func() bool {
		must(0, s.Get(s.ctx(), client.ObjectKeyFromObject(machine), machine))
		_, asked := machine.Annotations[clusterv1.RemediateMachineAnnotation]
		return asked
	}, func() string { return describe(m) })
	if len(s.vms()) > 0 {
		t.Error("a VM was made again from spent bootstrap data")
	}
	s.remove(m)
}

func TestTheOnlyControlPlaneIsNotHandedToClusterAPI(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 1})
	cluster, _ := s.provisionedCluster()
	machine, m := s.provisionedMachine(cluster, controlPlane)
	s.joined(machine)
	s.destroyByHand(m)
	c := awaitCondition(s, m, infrav1.ReadyCondition, infrav1.VMLostReason)
	if !strings.Contains(c.Message, "only control plane") {
		t.Errorf("message is %q", c.Message)
	}
	must(0, s.Get(s.ctx(), client.ObjectKeyFromObject(machine), machine))
	if _, asked := machine.Annotations[clusterv1.RemediateMachineAnnotation]; asked {
		t.Error("Cluster API is asked to replace what it cannot")
	}
	s.awaitEvent(m, infrav1.VMLostReason)
}

func TestAMovedMachineWhoseVMIsGoneIsNotMadeAgainFromSpentData(t *testing.T) {
	t.Parallel()
	for role, edits := range map[string][]func(*clusterv1.Machine, *infrav1.ElementoMachine){"worker": nil, "only control plane": {controlPlane}} {
		t.Run(role, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, hosts{"d1": 1})
			cluster, _ := s.provisionedCluster()
			machine, m := s.provisionedMachine(cluster, edits...)
			s.joined(machine)
			awaitCondition(s, m, infrav1.ReadyCondition, infrav1.ReadyReason)
			s.stopManager()
			s.moved(machine, m)
			must(0, s.fake.VanishVM(m.Spec.Host, m.Spec.VMName, false))
			s.startManager()
			awaitCondition(s, m, infrav1.ReadyCondition, infrav1.VMLostReason)
			if vms := s.vms(); len(vms) > 0 {
				t.Errorf("AtomOS has %v", vms)
			}
		})
	}
}

func TestAMovedMachineWhoseVMGoesBeforeItsNodeIsSeenIsNotMadeAgainFromSpentData(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 1})
	cluster, _ := s.provisionedCluster()
	machine, m := s.provisionedMachine(cluster)
	s.joined(machine)
	awaitCondition(s, m, infrav1.ReadyCondition, infrav1.ReadyReason)
	s.stopManager()
	s.moved(machine, m)
	s.startManager()
	awaitCondition(s, m, infrav1.ReadyCondition, infrav1.ReadyReason)
	s.destroyByHand(m)
	awaitCondition(s, m, infrav1.ReadyCondition, infrav1.VMLostReason)
}

func TestAMachineThatWasNotMovedHasNothingWrittenDownWhenItsNodeJoins(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 1})
	cluster, _ := s.provisionedCluster()
	machine, m := s.provisionedMachine(cluster)
	s.joined(machine)
	awaitCondition(s, m, infrav1.ReadyCondition, infrav1.ReadyReason)
	if len(m.Annotations) > 0 {
		t.Errorf("a patch was made for %v", m.Annotations)
	}
}

// moved leaves of a machine what clusterctl moves: no status.
func (s *site) moved(machine *clusterv1.Machine, m *infrav1.ElementoMachine) {
	s.t.Helper()
	editStatus(s, m, func(m *infrav1.ElementoMachine) { m.Status = infrav1.ElementoMachineStatus{} })
	editStatus(s, machine, func(m *clusterv1.Machine) { m.Status = clusterv1.MachineStatus{} })
}

func TestAMachineWhoseVMIsSeenAgainIsNotReplaced(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 1})
	cluster, _ := s.provisionedCluster()
	machine, m := s.provisionedMachine(cluster)
	s.joined(machine)
	otherMachine, other := s.provisionedMachine(cluster)
	s.joined(otherMachine)
	edit(s, otherMachine, func(m *clusterv1.Machine) {
		metav1.SetMetaDataAnnotation(&m.ObjectMeta, clusterv1.RemediateMachineAnnotation, "") // somebody's own wish
	})
	awaitCondition(s, m, infrav1.ReadyCondition, infrav1.ReadyReason)
	asked := func(machine *clusterv1.Machine) bool {
		must(0, s.Get(s.ctx(), client.ObjectKeyFromObject(machine), machine))
		_, asked := machine.Annotations[clusterv1.RemediateMachineAnnotation]
		return asked
	}
	uid := m.Status.VMUID
	empty := s.fault(fakeatomos.Fault{Call: "GET matcher/running", Effect: fakeatomos.Refuse, Status: http.StatusOK, Body: `{"vms":[]}`})
	awaitCondition(s, m, infrav1.ReadyCondition, infrav1.VMLostReason)
	awaitCondition(s, other, infrav1.ReadyCondition, infrav1.VMLostReason)
	s.await("Cluster API is asked", func() bool { return asked(machine) }, func() string { return describe(m) })
	s.fake.RemoveFaults(empty)
	awaitCondition(s, m, infrav1.ReadyCondition, infrav1.ReadyReason)
	awaitCondition(s, other, infrav1.ReadyCondition, infrav1.ReadyReason)
	s.await("that is taken back", func() bool { return !asked(machine) }, func() string { return describe(m) })
	if m.Status.VMUID != uid {
		t.Errorf("it is another VM: %s instead of %s", m.Status.VMUID, uid)
	}
	if !asked(otherMachine) {
		t.Error("what somebody else asked for is taken back")
	}
}

// destroyByHand removes a machine's VM behind the provider's back. A call that is
// not answered in time is made again.
func (s *site) destroyByHand(m *infrav1.ElementoMachine) {
	s.t.Helper()
	member := s.member()
	var gone bool
	var err error
	s.await("the VM is destroyed", func() bool {
		gone, _, err = member.DeleteVM(s.ctx(), &rpc.DeleteVMRequest{Host: m.Spec.Host, VmName: m.Spec.VMName})
		return err == nil && gone
	}, func() string { return fmt.Sprint(err) })
}

func TestAHostThatIsDownMakesItsMachinesUnknown(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 1})
	cluster, _ := s.provisionedCluster()
	machine, m := s.provisionedMachine(cluster)
	s.joined(machine)
	host := must(s.fake.Host(m.Spec.Host))
	host.Down()
	c := awaitCondition(s, m, infrav1.VMProvisionedCondition, infrav1.HostUnreachableReason)
	if c.Status != metav1.ConditionUnknown || m.Status.PowerState != infrav1.PowerStateUnknown {
		t.Errorf("%s, power state %s: want Unknown", describe(m), m.Status.PowerState)
	}
	must(0, s.Delete(s.ctx(), m))
	c = awaitCondition(s, m, infrav1.DeletingCondition, infrav1.WaitingForHostDeletionReason)
	if c.Status != metav1.ConditionTrue {
		t.Error(describe(m))
	}
	must(0, host.Up())
	s.awaitGone(m)
	if len(s.vms()) > 0 {
		t.Errorf("AtomOS still has %v", s.vms())
	}
}

// awaitEvent waits for an event about an object.
func (s *site) awaitEvent(object client.Object, reason string) {
	s.t.Helper()
	events := &corev1.EventList{}
	s.await("event "+reason, func() bool {
		must(0, s.List(s.ctx(), events, client.InNamespace(s.namespace)))
		return slices.ContainsFunc(events.Items, func(e corev1.Event) bool {
			return e.Reason == reason && e.InvolvedObject.Name == object.GetName()
		})
	}, func() string { return describe(object) })
}

func TestAVMThatIsChangedByHandIsReportedAndLeftAlone(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 1})
	cluster, _ := s.provisionedCluster()
	_, m := s.provisionedMachine(cluster)
	awaitCondition(s, m, infrav1.ReadyCondition, infrav1.ReadyReason)
	must(0, s.fake.ChangeVM(m.Spec.Host, m.Spec.VMName, fakeatomos.Change{Slots: 1, MemoryMiB: 4096}))
	c := awaitCondition(s, m, infrav1.VMMatchesSpecCondition, infrav1.DriftedReason)
	for _, words := range []string{"slots: 1 instead of 2", "memoryMiB: 4096 instead of 512"} {
		if !strings.Contains(c.Message, words) {
			t.Errorf("message %q does not say %q", c.Message, words)
		}
	}
	s.awaitEvent(m, infrav1.DriftedReason)
	s.await("it is counted", func() bool { return s.gauge("elemento_drifted_vms") == 1 }, func() string { return describe(m) })
	if !conditions.IsTrue(m, infrav1.ReadyCondition) || len(s.vms()[m.Spec.VMName]) != 1 || s.vms()[m.Spec.VMName][0].UID != m.Status.VMUID {
		t.Errorf("it was not left alone:\n%s", describe(m))
	}
}

func TestAVMThatVanishesIsMadeAgainFromTheSameData(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 1})
	cluster, infra := s.provisionedCluster()
	_, m := s.provisionedMachine(cluster)
	awaitCondition(s, m, infrav1.ReadyCondition, infrav1.ReadyReason)
	uid, providerID := m.Status.VMUID, m.Spec.ProviderID
	must(0, s.fake.VanishVM(m.Spec.Host, m.Spec.VMName, false)) // its volumes stay
	eventually(s, m, "there is another VM", func() bool { return m.Status.VMUID != "" && m.Status.VMUID != uid })
	if m.Spec.ProviderID != providerID {
		t.Errorf("providerID went from %s to %s", providerID, m.Spec.ProviderID)
	}
	s.remove(m)
	s.remove(infra)
	s.wantNothingLeft()
}

func TestAVMThatNothingIsAboutIsToldOfOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 1})
	cluster, infra := s.provisionedCluster()
	_, m := s.provisionedMachine(cluster)
	must(s.member().EnsureVM(s.ctx(), &rpc.EnsureVMRequest{Host: "host-1", VmName: "stranger", Spec: &rpc.VMSpec{
		Slots: 1, MaxOverprovision: 10, MemoryMib: 256, Image: image, BootVolume: &rpc.Volume{SizeGib: 10},
		Networks: []*rpc.NetworkSpec{{Name: infra.Spec.Network.Name}},
	}, UserData: []byte("#cloud-config\n")}))
	s.awaitEvent(infra, controllers.UnexpectedVMReason)
	if n := s.gauge("elemento_unexpected_vms"); n != 1 {
		t.Errorf("%v VMs are unexpected, want 1", n)
	}
	list := &corev1.EventList{}
	must(0, s.List(s.ctx(), list, client.InNamespace(s.namespace)))
	for _, e := range list.Items {
		if e.Reason == controllers.UnexpectedVMReason && (!strings.Contains(e.Message, "stranger") || !strings.Contains(e.Message, "Another management cluster") || strings.Contains(e.Message, m.Spec.VMName)) {
			t.Errorf("event says %q", e.Message)
		}
	}
	if len(s.vms()["stranger"]) != 1 {
		t.Error("it is gone")
	}
}

func TestAnAnnotationHasTheHostAskedNow(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 1})
	cluster, _ := s.provisionedCluster()
	machine, m := s.provisionedMachine(cluster)
	awaitCondition(s, m, infrav1.ReadyCondition, infrav1.ReadyReason)
	asked := func() int64 { return int64(s.logs.count("msg=call method=GetVM")) }
	before := asked()
	edit(s, machine, func(m *clusterv1.Machine) {
		metav1.SetMetaDataAnnotation(&m.ObjectMeta, infrav1.ReconcileRequestedAnnotation, "2026-01-02T15:04:05Z")
	})
	eventually(s, m, "it is done", func() bool { return m.Status.ReconcileRequested == "2026-01-02T15:04:05Z" })
	if asked() == before {
		t.Error("no host was asked")
	}
	edit(s, m, func(m *infrav1.ElementoMachine) {
		metav1.SetMetaDataAnnotation(&m.ObjectMeta, infrav1.ReconcileRequestedAnnotation, "2026-01-02T15:04:06Z")
	})
	eventually(s, m, "it is done on the ElementoMachine too", func() bool { return m.Status.ReconcileRequested == "2026-01-02T15:04:06Z" })
}

func TestMachinesAvoidADomainThatIsLost(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 1, "d2": 1})
	cluster, infra := s.provisionedCluster()
	must(0, s.fake.DomainDown("d1"))
	awaitCondition(s, infra, infrav1.HostsAvailableCondition, infrav1.HostUnreachableReason)
	for range 2 {
		_, m := s.provisionedMachine(cluster)
		if m.Spec.Domain != "d2" {
			t.Errorf("a machine without failure domain is in %s, which is lost", m.Spec.Domain)
		}
	}
	_, pinned := s.machine(cluster, func(m *clusterv1.Machine, _ *infrav1.ElementoMachine) { m.Spec.FailureDomain = "d1" })
	c := awaitCondition(s, pinned, infrav1.HostAssignedCondition, infrav1.HostUnreachableReason)
	if !strings.Contains(c.Message, "d1") || pinned.Spec.Host != "" {
		t.Errorf("it is on %q and says %q", pinned.Spec.Host, c.Message)
	}
	must(0, s.fake.DomainUp("d1"))
	s.awaitProvisioned(pinned)
	awaitCondition(s, infra, infrav1.HostsAvailableCondition, infrav1.AvailableReason)
}

func TestAMachineWaitsWhileAllDomainsAreLost(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 1, "d2": 1})
	cluster, infra := s.provisionedCluster()
	must(0, s.fake.DomainDown("d1"))
	must(0, s.fake.DomainDown("d2"))
	awaitCondition(s, infra, infrav1.HostsAvailableCondition, infrav1.HostUnreachableReason)
	s.await("the hosts are known to be down", func() bool {
		member, _ := s.fleet.Of(fleet.User{Kind: "ElementoCluster", NamespacedName: client.ObjectKeyFromObject(infra)})
		return !member.Look("host-1", "").Reachable() && !member.Look("host-2", "").Reachable()
	}, func() string { return describe(infra) })
	_, m := s.machine(cluster)
	awaitCondition(s, m, infrav1.HostAssignedCondition, infrav1.HostUnreachableReason)
	must(0, s.fake.DomainUp("d2"))
	s.awaitProvisioned(m)
	if m.Spec.Domain != "d2" {
		t.Errorf("it is in %s", m.Spec.Domain)
	}
}

func TestAHostInMaintenanceGetsNothingAndItsMachinesSaySo(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 2})
	cluster, infra := s.provisionedCluster()
	machine, m := s.provisionedMachine(cluster)
	s.joined(machine)
	host := must(s.fake.Host(m.Spec.Host))
	host.SetMaintenance(true)
	c := awaitCondition(s, m, infrav1.HostAvailableCondition, infrav1.HostInMaintenanceReason)
	if !strings.Contains(c.Message, host.Name()) {
		t.Errorf("message is %q", c.Message)
	}
	s.awaitEvent(m, infrav1.HostInMaintenanceReason)
	awaitCondition(s, m, infrav1.ReadyCondition, infrav1.ReadyReason)
	c = awaitCondition(s, infra, infrav1.HostsAvailableCondition, infrav1.HostInMaintenanceReason)
	if !strings.Contains(c.Message, host.Name()) {
		t.Errorf("message is %q", c.Message)
	}
	for range 3 {
		if _, other := s.provisionedMachine(cluster); other.Spec.Host == host.Name() {
			t.Error("a machine was placed on the host in maintenance")
		}
	}
	host.SetMaintenance(false)
	awaitCondition(s, m, infrav1.HostAvailableCondition, infrav1.AvailableReason)
	awaitCondition(s, infra, infrav1.HostsAvailableCondition, infrav1.AvailableReason)
}

func TestAVMThatIsOffStaysOffWhileItsHostIsInMaintenance(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 1})
	cluster, _ := s.provisionedCluster()
	machine, m := s.provisionedMachine(cluster)
	s.joined(machine)
	awaitCondition(s, m, infrav1.ReadyCondition, infrav1.ReadyReason)
	host := must(s.fake.Host(m.Spec.Host))
	host.SetMaintenance(true)
	s.await("both daemons know of the maintenance", func() bool { return s.logs.count("state=maintenance") == 2 }, func() string { return describe(m) })
	awaitCondition(s, m, infrav1.HostAvailableCondition, infrav1.HostInMaintenanceReason)
	powered := s.logs.count("method=SetVMPower")
	must(0, s.fake.CrashVM(m.Spec.Host, m.Spec.VMName))
	c := awaitCondition(s, m, infrav1.VMRunningCondition, infrav1.HostInMaintenanceReason)
	if !strings.Contains(c.Message, host.Name()) || m.Status.PowerState != infrav1.PowerStateOff {
		t.Errorf("power state %s, message %q", m.Status.PowerState, c.Message)
	}
	edit(s, m, func(m *infrav1.ElementoMachine) { // one look more
		metav1.SetMetaDataAnnotation(&m.ObjectMeta, infrav1.ReconcileRequestedAnnotation, "now")
	})
	eventually(s, m, "the host was asked", func() bool { return m.Status.ReconcileRequested == "now" })
	if n := s.logs.count("method=SetVMPower"); n != powered {
		t.Errorf("it was powered on %d times", n-powered)
	}
	host.SetMaintenance(false)
	awaitCondition(s, m, infrav1.ReadyCondition, infrav1.ReadyReason)
}
