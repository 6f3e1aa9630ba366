package controllers

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
)

// awaitMachines keeps what machines stand on for as long as there are any.
func (r *ClusterReconciler) awaitMachines(ctx context.Context, s *clusterScope) (*ctrl.Result, error) {
	name, ok := s.object.Labels[clusterv1.ClusterNameLabel]
	if s.cluster != nil {
		name, ok = s.cluster.Name, true
	}
	if !ok {
		return nil, nil // no Cluster ever claimed it
	}
	machines := &infrav1.ElementoMachineList{}
	if err := r.Client.List(ctx, machines, client.InNamespace(s.object.Namespace), client.MatchingLabels{clusterv1.ClusterNameLabel: name}, client.UnsafeDisableDeepCopy); err != nil {
		return nil, err
	}
	if n := len(machines.Items); n > 0 {
		setTrue(s.object, infrav1.DeletingCondition, infrav1.WaitingForMachinesReason, fmt.Sprintf("%d machines of the cluster are still there", n))
		return stop(0), nil
	}
	return nil, nil
}

// removeForward takes the endpoint away.
func (r *ClusterReconciler) removeForward(ctx context.Context, s *clusterScope) (*ctrl.Result, error) {
	if s.object.Spec.EndpointHost == "" {
		return nil, nil
	}
	if err := s.member.DeleteForward(ctx, forwardEndpoint(s.object)); err != nil {
		return r.cannotRemove(s, fmt.Sprintf("the forward of port %d on host %s", s.object.Spec.ControlPlaneEndpoint.Port, s.object.Spec.EndpointHost), explain(err))
	}
	return nil, nil
}

// removeNetwork takes a network that was made for the cluster from all hosts:
// the cluster may have had other domains before.
func (r *ClusterReconciler) removeNetwork(ctx context.Context, s *clusterScope) (*ctrl.Result, error) {
	if !hasManagedNetwork(s.object) {
		return nil, nil
	}
	what := "network " + s.object.Spec.Network.Name
	remaining, err := s.member.DeleteNetwork(ctx, s.object.Spec.Network.Name, domainNames(s.known))
	if err != nil {
		return r.cannotRemove(s, what, explain(err))
	}
	if len(remaining) == 0 {
		return nil, nil
	}
	message := fmt.Sprintf("%s is not known to be gone from hosts %s", what, strings.Join(remaining, ", "))
	if slices.ContainsFunc(remaining, func(host string) bool { return s.member.Look(host, "").Reachable() }) {
		setTrue(s.object, infrav1.DeletingCondition, infrav1.RemovingReason, message)
		return stop(2 * time.Second), nil
	}
	setTrue(s.object, infrav1.DeletingCondition, infrav1.WaitingForHostDeletionReason, message+", which do not answer")
	return stop(30 * time.Second), nil // the return of one wakes us
}

func (r *ClusterReconciler) cannotRemove(s *clusterScope, what string, p problem) (*ctrl.Result, error) {
	reason := p.reason
	if reason == infrav1.HostUnreachableReason {
		reason = infrav1.WaitingForHostDeletionReason
	}
	setTrue(s.object, infrav1.DeletingCondition, reason, fmt.Sprintf("Cannot remove %s: %s", what, p.message))
	return stop(p.again), nil
}

// release lets the object go.
func (r *ClusterReconciler) release(ctx context.Context, s *clusterScope) (*ctrl.Result, error) {
	if _, err := r.store.persist(ctx, r.Client, s.object, func(c *infrav1.ElementoCluster) {
		controllerutil.RemoveFinalizer(c, infrav1.ClusterFinalizer)
	}); err != nil {
		return nil, err
	}
	s.gone = true
	r.Fleet.Leave(client.ObjectKeyFromObject(s.object))
	return nil, nil
}
