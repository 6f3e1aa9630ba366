package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemento.cloud/cluster-api-provider-elemento/c4"
	"elemento.cloud/cluster-api-provider-elemento/e2e/binaries"
	"elemento.cloud/cluster-api-provider-elemento/e2e/poll"
	"elemento.cloud/cluster-api-provider-elemento/e2e/suite"
	"elemento.cloud/cluster-api-provider-elemento/e2e/world"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos"
	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
)

// scenario is something that goes wrong, and the alerts that are for it.
type scenario struct {
	name, does string
	// alerts come up, pending or firing, while it lasts, and later are those that do
	// when it has lasted for long. When it has been held for so long all of them fire,
	// and no others.
	alerts, later []string
	hold          time.Duration
	// buckets says that the alerts are about those of histograms.
	buckets bool
	// long says that it takes more than ten minutes: it is played where it is asked for.
	long bool
	// breaks makes it go wrong, and tells run.ends how it ends.
	breaks func(context.Context, *run) error
}

// fires are the alerts that fire in the end, in order.
func (s scenario) fires() []string {
	return slices.Sorted(slices.Values(slices.Concat(s.alerts, s.later)))
}

func all() []scenario {
	return []scenario{
		{ // The first: Machines of others, of which each was there soon, would be nine of ten.
			name: "vms-boot-slowly", does: "VMs take 11 minutes to boot, and workers are added",
			alerts: []string{"ElementoProvisioningSlow"}, hold: 20 * time.Minute, buckets: true, long: true,
			breaks: vmsBootSlowly,
		},
		{
			name: "a-host-loses-its-power", does: "the only host of a domain loses its power, and a Machine there is deleted",
			alerts: []string{"ElementoHostUnreachable", "ElementoDomainDown"}, later: []string{"ElementoCleanupsWait", "ElementoMachineStuck"}, hold: 75 * time.Minute,
			breaks: hostLosesPower,
		},
		{
			name: "hosts-fail", does: "hosts fail each new VM, and the one of the workers each third other call, and a worker is added",
			alerts: []string{"ElementoHostFails", "ElementoVMOperationsFail", "ElementoDaemonFails"}, hold: 20 * time.Minute,
			breaks: hostsFail,
		},
		{
			name: "a-host-is-slow", does: "the only host of a domain takes 7 s for each call, which is longer than daemons wait for a host's list",
			alerts: []string{"ElementoHostSlow", "ElementoHostUnreachable", "ElementoDomainDown"}, hold: 20 * time.Minute, buckets: true,
			breaks: hostIsSlow,
		},
		{
			name: "ways-are-cut", does: "one daemon cannot reach a host, and the manager cannot reach the other daemon",
			alerts: []string{"ElementoHostSeenDifferently", "ElementoHostFails", "ElementoStreamDown"}, hold: 15 * time.Minute,
			breaks: waysAreCut,
		},
		{
			name: "all-daemons-are-gone", does: "both daemons are stopped",
			alerts: []string{"ElementoDaemonDown", "ElementoNoDaemon", "ElementoStreamDown", "ElementoStateIsOld"}, later: []string{"ElementoVMOperationsFail"}, hold: 15 * time.Minute,
			breaks: daemonsAreGone,
		},
		{
			name: "hands-on-hosts", does: "by hand a VM is made, and another one of a worker's name; another worker's VM gets more memory, and loses its power",
			alerts: []string{"ElementoVMsGone", "ElementoDriftedVMs", "ElementoUnexpectedVMs", "ElementoVMDoubles"}, hold: 20 * time.Minute,
			breaks: handsOnHosts,
		},
		{
			name: "a-permission-is-taken", does: "the manager is no longer let write statuses, and a Machine is to be reconciled",
			alerts: []string{"ElementoReconcileErrors"}, hold: 10 * time.Minute,
			breaks: permissionIsTaken,
		},
		{
			name: "the-manager-is-gone", does: "the manager is killed and does not come back",
			alerts: []string{"ElementoManagerDown"}, hold: 10 * time.Minute,
			breaks: managerIsGone,
		},
		{
			name: "no-host-has-room", does: "no host has room for another VM, and a worker is added",
			alerts: []string{"ElementoDomainNearlyFull"}, later: []string{"ElementoMachineStuck"}, hold: 45 * time.Minute,
			breaks: noRoom,
		},
		{
			name: "a-daemon-restarts", does: "one daemon is killed and comes back, three times, and the certificates of the other one and of the manager end in 6 days",
			alerts: []string{"ElementoDaemonRestarts", "ElementoDaemonCertificateExpires", "ElementoIdentityCertificateExpires"}, hold: 15 * time.Minute,
			breaks: daemonRestarts,
		},
		{
			name: "a-control-plane-is-cut-off", does: "the only control plane of a cluster has no network",
			alerts: []string{"WorkloadAPIServerUnreachable"}, hold: 10 * time.Minute,
			breaks: controlPlaneIsCutOff,
		},
		{
			name: "the-leader-is-gone", does: "the manager is started again, to lead, and its Lease is held for an hour by one that is gone",
			alerts: []string{"ElementoNoLeader"}, hold: 10 * time.Minute,
			breaks: leaderIsGone,
		},
		{
			name: "the-manager-panics", does: "the manager is started anew as a version that panics over each ElementoMachineTemplate",
			alerts: []string{"ElementoReconcilePanics", "ElementoReconcileErrors"}, hold: 10 * time.Minute,
			breaks: managerPanics,
		},
		{
			name: "clusters-crowd", does: fmt.Sprintf("the manager may ask the API server once a second only, and %d clusters are asked for", crowd),
			alerts: []string{"ElementoQueueGrows"}, hold: 20 * time.Minute,
			breaks: clustersCrowd,
		},
	}
}

// shorter are all that are not long.
func shorter() []scenario {
	return slices.DeleteFunc(all(), func(s scenario) bool { return s.long })
}

// choose returns the scenarios whose names match one of the patterns, each of which must
// match one; those that are long only with long, or by their own name.
func choose(patterns string, long bool) ([]scenario, error) {
	var named []string
	for _, pattern := range strings.Split(patterns, ",") {
		named = append(named, strings.TrimSpace(pattern))
	}
	of := slices.DeleteFunc(all(), func(s scenario) bool { return s.long && !long && !slices.Contains(named, s.name) })
	chosen, err := suite.Matching(patterns, of, func(s scenario) string { return s.name })
	if err != nil {
		return nil, fmt.Errorf("--scenarios: %w", err)
	}
	return chosen, nil
}

// vm is that of a worker.
type vm struct {
	machine *clusterv1.Machine
	spec    infrav1.ElementoMachineSpec
}

// vms are those of the workers.
func (r *run) vms(ctx context.Context) (all []vm, err error) {
	machines, err := r.cluster.ListMachines(ctx, r.Admin)
	if err != nil {
		return nil, err
	}
	for _, m := range machines.Workers {
		spec, err := r.spec(ctx, m)
		if err != nil {
			return nil, err
		}
		all = append(all, vm{m.DeepCopy(), spec})
	}
	if len(all) < workers {
		return nil, fmt.Errorf("there are %d workers, want %d", len(all), workers)
	}
	return all, nil
}

// spec is what our provider wants of a Machine's VM.
func (r *run) spec(ctx context.Context, m clusterv1.Machine) (infrav1.ElementoMachineSpec, error) {
	object := &infrav1.ElementoMachine{}
	err := r.Admin.Get(ctx, client.ObjectKey{Namespace: m.Namespace, Name: m.Spec.InfrastructureRef.Name}, object)
	return object.Spec, err
}

func hostLosesPower(ctx context.Context, r *run) error {
	all, err := r.vms(ctx)
	if err != nil {
		return err
	}
	v := all[0]
	if err := r.Fake.Down(ctx, v.spec.Host); err != nil {
		return err
	}
	r.ends(func(ctx context.Context) error { return r.Fake.Up(ctx, v.spec.Host) })
	if err := r.Admin.Delete(ctx, v.machine); err != nil {
		return err
	}
	return r.until(ctx, "max(elemento_cleanups) > 0")
}

// until waits until a query gives something.
func (r *run) until(ctx context.Context, query string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := poll.Until(ctx, interval/2, func(ctx context.Context) (bool, error) {
		found, err := r.prometheus.Now(ctx, query)
		return err != nil || len(found) > 0, err
	}); err != nil {
		return fmt.Errorf("waiting for %s: %w", query, err)
	}
	return nil
}

// fault has the fake do something wrong.
func (r *run) fault(ctx context.Context, f fakeatomos.Fault) error {
	id, err := r.Fake.AddFault(ctx, f)
	if err == nil {
		r.ends(func(ctx context.Context) error { return r.Fake.RemoveFaults(ctx, id) })
	}
	return err
}

// another adds a worker.
func (r *run) another(ctx context.Context) error {
	r.ends(func(ctx context.Context) error { return r.cluster.Scale(ctx, workers) })
	return r.cluster.Scale(ctx, workers+1)
}

func hostsFail(ctx context.Context, r *run) error {
	const status, body = 500, `{"error":"internal"}`
	all, err := r.vms(ctx)
	if err != nil {
		return err
	}
	return errors.Join(
		r.fault(ctx, fakeatomos.Fault{Call: "POST matcher/register", Effect: fakeatomos.Refuse, Status: status, Body: body}),
		r.fault(ctx, fakeatomos.Fault{Call: "GET matcher/*", Host: all[0].spec.Host, Probability: .3, Seed: 1, Effect: fakeatomos.Refuse, Status: status, Body: body}),
		r.another(ctx),
	)
}

func hostIsSlow(ctx context.Context, r *run) error {
	host := r.World.Hosts()[0].ID
	r.ends(func(ctx context.Context) error { return r.Fake.SetSlow(ctx, host, 0) })
	return r.Fake.SetSlow(ctx, host, 7*time.Second)
}

func waysAreCut(_ context.Context, r *run) error {
	for _, way := range [][2]string{{world.DaemonProcess(1), r.World.Hosts()[0].ID}, {world.ElementoProvider, world.DaemonProcess(2)}} {
		heal, err := r.World.Partition(way[0], way[1], world.Refuse)
		if err != nil {
			return err
		}
		r.ends(func(context.Context) error { heal(); return nil })
	}
	return nil
}

func daemonRestarts(ctx context.Context, r *run) error {
	r.ends(func(ctx context.Context) error { return r.rotate(ctx, time.Time{}) })
	if err := r.rotate(ctx, time.Now().Add(6*24*time.Hour)); err != nil {
		return err
	}
	for range 3 {
		name := world.DaemonProcess(1)
		if err := r.World.Process(name).Kill(); err != nil {
			return err
		}
		if err := r.World.Revive(ctx, name); err != nil {
			return err
		}
		// Each of its starts is seen.
		if err := r.until(ctx, fmt.Sprintf(`process_start_time_seconds{instance="%s"} > %d`, name, r.World.Process(name).Started.Unix()-2)); err != nil {
			return err
		}
	}
	return nil
}

// rotate gives the second daemon and the manager new certificates, and waits until the
// manager has its own: it reads it when something is reconciled that needs it, and not when
// it has just done so.
func (r *run) rotate(ctx context.Context, notAfter time.Time) error {
	const ends = "elemento_identity_certificate_expiry_timestamp_seconds"
	before, err := r.prometheus.Now(ctx, ends)
	if err != nil {
		return err
	}
	if len(before) != 1 {
		return fmt.Errorf("the manager acts for %d clients, want 1", len(before))
	}
	if err := errors.Join(r.World.RotateDaemon(2, notAfter), r.World.RotateManager(ctx, notAfter)); err != nil {
		return err
	}
	all, err := r.vms(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return poll.Until(ctx, interval, func(ctx context.Context) (bool, error) {
		if err := r.reconcile(ctx, all[0].machine); err != nil {
			return false, err
		}
		now, err := r.prometheus.Now(ctx, ends)
		return len(now) == 1 && now[0].Value != before[0].Value, err
	})
}

// reconcile asks for a Machine to be reconciled.
func (r *run) reconcile(ctx context.Context, machine *clusterv1.Machine) error {
	before := client.MergeFrom(machine.DeepCopy())
	if machine.Annotations == nil {
		machine.Annotations = map[string]string{}
	}
	machine.Annotations[infrav1.ReconcileRequestedAnnotation] = time.Now().Format(time.RFC3339Nano)
	return r.Admin.Patch(ctx, machine, before)
}

func daemonsAreGone(ctx context.Context, r *run) error {
	for n := range len(r.World.Endpoints()) {
		name := world.DaemonProcess(n + 1)
		if err := r.World.Process(name).Stop(ctx); err != nil {
			return err
		}
		r.ends(func(ctx context.Context) error { return r.World.Revive(ctx, name) })
	}
	return nil
}

func handsOnHosts(ctx context.Context, r *run) error {
	all, err := r.vms(ctx)
	if err != nil {
		return err
	}
	changed, doubled := all[0].spec, all[1].spec
	r.ends(func(ctx context.Context) error {
		return r.Fake.ChangeVM(ctx, changed.Host, changed.VMName, fakeatomos.Change{MemoryMiB: changed.MemoryMiB})
	})
	if err := errors.Join(r.register(ctx, changed.Host, "made-by-hand"), r.register(ctx, doubled.Host, doubled.VMName)); err != nil {
		return err
	}
	// The daemons remove doubles by themselves, where the host lets them.
	if err := r.fault(ctx, fakeatomos.Fault{Call: "POST matcher/unregister", Host: doubled.Host, Effect: fakeatomos.Refuse, Status: 503, Body: `{"error":"busy"}`}); err != nil {
		return err
	}
	return errors.Join(
		r.Fake.ChangeVM(ctx, changed.Host, changed.VMName, fakeatomos.Change{MemoryMiB: changed.MemoryMiB + 4096}),
		r.Fake.CrashVM(ctx, changed.Host, changed.VMName),
	)
}

// register makes a VM by C4, as anyone can who reaches a host, until the end.
func (r *run) register(ctx context.Context, host, name string) error {
	owner := r.World.ClientUID()
	var uid string
	err := r.ask(host, func(c *c4.Client) (err error) {
		uid, err = c.Register(ctx, c4.RegisterRequest{ClientUID: owner, Name: name, Pledge: c4.Pledge{
			CPU: c4.CPUPledge{Slots: 1, MaxOverprovision: 10, MinFrequency: "0.5", Arch: []string{"X86_64"}},
			Mem: c4.MemPledge{Capacity: 1024},
		}})
		return err
	})
	if err == nil {
		r.ends(func(ctx context.Context) error {
			err := r.ask(host, func(c *c4.Client) error { return c.Unregister(ctx, c4.VMRef{ClientUID: owner, VMUID: uid}) })
			if c4.CodeOf(err) == c4.NotFound { // a daemon was quicker
				return nil
			}
			return err
		})
	}
	return err
}

// ask asks a host itself.
func (r *run) ask(host string, what func(*c4.Client) error) error {
	for _, h := range r.World.Hosts() {
		if h.ID != host {
			continue
		}
		config, err := h.C4()
		if err != nil {
			return err
		}
		c, err := c4.New(config)
		if err != nil {
			return err
		}
		defer c.Close()
		return what(c)
	}
	return fmt.Errorf("there is no host %s", host)
}

func permissionIsTaken(ctx context.Context, r *run) error {
	role := &rbacv1.ClusterRole{}
	if err := r.Admin.Get(ctx, client.ObjectKey{Name: "elemento-manager"}, role); err != nil {
		return err
	}
	whole := client.MergeFrom(role.DeepCopy())
	shipped := slices.Clone(role.Rules)
	role.Rules = slices.DeleteFunc(role.Rules, func(rule rbacv1.PolicyRule) bool {
		return slices.Contains(rule.Resources, "elementomachines/status")
	})
	if len(role.Rules) == len(shipped) {
		return errors.New("the manager's role lets it write no status of ElementoMachines")
	}
	all, err := r.vms(ctx)
	if err != nil {
		return err
	}
	if err := r.Admin.Patch(ctx, role, whole); err != nil {
		return err
	}
	r.ends(func(ctx context.Context) error {
		taken := client.MergeFrom(role.DeepCopy())
		role.Rules = shipped
		return r.Admin.Patch(ctx, role, taken)
	})
	return r.reconcile(ctx, all[0].machine)
}

func managerIsGone(_ context.Context, r *run) error {
	r.ends(func(ctx context.Context) error { return r.World.Revive(ctx, world.ElementoProvider) })
	return r.World.Process(world.ElementoProvider).Kill()
}

func controlPlaneIsCutOff(ctx context.Context, r *run) error {
	machines, err := r.cluster.ListMachines(ctx, r.Admin)
	if err != nil {
		return err
	}
	if len(machines.ControlPlane) != 1 {
		return fmt.Errorf("there are %d control planes, want 1", len(machines.ControlPlane))
	}
	spec, err := r.spec(ctx, machines.ControlPlane[0])
	if err != nil {
		return err
	}
	r.ends(func(ctx context.Context) error { return r.Fake.MendVM(ctx, spec.Host, spec.VMName) })
	return r.Fake.CutVM(ctx, spec.Host, spec.VMName)
}

func noRoom(ctx context.Context, r *run) error {
	for _, h := range r.World.Hosts() {
		if err := r.Fake.SetCapacity(ctx, h.ID, 1, 1); err != nil {
			return err
		}
		r.ends(func(ctx context.Context) error { return r.Fake.SetCapacity(ctx, h.ID, 0, 0) })
	}
	return r.another(ctx)
}

// manager has our manager started again with other settings, until the end.
func (r *run) manager(ctx context.Context, settings world.ManagerSettings) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	r.ends(func(ctx context.Context) error { return r.World.SetManager(ctx, world.ManagerSettings{}) })
	return r.World.SetManager(ctx, settings)
}

func leaderIsGone(ctx context.Context, r *run) error {
	key, now := r.World.Lease(), metav1.NowMicro()
	lease := &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name},
		Spec: coordinationv1.LeaseSpec{
			HolderIdentity: ptr.To("a manager that is gone"), LeaseDurationSeconds: ptr.To(int32(3600)),
			AcquireTime: &now, RenewTime: &now,
		},
	}
	if err := r.Admin.Create(ctx, lease); err != nil {
		return err
	}
	r.ends(func(ctx context.Context) error { return r.Admin.Delete(ctx, lease) })
	return r.manager(ctx, world.ManagerSettings{Args: []string{"--leader-elect"}})
}

const (
	// crowd is how many clusters are asked for beside the one that stands: more than may
	// wait for a controller, and those that it works on.
	crowd = 150
	// crowded is the label of what belongs to them.
	crowded = "watch.elemento.cloud/crowd"
)

func clustersCrowd(ctx context.Context, r *run) error {
	r.ends(r.disperse)
	if err := r.manager(ctx, world.ManagerSettings{Args: []string{"--kube-api-qps=1", "--kube-api-burst=1"}}); err != nil {
		return err
	}
	for n := range crowd {
		meta := metav1.ObjectMeta{Namespace: r.cluster.Key.Namespace, Name: fmt.Sprintf("crowd-%d", n), Labels: map[string]string{crowded: ""}}
		infrastructure := &infrav1.ElementoCluster{ObjectMeta: meta, Spec: infrav1.ElementoClusterSpec{
			// Without an identity nothing is made on hosts, and each is looked at again and again.
			IdentityRef:  infrav1.IdentityReference{Name: "missing-elemento-identity"},
			Network:      infrav1.ClusterNetwork{Name: "network"},
			EndpointMode: infrav1.EndpointModeExternal,
		}}
		cluster := &clusterv1.Cluster{ObjectMeta: meta, Spec: clusterv1.ClusterSpec{
			InfrastructureRef: clusterv1.ContractVersionedObjectReference{APIGroup: infrav1.GroupVersion.Group, Kind: "ElementoCluster", Name: meta.Name},
		}}
		for _, object := range []client.Object{infrastructure, cluster} {
			if err := r.Admin.Create(ctx, object); err != nil {
				return err
			}
		}
	}
	return nil
}

// disperse deletes the crowd of clusters, and waits until they are gone.
func (r *run) disperse(ctx context.Context) error {
	in, those := client.InNamespace(r.cluster.Key.Namespace), client.HasLabels{crowded}
	if err := errors.Join(r.Admin.DeleteAllOf(ctx, &clusterv1.Cluster{}, in, those), r.Admin.DeleteAllOf(ctx, &infrav1.ElementoCluster{}, in, those)); err != nil {
		return err
	}
	return poll.Until(ctx, interval, func(ctx context.Context) (bool, error) {
		clusters, infrastructure := &clusterv1.ClusterList{}, &infrav1.ElementoClusterList{}
		err := errors.Join(r.Admin.List(ctx, clusters, in, those), r.Admin.List(ctx, infrastructure, in, those))
		return err == nil && len(clusters.Items)+len(infrastructure.Items) == 0, err
	})
}

// panicking are the edits that make a manager of which a controller panics.
var panicking = []world.Edit{{
	File: "provider/controllers/template.go",
	Old:  "	stored := template.DeepCopy()\n",
	New:  "	stored := template.DeepCopy()\n	template = nil\n",
}}

func managerPanics(ctx context.Context, r *run) error {
	repository, err := binaries.Repository(ctx)
	if err != nil {
		return err
	}
	overlay, err := world.Overlay(repository, panicking...)
	if err != nil {
		return err
	}
	return r.manager(ctx, world.ManagerSettings{Overlay: overlay})
}

// slowBoot is longer than the 10 minutes after which a Machine is slow.
const slowBoot = 11 * time.Minute

// vmsBootSlowly adds more workers than are a tenth of the Machines that came while nothing
// was wrong, and waits until they are provisioned.
func vmsBootSlowly(ctx context.Context, r *run) error {
	const more = 2
	for _, h := range r.World.Hosts() {
		if err := r.Fake.SetBootTime(ctx, h.ID, slowBoot); err != nil {
			return err
		}
		r.ends(func(ctx context.Context) error { return r.Fake.SetBootTime(ctx, h.ID, site().BootTime) })
	}
	r.ends(func(ctx context.Context) error { return r.cluster.Scale(ctx, workers) })
	if err := r.cluster.Scale(ctx, workers+more); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, slowBoot+patience)
	defer cancel()
	return poll.Until(ctx, interval, func(ctx context.Context) (bool, error) {
		err := r.cluster.Has(workers + more)(ctx)
		return err == nil, err
	})
}

// simulatedHasNone is why nothing tells of what is in a workload cluster here.
const simulatedHasNone = "of what Prometheus has in a workload cluster: simulated ones have none, and neither kubelets nor kube-state-metrics"

// synthetic are the alerts that no scenario brings about, and why: they are tested on
// synthetic series alone (provider/config/prometheus/tests).
var synthetic = map[string]string{
	"WorkloadAPIServerDown":       simulatedHasNone,
	"WorkloadAPIServerErrors":     simulatedHasNone,
	"WorkloadNodeNotReady":        simulatedHasNone,
	"WorkloadPodsCrash":           simulatedHasNone,
	"WorkloadSystemPodCrashLoops": simulatedHasNone,
}
