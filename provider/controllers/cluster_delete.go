package controllers

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemento.cloud/cluster-api-provider-elemento/daemon/rpc"
	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
)

// awaitMachines keeps what machines stand on for as long as there are any.
func (r *ClusterReconciler) awaitMachines(ctx context.Context, s *clusterScope) (*ctrl.Result, error) {
	name := s.clusterName()
	if name == "" {
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

// nothingMade lets a cluster go for which nothing was ever made on a host, so that there
// is nobody to ask: it has neither forward nor network, or was given the names of some and
// never came to have an owner, without whom nothing is made.
func (r *ClusterReconciler) nothingMade(ctx context.Context, s *clusterScope) (*ctrl.Result, error) {
	if s.object.Spec.ClientUID != "" && (s.object.Spec.EndpointHost != "" || hasManagedNetwork(s.object)) {
		return nil, nil
	}
	if _, err := r.release(ctx, s); err != nil {
		return nil, err
	}
	return stop(0), nil
}

// removeForward takes the endpoint away.
func (r *ClusterReconciler) removeForward(ctx context.Context, s *clusterScope) (*ctrl.Result, error) {
	host := s.object.Spec.EndpointHost
	if host == "" {
		return nil, nil
	}
	own, err := r.clusterVMs(ctx, s)
	if err != nil {
		return nil, err
	}
	err = s.member.DeleteForward(ctx, &rpc.DeleteForwardRequest{Endpoint: forwardEndpoint(s.object), ClusterVms: own})
	if err == nil {
		return nil, nil
	}
	what := fmt.Sprintf("the forward of port %d on host %s", s.object.Spec.ControlPlaneEndpoint.Port, host)
	if isSilent(s.member, host) {
		return r.leave(ctx, s, what, leftForward(s.object, s.member))
	}
	return r.cannotRemove(s, what, explain(err))
}

// removeNetwork takes a network that was made for the cluster from all hosts that may
// have it: the cluster may have had other domains before.
func (r *ClusterReconciler) removeNetwork(ctx context.Context, s *clusterScope) (*ctrl.Result, error) {
	if !hasManagedNetwork(s.object) {
		return nil, nil
	}
	domains, err := r.networkDomains(ctx, s)
	if err != nil || len(domains) == 0 {
		return nil, err
	}
	what := "network " + s.object.Spec.Network.Name
	remaining, err := s.member.DeleteNetwork(ctx, s.object.Spec.Network.Name, domains)
	if err != nil {
		return r.cannotRemove(s, what, explain(err))
	}
	if len(remaining) == 0 {
		return nil, nil
	}
	hosts := slices.Sorted(maps.Keys(remaining))
	var each []string
	for _, host := range hosts {
		each = append(each, because(host, remaining[host]))
	}
	message := fmt.Sprintf("%s is not known to be gone from hosts %s", what, strings.Join(each, ", "))
	if slices.ContainsFunc(hosts, func(host string) bool { return s.member.Look(host, "").Reachable() }) {
		setTrue(s.object, infrav1.DeletingCondition, infrav1.RemovingReason, message)
		return stop(2 * time.Second), nil
	}
	return r.leave(ctx, s, message, leftNetworks(s.object, s.member, hosts)...)
}

// because is what there is with the reason that is known of it, if any.
func because(what, why string) string {
	if why == "" {
		return what
	}
	return what + " (" + why + ")"
}

// leave waits for hosts that cannot be asked, and after the grace has cleanups
// take over what may be there.
func (r *ClusterReconciler) leave(ctx context.Context, s *clusterScope, what string, cleanups ...*infrav1.ElementoCleanup) (*ctrl.Result, error) {
	var hosts []string
	for _, c := range cleanups {
		hosts = append(hosts, c.Spec.Host)
	}
	setUnknown(s.object, infrav1.HostsAvailableCondition, infrav1.HostUnreachableReason, "No answer from "+strings.Join(hosts, ", "))
	left := graceLeft(s.object, infrav1.HostsAvailableCondition, r.UnreachableGrace)
	if left > 0 {
		setTrue(s.object, infrav1.DeletingCondition, infrav1.WaitingForHostDeletionReason,
			fmt.Sprintf("Waiting for hosts that do not answer: %s; an ElementoCleanup takes over after %s of that", what, r.UnreachableGrace))
		return stop(left), nil // the return of one wakes us before
	}
	for _, c := range cleanups {
		if wrong, err := r.Cleanups.leave(ctx, c); err != nil {
			return nil, err
		} else if wrong != nil {
			setTrue(s.object, infrav1.DeletingCondition, wrong.reason, wrong.message)
			return stop(wrong.again), nil
		}
		r.Events.Eventf(s.object, c, corev1.EventTypeWarning, LeftBehindReason, "Delete", "ElementoCleanup %s takes over what may be left on host %s: %s", c.Name, c.Spec.Host, clip(what, longestNote/2))
	}
	return nil, nil
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
	if err := r.store.release(ctx, r.Client, s.object, infrav1.ClusterFinalizer); err != nil {
		return nil, err
	}
	s.gone = true
	r.Fleet.Leave(clusterUser(client.ObjectKeyFromObject(s.object)))
	return nil, nil
}
