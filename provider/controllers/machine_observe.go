package controllers

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/cluster-api/util"
	"sigs.k8s.io/cluster-api/util/conditions"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemento.cloud/cluster-api-provider-elemento/daemon/rpc"
	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
	"elemento.cloud/cluster-api-provider-elemento/provider/fleet"
)

func ready(host *rpc.Host) bool { return host.GetHealth() == rpc.HostHealth_HOST_HEALTH_READY }

// wasMade tells that there once was a VM. The Machine's providerID survives a
// move to another management cluster, a status does not; nor does the Machine's
// nodeRef, for which [joined] makes up.
func wasMade(s *machineScope) bool {
	return s.object.Status.VMUID != "" || ptr.Deref(s.object.Status.Initialization.Provisioned, false) || s.machine.Spec.ProviderID != ""
}

// observe finds the VM in what the daemons tell. A VM that should be there and
// is not to be seen is asked for; only its host can prove it gone.
func (r *MachineReconciler) observe(ctx context.Context, s *machineScope) (*ctrl.Result, error) {
	host, name := s.object.Spec.Host, s.object.Spec.VMName
	if host == "" {
		return nil, nil
	}
	setTrue(s.object, infrav1.HostAssignedCondition, infrav1.HostAssignedReason, "")
	sight := s.member.Look(host, name)
	if sight.Host == nil && wasMade(s) {
		s.member.Sync(ctx) // the stream is on its way after a start
		sight = s.member.Look(host, name)
	}
	switch {
	case sight.VM != nil && sight.Reachable() && reconcileRequested(s) == s.object.Status.ReconcileRequested:
		s.vm = sight.VM
		return nil, nil
	case !wasMade(s):
		return nil, nil
	}
	if sight.Host != nil && !sight.Reachable() {
		message := "Host " + host + " does not answer, so nothing is known of the VM"
		if !joined(s) { // so that no node's condition speaks for it
			message += "; if the host stays away, delete the Machine, which its node never joined, or let the nodeStartupTimeoutSeconds of its health check have it replaced"
		}
		r.unknown(s, infrav1.HostUnreachableReason, message)
		return stop(30 * time.Second), nil // its return wakes us
	}
	vm, err := s.member.GetVM(ctx, host, name)
	switch {
	case err == nil:
		s.vm = vm
		return nil, nil
	case fleet.ReasonOf(err) == rpc.Reason_REASON_VM_NOT_FOUND && sight.Absent >= 2:
		return r.lost(ctx, s)
	case fleet.ReasonOf(err) == rpc.Reason_REASON_VM_NOT_FOUND:
		// Not proven yet. The second answer without it wakes us.
		return stop(2 * time.Second), nil
	}
	p := explain(err)
	r.unknown(s, p.reason, p.message)
	return stop(p.again), nil
}

// reconcileRequested is what the annotations ask for now; what was answered last
// where they ask for nothing.
func reconcileRequested(s *machineScope) string {
	requested := max(s.machine.Annotations[infrav1.ReconcileRequestedAnnotation], s.object.Annotations[infrav1.ReconcileRequestedAnnotation])
	if requested == "" {
		return s.object.Status.ReconcileRequested
	}
	return requested[:min(len(requested), 256)]
}

// unknown says that nothing is known of a VM that was there.
func (r *MachineReconciler) unknown(s *machineScope, reason, message string) {
	setUnknown(s.object, infrav1.VMProvisionedCondition, reason, message)
	setUnknown(s.object, infrav1.VMRunningCondition, reason, message)
	s.object.Status.PowerState = infrav1.PowerStateUnknown
}

// lost deals with a VM that its host has shown to be gone. Before its node
// joined it is made again from the same data. After that its tokens are spent,
// so that Cluster API is asked to replace the Machine.
func (r *MachineReconciler) lost(ctx context.Context, s *machineScope) (*ctrl.Result, error) {
	s.object.Status.ReconcileRequested = reconcileRequested(s)
	name, host := s.object.Spec.VMName, s.object.Spec.Host
	first := !conditions.IsFalse(s.object, infrav1.VMProvisionedCondition)
	waiting := func(reason string) {
		setFalse(s.object, infrav1.VMRunningCondition, infrav1.WaitingForVMReason, "")
		setFalse(s.object, infrav1.AddressAvailableCondition, infrav1.WaitingForVMReason, "")
		if first {
			driftFound.WithLabelValues(driftGone).Inc()
			r.event(s, corev1.EventTypeWarning, reason, "Observe", "VM %s is gone from host %s", name, host)
		}
	}
	s.object.Status.VMUID, s.object.Status.PowerState, s.object.Status.Addresses = "", "", nil
	if !joined(s) {
		waiting(infrav1.RecreatingReason)
		setFalse(s.object, infrav1.VMProvisionedCondition, infrav1.RecreatingReason, fmt.Sprintf("VM %s is gone from host %s before its node joined, and is made again", name, host))
		return r.clear(ctx, s)
	}
	setTrue(s.object, infrav1.BootstrapDataAvailableCondition, infrav1.AvailableReason, "") // and spent
	waiting(infrav1.VMLostReason)
	message := fmt.Sprintf("VM %s is gone from host %s; Cluster API is asked to replace the Machine", name, host)
	if alone, err := r.onlyControlPlane(ctx, s); err != nil {
		return nil, err
	} else if alone {
		message = fmt.Sprintf("VM %s is gone from host %s, and with it the cluster's only control plane, which cannot be replaced; restore or make the cluster anew", name, host)
		setFalse(s.object, infrav1.VMProvisionedCondition, infrav1.VMLostReason, message)
		return stop(0), nil
	}
	setFalse(s.object, infrav1.VMProvisionedCondition, infrav1.VMLostReason, message)
	if _, asked := s.machine.Annotations[clusterv1.RemediateMachineAnnotation]; asked {
		return stop(0), nil
	}
	_, err := persist(ctx, r.Client, s.machine, func(m *clusterv1.Machine) {
		metav1.SetMetaDataAnnotation(&m.ObjectMeta, clusterv1.RemediateMachineAnnotation, remediationOurs)
	})
	return stop(0), client.IgnoreNotFound(err) // its end wakes us
}

// remediationOurs is the value of Cluster API's annotation, of which only the presence
// counts there, if it is we who ask.
const remediationOurs = "elemento: " + infrav1.VMLostReason

// withdraw takes back that Cluster API was asked to replace the Machine, if its VM is seen
// again: a host's list was without it for a while. What others ask for stays.
func (r *MachineReconciler) withdraw(ctx context.Context, s *machineScope) (*ctrl.Result, error) {
	if s.machine.Annotations[clusterv1.RemediateMachineAnnotation] != remediationOurs || !s.machine.DeletionTimestamp.IsZero() {
		return nil, nil
	}
	_, err := persist(ctx, r.Client, s.machine, func(m *clusterv1.Machine) {
		delete(m.Annotations, clusterv1.RemediateMachineAnnotation)
	})
	return nil, client.IgnoreNotFound(err)
}

// onlyControlPlane tells that the machine is the cluster's one control plane.
func (r *MachineReconciler) onlyControlPlane(ctx context.Context, s *machineScope) (bool, error) {
	if !util.IsControlPlaneMachine(s.machine) {
		return false, nil
	}
	machines := &clusterv1.MachineList{}
	err := r.Client.List(ctx, machines, client.InNamespace(s.object.Namespace),
		client.MatchingLabels{clusterv1.ClusterNameLabel: s.cluster.Name}, client.HasLabels{clusterv1.MachineControlPlaneLabel}, client.UnsafeDisableDeepCopy)
	return len(machines.Items) == 1, err
}

// powerStates has an entry for every power state of a daemon.
var powerStates = map[rpc.PowerState]infrav1.PowerState{
	rpc.PowerState_POWER_STATE_UNSPECIFIED: infrav1.PowerStateUnknown,
	rpc.PowerState_POWER_STATE_RUNNING:     infrav1.PowerStateRunning,
	rpc.PowerState_POWER_STATE_OFF:         infrav1.PowerStateOff,
	rpc.PowerState_POWER_STATE_PAUSED:      infrav1.PowerStatePaused,
}

// describe writes what the VM is like into the status, and powers it on if it
// is off.
func (r *MachineReconciler) describe(ctx context.Context, s *machineScope) (*ctrl.Result, error) {
	status, vm := &s.object.Status, s.vm
	status.ReconcileRequested = reconcileRequested(s)
	status.VMUID, status.PowerState, status.FailureDomain = vm.GetUid(), powerStates[vm.GetPowerState()], s.object.Spec.Domain
	setTrue(s.object, infrav1.VMProvisionedCondition, infrav1.ProvisionedReason, "")
	r.reportDrift(s)
	if result, err := r.keepRunning(ctx, s); err != nil || result != nil {
		return result, err
	}
	// Some guests never have an address, and Cluster API needs none.
	status.Initialization.Provisioned = new(true)
	if vm.GetAddress() == "" {
		status.Addresses = nil
		setFalse(s.object, infrav1.AddressAvailableCondition, infrav1.WaitingForAddressReason, "The VM runs and its guest has no address yet")
		return stop(0), nil
	}
	status.Addresses = clusterv1.MachineAddresses{{Type: clusterv1.MachineInternalIP, Address: vm.GetAddress()}}
	setTrue(s.object, infrav1.AddressAvailableCondition, infrav1.AvailableReason, "")
	return nil, nil
}

// bootPatience is how long a VM that was just made may be seen powered off, and the
// longest until one is powered on once more: it is on its way up. By a host's clock that
// is further off than that nobody can tell.
const bootPatience = time.Minute

// keepRunning powers a VM on that is off, unless its host is in maintenance: it is about
// to be worked on.
func (r *MachineReconciler) keepRunning(ctx context.Context, s *machineScope) (*ctrl.Result, error) {
	// One that was found off on a host in maintenance is not on its way up either.
	wasRunning := conditions.IsTrue(s.object, infrav1.VMRunningCondition) ||
		conditions.GetReason(s.object, infrav1.VMRunningCondition) == infrav1.HostInMaintenanceReason
	switch s.vm.GetPowerState() {
	case rpc.PowerState_POWER_STATE_RUNNING:
		setTrue(s.object, infrav1.VMRunningCondition, infrav1.RunningReason, "")
		return nil, nil
	case rpc.PowerState_POWER_STATE_PAUSED:
		setFalse(s.object, infrav1.VMRunningCondition, infrav1.VMPausedReason, "Somebody paused the VM on its host; it is left alone")
		return stop(0), nil
	case rpc.PowerState_POWER_STATE_UNSPECIFIED:
		setUnknown(s.object, infrav1.VMRunningCondition, infrav1.NotObservedReason, "The host does not tell whether the VM runs")
		return stop(0), nil
	}
	if age := time.Since(s.vm.GetCreated().AsTime()); !wasRunning && s.vm.GetCreated() != nil && age.Abs() < bootPatience {
		setFalse(s.object, infrav1.VMRunningCondition, infrav1.StartingReason, "The VM is starting")
		return stop(bootPatience - max(0, age)), nil
	}
	if host := s.object.Spec.Host; inMaintenance(s.member.Look(host, "").Host) {
		setFalse(s.object, infrav1.VMRunningCondition, infrav1.HostInMaintenanceReason,
			"The VM is off, and is powered on when host "+host+" is out of maintenance; delete the Machine to have it replaced on another one now")
		return stop(0), nil // that wakes us
	}
	if err := s.member.SetVMPower(ctx, s.object.Spec.Host, s.object.Spec.VMName, rpc.PowerAction_POWER_ACTION_ON); err != nil {
		p := explain(err)
		setFalse(s.object, infrav1.VMRunningCondition, infrav1.PoweredOffReason, "The VM does not run and cannot be powered on: "+p.message)
		if p.reason != infrav1.WrongStateReason {
			return stop(p.again), nil
		}
		return stop(powerOnAgain(s, wasRunning)), nil
	}
	if wasRunning {
		driftFound.WithLabelValues(driftOff).Inc()
		r.event(s, corev1.EventTypeWarning, infrav1.PoweredOffReason, "SetVMPower", "VM %s was found powered off and is powered on", s.object.Spec.VMName)
	}
	setFalse(s.object, infrav1.VMRunningCondition, infrav1.StartingReason, "The VM was off and is being powered on")
	return stop(powerOnAgain(s, wasRunning)), nil
}

// powerOnAgain is when a VM that does not come to run is powered on once more: the longer
// it has not run, the later. Many that take long to boot would keep their host, and us, from
// what else there is to do; one that comes to run wakes us.
func powerOnAgain(s *machineScope, wasRunning bool) time.Duration {
	const soonest = 5 * time.Second
	if wasRunning {
		return soonest // on a host in maintenance it may have been off for long
	}
	off := time.Since(conditions.GetLastTransitionTime(s.object, infrav1.VMRunningCondition).Time)
	return max(min(off.Abs()/2, bootPatience), soonest) // a clock may have gone back
}

// memoryUnit is the unit, in MiB, in which hosts report memory. They may round to
// it in either direction, so that what differs by less was not changed.
const memoryUnit = 1024

// reportDrift tells what of the VM is not as the machine says. Nothing is done
// about it.
func (r *MachineReconciler) reportDrift(s *machineScope) {
	var differs []string
	if n := s.vm.GetSlots(); n != 0 && n != uint32(s.object.Spec.Slots) {
		differs = append(differs, fmt.Sprintf("slots: %d instead of %d", n, s.object.Spec.Slots))
	}
	if n := int64(s.vm.GetMemoryMib()); n != 0 && max(n-s.object.Spec.MemoryMiB, s.object.Spec.MemoryMiB-n) >= memoryUnit {
		differs = append(differs, fmt.Sprintf("memoryMiB: %d instead of %d", n, s.object.Spec.MemoryMiB))
	}
	for _, network := range vmSpec(s.object, s.infrastructure).GetNetworks() {
		if len(s.vm.GetNetworks()) > 0 && !slices.Contains(s.vm.GetNetworks(), network.GetName()) {
			differs = append(differs, fmt.Sprintf("networks: %s is not attached", network.GetName()))
		}
	}
	if len(differs) == 0 {
		setTrue(s.object, infrav1.VMMatchesSpecCondition, infrav1.MatchesSpecReason, "")
		return
	}
	message := "The VM was changed by hand and is left alone: " + strings.Join(differs, "; ")
	if c := conditions.Get(s.object, infrav1.VMMatchesSpecCondition); c == nil || c.Message != message {
		driftFound.WithLabelValues(driftChanged).Inc()
		r.event(s, corev1.EventTypeWarning, infrav1.DriftedReason, "Observe", "%s", message)
	}
	setFalse(s.object, infrav1.VMMatchesSpecCondition, infrav1.DriftedReason, message)
}
