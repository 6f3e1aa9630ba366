package controllers

import (
	"context"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"elemento.cloud/cluster-api-provider-elemento/daemon/rpc"
	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
)

// nothingMade lets a machine go for which no host was ever written down: nothing
// is made before that.
func (r *MachineReconciler) nothingMade(ctx context.Context, s *machineScope) (*ctrl.Result, error) {
	if s.object.Spec.Host != "" && s.object.Spec.VMName != "" {
		return nil, nil
	}
	if _, err := r.release(ctx, s); err != nil {
		return nil, err
	}
	return stop(0), nil
}

// remove takes the VM with its volumes and seed away and goes on when the host
// has shown that they are gone.
func (r *MachineReconciler) remove(ctx context.Context, s *machineScope) (*ctrl.Result, error) {
	gone, remaining, err := s.member.DeleteVM(ctx, &rpc.DeleteVMRequest{
		Host: s.object.Spec.Host, VmName: s.object.Spec.VMName,
		ForceAfter: timestamppb.New(s.object.DeletionTimestamp.Add(r.StopTimeout)),
	})
	if err != nil && fromDaemon(err) && isSilent(s.member, s.object.Spec.Host) {
		return r.leave(ctx, s)
	}
	if err != nil {
		p := explain(err)
		reason := p.reason
		if reason == infrav1.HostUnreachableReason {
			reason = infrav1.WaitingForHostDeletionReason
		}
		setTrue(s.object, infrav1.DeletingCondition, reason, p.message)
		if p.status == metav1.ConditionUnknown {
			setUnknown(s.object, infrav1.VMProvisionedCondition, p.reason, p.message)
		}
		return stop(later(s.object.DeletionTimestamp.Time, p.again)), nil
	}
	if !gone {
		setTrue(s.object, infrav1.DeletingCondition, infrav1.RemovingReason, "Still there: "+strings.Join(remaining, ", "))
		// The inventory wakes us; this is for the steps that it does not show.
		return stop(later(s.object.DeletionTimestamp.Time, 100*time.Millisecond)), nil
	}
	r.event(s, corev1.EventTypeNormal, "VMDeleted", "DeleteVM", "VM %s and its volumes are gone from host %s", s.object.Spec.VMName, s.object.Spec.Host)
	return nil, nil
}

// leave waits for a host that cannot be asked, and after the grace has a cleanup
// take over what may be there, so that the Machine can be replaced.
func (r *MachineReconciler) leave(ctx context.Context, s *machineScope) (*ctrl.Result, error) {
	host := s.object.Spec.Host
	r.unknown(s, infrav1.HostUnreachableReason, "Host "+host+" does not answer, so nothing is known of the VM")
	left := graceLeft(s.object, infrav1.HostAvailableCondition, r.UnreachableGrace)
	if left > 0 {
		setTrue(s.object, infrav1.DeletingCondition, infrav1.WaitingForHostDeletionReason,
			fmt.Sprintf("Host %s does not answer; after %s of that an ElementoCleanup takes over what is there", host, r.UnreachableGrace))
		return stop(left), nil // its return wakes us before
	}
	cleanup := leftVM(s.object, s.infrastructure, s.member, "The machine was deleted while the host did not answer")
	wrong, err := r.Cleanups.leave(ctx, cleanup)
	if err != nil {
		return nil, err
	}
	if wrong != nil {
		setTrue(s.object, infrav1.DeletingCondition, wrong.reason, wrong.message)
		return stop(wrong.again), nil
	}
	r.event(s, corev1.EventTypeWarning, LeftBehindReason, "Delete", "ElementoCleanup %s takes over VM %s, which may be left on host %s", cleanup.Name, s.object.Spec.VMName, host)
	s.left = true
	return nil, nil
}

// release lets the object go.
func (r *MachineReconciler) release(ctx context.Context, s *machineScope) (*ctrl.Result, error) {
	if controllerutil.ContainsFinalizer(s.object, infrav1.MachineFinalizer) {
		if err := r.store.release(ctx, r.Client, s.object, infrav1.MachineFinalizer); err != nil {
			return nil, err
		}
		outcome := outcomeRemoved
		if s.left {
			outcome = outcomeLeft
		}
		machineDeletion.WithLabelValues(outcome).Observe(time.Since(s.object.DeletionTimestamp.Time).Seconds())
	}
	s.gone = true
	return nil, nil
}
