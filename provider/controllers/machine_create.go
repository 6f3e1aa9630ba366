package controllers

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/cluster-api/util"
	"sigs.k8s.io/cluster-api/util/conditions"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemento.cloud/cluster-api-provider-elemento/daemon/rpc"
	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
	"elemento.cloud/cluster-api-provider-elemento/provider/fleet"
)

// place chooses the host and writes it down: until the VM is proven absent
// there, nothing is done on any other.
func (r *MachineReconciler) place(ctx context.Context, s *machineScope) (*ctrl.Result, error) {
	if s.object.Spec.Host == "" {
		if result, err := r.placeElsewhere(ctx, s); err != nil || result != nil {
			return result, err
		}
	}
	setTrue(s.object, infrav1.HostAssignedCondition, infrav1.HostAssignedReason, "")
	return nil, nil
}

// placeElsewhere chooses a host other than the given ones and writes it down.
func (r *MachineReconciler) placeElsewhere(ctx context.Context, s *machineScope, than ...string) (*ctrl.Result, error) {
	host, wrong, err := r.propose(ctx, s, than...)
	if err != nil {
		return nil, err
	}
	if wrong != nil {
		setProblem(s.object, infrav1.HostAssignedCondition, *wrong)
		return stop(wrong.again), nil
	}
	return nil, r.writeHost(ctx, s, host)
}

// propose asks for a host other than the given ones, and than those on which a
// cleanup is about to remove what may be there of this VM. Nothing is written.
func (r *MachineReconciler) propose(ctx context.Context, s *machineScope, than ...string) (host string, wrong *problem, err error) {
	request := &rpc.PlaceVMRequest{
		Domain: s.object.Spec.Domain, VmName: s.object.Spec.VMName, Spec: vmSpec(s.object, s.infrastructure), Role: rpc.Role_ROLE_WORKER,
		ExcludedHosts: slices.Clone(than),
	}
	cleanups := &infrav1.ElementoCleanupList{}
	if err := r.Live.List(ctx, cleanups, client.InNamespace(s.object.Namespace)); err != nil {
		return "", nil, err
	}
	for _, c := range cleanups.Items {
		if c.Spec.VMName == s.object.Spec.VMName && !slices.Contains(than, c.Spec.Host) {
			request.ExcludedHosts = append(request.ExcludedHosts, c.Spec.Host)
		}
	}
	if util.IsControlPlaneMachine(s.machine) {
		request.Role = rpc.Role_ROLE_CONTROL_PLANE
		peers := &infrav1.ElementoMachineList{}
		if err := r.Client.List(ctx, peers, client.InNamespace(s.object.Namespace),
			client.MatchingLabels{clusterv1.ClusterNameLabel: s.cluster.Name}, client.HasLabels{clusterv1.MachineControlPlaneLabel}, client.UnsafeDisableDeepCopy); err != nil {
			return "", nil, err
		}
		for _, peer := range peers.Items {
			if peer.Name != s.object.Name && peer.Spec.Host != "" {
				request.PeerHosts = append(request.PeerHosts, peer.Spec.Host)
			}
		}
	}
	host, err = s.member.PlaceVM(ctx, request)
	if err != nil {
		p := explain(err)
		return "", &p, nil
	}
	return host, nil, nil
}

// writeHost writes the machine's host down. What was known of another one's health
// does not count for it; what is known of this one is said at once, or the next look
// would cost a write of its own.
func (r *MachineReconciler) writeHost(ctx context.Context, s *machineScope, host string) error {
	if err := r.persist(ctx, s, func(m *infrav1.ElementoMachine) { m.Spec.Host = host }); err != nil {
		return err
	}
	conditions.Delete(s.object, infrav1.HostAvailableCondition)
	_, err := r.lookAtHost(ctx, s)
	return err
}

// fence gives up a host that has been silent for longer than the grace, if the VM
// was never seen there. What may be there all the same is left to a cleanup, which
// is stored before another host is written down, and keeps the machine from coming
// back for as long as it is there.
func (r *MachineReconciler) fence(ctx context.Context, s *machineScope) (*ctrl.Result, error) {
	silent := s.object.Spec.Host
	if s.vm != nil || silent == "" || wasMade(s) || !isSilent(s.member, silent) || s.member.Look(silent, s.object.Spec.VMName).VM != nil || graceLeft(s.object, infrav1.HostAvailableCondition, r.FencingGrace) > 0 {
		return nil, nil
	}
	host, wrong, err := r.propose(ctx, s, silent)
	if err != nil {
		return nil, err
	}
	if wrong == nil {
		cleanup := leftVM(s.object, s.infrastructure, s.member, "The host did not answer before the VM was seen there, and the machine was placed on another one")
		if wrong, err = r.Cleanups.leave(ctx, cleanup); err != nil {
			return nil, err
		}
	}
	if wrong != nil {
		setUnknown(s.object, infrav1.VMProvisionedCondition, infrav1.HostUnreachableReason, "Host "+silent+" does not answer, and there is no other: "+wrong.message)
		return stop(wrong.again), nil
	}
	if err := r.writeHost(ctx, s, host); err != nil {
		return nil, err
	}
	r.event(s, corev1.EventTypeWarning, "HostChanged", "PlaceVM", "Host %s did not answer for %s, and VM %s was never seen there; trying %s, and an ElementoCleanup removes what may be on the other", silent, r.FencingGrace, s.object.Spec.VMName, host)
	return stop(time.Millisecond), nil
}

// confirm sees to it that no VM is made from an old object. The store knows of
// what this process wrote; but a manager that takes over may have a cache from
// before its predecessor gave the host up, and a write without an answer may have
// had its effect.
func (r *MachineReconciler) confirm(ctx context.Context, s *machineScope) (*ctrl.Result, error) {
	if s.vm != nil {
		return nil, nil
	}
	live := &infrav1.ElementoMachine{}
	if err := r.Live.Get(ctx, client.ObjectKeyFromObject(s.object), live); err != nil {
		return nil, err // gone is as good as a conflict
	}
	if live.ResourceVersion != s.object.ResourceVersion {
		return stop(conflictDelay), nil
	}
	return nil, nil
}

// create has the assigned host make the VM, whatever became of earlier tries.
func (r *MachineReconciler) create(ctx context.Context, s *machineScope) (*ctrl.Result, error) {
	if s.vm != nil {
		return nil, nil
	}
	vm, err := s.member.EnsureVM(ctx, &rpc.EnsureVMRequest{
		Host: s.object.Spec.Host, VmName: s.object.Spec.VMName, Spec: vmSpec(s.object, s.infrastructure),
		UserData: s.bootstrap,
		MetaData: map[string]string{
			"instance-id":    s.object.Spec.VMName,
			"local-hostname": s.machine.Name,
			"provider_id":    s.object.Spec.ProviderID,
		},
	})
	switch fleet.ReasonOf(err) {
	case rpc.Reason_REASON_NO_CAPACITY, rpc.Reason_REASON_LICENSE_REQUIRED:
		return r.giveUpHost(ctx, s, explain(err))
	}
	if err != nil {
		p := explain(err)
		setProblem(s.object, infrav1.VMProvisionedCondition, p)
		return stop(patience(s.object, p.again)), nil
	}
	if s.object.Status.VMUID == "" {
		r.event(s, corev1.EventTypeNormal, "VMCreated", "EnsureVM", "VM %s is on host %s", s.object.Spec.VMName, s.object.Spec.Host)
	}
	r.full.forget(s.object.UID)
	s.vm = vm
	return nil, nil
}

// patience is when to ask again for a VM that is not made yet. It has been waited for
// since it was seen to be gone, or since its host was assigned; before that its machine
// may have waited for its bootstrap data.
func patience(m *infrav1.ElementoMachine, soonest time.Duration) time.Duration {
	since := conditions.GetLastTransitionTime(m, infrav1.VMProvisionedCondition).Time
	if c := conditions.Get(m, infrav1.HostAssignedCondition); c != nil && c.LastTransitionTime.After(since) {
		since = c.LastTransitionTime.Time
	}
	return later(since, soonest)
}

// giveUpHost is for a host that turned out to be full. Another may be tried once
// this one is proven to have nothing of the VM, and each is tried once.
func (r *MachineReconciler) giveUpHost(ctx context.Context, s *machineScope, why problem) (*ctrl.Result, error) {
	full := s.object.Spec.Host
	setProblem(s.object, infrav1.VMProvisionedCondition, why)
	if result, err := r.clear(ctx, s); err != nil || result != nil {
		return result, err
	}
	result, err := r.placeElsewhere(ctx, s, r.full.add(s.object.UID, full)...)
	if err != nil {
		return nil, err
	}
	if result != nil {
		r.full.forget(s.object.UID)
		// Nowhere else either: let the next try choose among all hosts again.
		setProblem(s.object, infrav1.HostAssignedCondition, why)
		return result, r.writeHost(ctx, s, "")
	}
	r.event(s, corev1.EventTypeNormal, "HostChanged", "PlaceVM", "Host %s has no room for VM %s; trying %s", full, s.object.Spec.VMName, s.object.Spec.Host)
	setTrue(s.object, infrav1.HostAssignedCondition, infrav1.HostAssignedReason, "")
	return stop(time.Millisecond), nil
}

// clear removes what there is of the VM on its host, and goes on when the host
// has shown that nothing is left.
func (r *MachineReconciler) clear(ctx context.Context, s *machineScope) (*ctrl.Result, error) {
	gone, remaining, err := s.member.DeleteVM(ctx, &rpc.DeleteVMRequest{Host: s.object.Spec.Host, VmName: s.object.Spec.VMName})
	switch {
	case err != nil:
		p := explain(err)
		setProblem(s.object, infrav1.VMProvisionedCondition, p)
		return stop(patience(s.object, p.again)), nil
	case !gone:
		setFalse(s.object, infrav1.VMProvisionedCondition, infrav1.RecreatingReason, fmt.Sprintf("Removing what is left on host %s first: %v", s.object.Spec.Host, remaining))
		return stop(patience(s.object, 200*time.Millisecond)), nil
	}
	return nil, nil
}

// vmSpec is what a machine asks of the daemons.
func vmSpec(m *infrav1.ElementoMachine, c *infrav1.ElementoCluster) *rpc.VMSpec {
	spec := &rpc.VMSpec{
		Slots: uint32(m.Spec.Slots), FullPhysical: m.Spec.FullPhysical, MaxOverprovision: uint32(max(1, m.Spec.Overprovision)),
		MemoryMib: uint64(m.Spec.MemoryMiB), RequireEcc: m.Spec.RequireECC,
		Architecture: string(m.Spec.Architecture), CpuFlags: m.Spec.CPUFlags,
		Image:      m.Spec.Image,
		BootVolume: &rpc.Volume{SizeGib: uint64(m.Spec.BootVolume.SizeGiB), Bus: string(m.Spec.BootVolume.Bus), Format: string(m.Spec.BootVolume.Format)},
		Networks:   []*rpc.NetworkSpec{clusterNetwork(c)},
		Firmware:   string(m.Spec.Firmware), Tags: m.Spec.Tags,
	}
	for _, device := range m.Spec.PCIDevices {
		spec.PciDevices = append(spec.PciDevices, &rpc.PCIDevice{Vendor: device.Vendor, Model: device.Model, Quantity: uint32(max(1, device.Quantity))})
	}
	for _, volume := range m.Spec.DataVolumes {
		spec.DataVolumes = append(spec.DataVolumes, &rpc.Volume{Name: volume.Name, SizeGib: uint64(volume.SizeGiB), Bus: string(volume.Bus), Format: string(volume.Format)})
	}
	for _, network := range m.Spec.Networks {
		spec.Networks = append(spec.Networks, &rpc.NetworkSpec{Name: network.Name})
	}
	return spec
}
