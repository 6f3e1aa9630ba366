package controllers

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apitypes "k8s.io/apimachinery/pkg/types"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/cluster-api/util"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemento.cloud/cluster-api-provider-elemento/daemon/rpc"
	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
)

// apiServerPort is where the cluster's API servers listen.
func apiServerPort(cluster *clusterv1.Cluster) uint32 {
	return uint32(cmp.Or(cluster.Spec.ClusterNetwork.APIServerPort, 6443))
}

// settleEndpoint sees to it that the endpoint is known before any machine is
// made. With a forward its host and port are reserved and written down here; the
// forward itself waits for the first control-plane VM.
func (r *ClusterReconciler) settleEndpoint(ctx context.Context, s *clusterScope) (*ctrl.Result, error) {
	spec := &s.object.Spec
	if spec.EndpointMode != infrav1.EndpointModeForward {
		if spec.ControlPlaneEndpoint.IsZero() && !s.cluster.Spec.ControlPlaneEndpoint.IsValid() {
			setFalse(s.object, infrav1.EndpointReadyCondition, infrav1.WaitingForControlPlaneEndpointReason, fmt.Sprintf(
				"endpointMode %s needs an endpoint: set spec.controlPlaneEndpoint here or on the Cluster, unless the control-plane provider does", spec.EndpointMode))
			return stop(0), nil
		}
		if wrong := wrongVirtualIP(s); wrong != "" {
			setFalse(s.object, infrav1.EndpointReadyCondition, infrav1.InvalidRequestReason, wrong)
			if !s.settled() {
				return stop(0), nil
			}
			return nil, nil // its machines have it, and live on
		}
		setTrue(s.object, infrav1.EndpointReadyCondition, infrav1.ProvisionedReason, "")
		return nil, nil
	}
	if spec.EndpointHost != "" {
		return nil, nil
	}
	if !spec.ControlPlaneEndpoint.IsZero() {
		setFalse(s.object, infrav1.EndpointReadyCondition, infrav1.InvalidRequestReason,
			"endpointMode Forward chooses spec.controlPlaneEndpoint itself, and one is given; make the ElementoCluster anew without it, or with endpointMode External")
		return stop(0), nil
	}
	if e := s.cluster.Spec.ControlPlaneEndpoint; e.IsValid() {
		setFalse(s.object, infrav1.EndpointReadyCondition, infrav1.InvalidRequestReason, fmt.Sprintf(
			"endpointMode Forward chooses the endpoint itself, and the Cluster's spec.controlPlaneEndpoint is %s:%d already; make the Cluster anew without it, or the ElementoCluster with endpointMode External", e.Host, e.Port))
		return stop(0), nil
	}
	if err := r.reserveEndpoint(ctx, s); err != nil {
		if !fromDaemon(err) {
			return nil, err
		}
		p := explain(err)
		setProblem(s.object, infrav1.EndpointReadyCondition, p)
		return stop(p.again), nil
	}
	r.Events.Eventf(s.object, nil, corev1.EventTypeNormal, "EndpointReserved", "ReserveEndpoint", "The API server will be reached at %s:%d", spec.ControlPlaneEndpoint.Host, spec.ControlPlaneEndpoint.Port)
	return nil, nil
}

// wrongVirtualIP says what is wrong with a virtual IP in a managed network, whichever
// object gives it: the network keeps one address for it, and of the others each is the
// gateway's, may be given to a guest, or is not to be reached there. What a name means
// cannot be seen from here.
func wrongVirtualIP(s *clusterScope) string {
	network, err := netip.ParsePrefix(s.object.Spec.Network.Managed.CIDR)
	if err != nil || !network.Addr().Is4() || s.object.Spec.EndpointMode != infrav1.EndpointModeVIP {
		return ""
	}
	kept := virtualIP(network)
	wrong := func(host string) bool {
		address, err := netip.ParseAddr(host)
		return err == nil && address.Unmap() != kept
	}
	const says = "is %s, and of the managed network %s only %s is kept for a virtual IP: the others are the gateway's, guests' or not in it; "
	if host := s.object.Spec.ControlPlaneEndpoint.Host; wrong(host) {
		return fmt.Sprintf("spec.controlPlaneEndpoint.host "+says+"make the ElementoCluster anew with that one", host, network, kept)
	}
	if host := s.cluster.Spec.ControlPlaneEndpoint.Host; wrong(host) {
		return fmt.Sprintf("the Cluster's spec.controlPlaneEndpoint.host "+says+"write that one", host, network, kept)
	}
	return ""
}

// reserveEndpoint asks for a free port of a host and writes it down. No host
// knows of a port that is only reserved, so the daemon is told of all of them.
func (r *ClusterReconciler) reserveEndpoint(ctx context.Context, s *clusterScope) error {
	r.reserving.Lock()
	defer r.reserving.Unlock()
	all := &infrav1.ElementoClusterList{}
	if err := r.Client.List(ctx, all, client.UnsafeDisableDeepCopy); err != nil {
		return err
	}
	reserved := map[apitypes.UID]*rpc.Endpoint{}
	for _, other := range all.Items {
		if other.Spec.EndpointHost != "" {
			reserved[other.UID] = &rpc.Endpoint{Host: other.Spec.EndpointHost, Port: uint32(other.Spec.ControlPlaneEndpoint.Port)}
		} else if endpoint, ok := r.reserved[other.UID]; ok && other.UID != s.object.UID {
			reserved[other.UID] = endpoint
		}
	}
	request := &rpc.ReserveEndpointRequest{Domains: domainNames(s.domains), Port: apiServerPort(s.cluster)}
	for _, endpoint := range reserved {
		request.Reserved = append(request.Reserved, endpoint)
	}
	endpoint, address, err := s.member.ReserveEndpoint(ctx, request)
	if err != nil {
		return err
	}
	reserved[s.object.UID] = endpoint
	r.reserved = reserved
	return r.persist(ctx, s, func(c *infrav1.ElementoCluster) {
		c.Spec.EndpointHost = endpoint.GetHost()
		c.Spec.ControlPlaneEndpoint = infrav1.APIEndpoint{Host: address, Port: int32(endpoint.GetPort())}
	})
}

// forwardEndpoint is where the cluster's forward lives.
func forwardEndpoint(c *infrav1.ElementoCluster) *rpc.Endpoint {
	return &rpc.Endpoint{Host: c.Spec.EndpointHost, Port: uint32(c.Spec.ControlPlaneEndpoint.Port)}
}

// clusterVMs are the VMs to which the forward may lead if it is the cluster's. Those
// who act for the same client on another management cluster may have chosen the same
// port: nothing on a host tells before a forward is made, and then it is the first's.
func (r *ClusterReconciler) clusterVMs(ctx context.Context, s *clusterScope) (*rpc.ClusterVMs, error) {
	names, err := leftVMs(ctx, r.Client, s.object.Namespace, s.clusterName())
	if err != nil {
		return nil, err
	}
	machines := &infrav1.ElementoMachineList{}
	if err := r.Client.List(ctx, machines, client.InNamespace(s.object.Namespace),
		client.MatchingLabels{clusterv1.ClusterNameLabel: s.clusterName()}, client.HasLabels{clusterv1.MachineControlPlaneLabel}, client.UnsafeDisableDeepCopy); err != nil {
		return nil, err
	}
	for _, m := range machines.Items {
		names = append(names, m.Spec.VMName)
	}
	// That of a machine which is gone may be there still, where somebody let the machine
	// go by hand.
	names = append(names, s.object.Status.EndpointTarget)
	return &rpc.ClusterVMs{Names: slices.DeleteFunc(names, func(name string) bool { return name == "" })}, nil
}

// pointForward keeps the forward at a control-plane VM that can serve.
func (r *ClusterReconciler) pointForward(ctx context.Context, s *clusterScope) (*ctrl.Result, error) {
	if s.object.Spec.EndpointMode != infrav1.EndpointModeForward {
		return nil, nil
	}
	target, silent, err := r.forwardTarget(ctx, s)
	if err != nil {
		return nil, err
	}
	if target == nil && len(silent) > 0 {
		setUnknown(s.object, infrav1.EndpointReadyCondition, infrav1.HostUnreachableReason, fmt.Sprintf(
			"No control-plane VM is known to run to which the endpoint could lead; hosts that have some do not answer: %s", strings.Join(silent, ", ")))
		return nil, nil // the return of one wakes us
	}
	if target == nil {
		setFalse(s.object, infrav1.EndpointReadyCondition, infrav1.WaitingForControlPlaneReason,
			"The endpoint is reserved; no control-plane VM runs to which it could lead")
		return nil, nil
	}
	own, err := r.clusterVMs(ctx, s)
	if err != nil {
		return nil, err
	}
	if err := s.member.EnsureForward(ctx, &rpc.EnsureForwardRequest{
		Endpoint:   forwardEndpoint(s.object),
		TargetHost: target.Spec.Host, TargetVmName: target.Spec.VMName, TargetPort: apiServerPort(s.cluster), ClusterVms: own,
	}); err != nil {
		p := explain(err)
		if p.reason == infrav1.InUseReason {
			p.message += "; nodes and kubeconfigs have the endpoint by now, so make this cluster anew, or remove what has the port"
			p.again = 30 * time.Second
		}
		setProblem(s.object, infrav1.EndpointReadyCondition, p)
		return stop(p.again), nil
	}
	if s.object.Status.EndpointTarget != target.Spec.VMName {
		r.Events.Eventf(s.object, target, corev1.EventTypeNormal, "EndpointPointed", "EnsureForward", "The endpoint leads to VM %s", target.Spec.VMName)
	}
	s.object.Status.EndpointTarget = target.Spec.VMName
	setTrue(s.object, infrav1.EndpointReadyCondition, infrav1.ProvisionedReason, "")
	return nil, nil
}

// forwardTarget chooses among the control-plane VMs that run and have an
// address: one whose node is up before one that is on its way out, and that
// before one that has yet to join; but not another one without need. Of silent
// hosts it is not known whether the VMs that belong there run.
func (r *ClusterReconciler) forwardTarget(ctx context.Context, s *clusterScope) (target *infrav1.ElementoMachine, silent []string, err error) {
	machines := &infrav1.ElementoMachineList{}
	if err := r.Client.List(ctx, machines, client.InNamespace(s.object.Namespace),
		client.MatchingLabels{clusterv1.ClusterNameLabel: s.cluster.Name}, client.HasLabels{clusterv1.MachineControlPlaneLabel}); err != nil {
		return nil, nil, err
	}
	s.member.Sync(ctx)
	type candidate struct {
		machine *infrav1.ElementoMachine
		rank    int
	}
	var candidates []candidate
	for i := range machines.Items {
		m := &machines.Items[i]
		if m.Spec.Host == "" {
			continue
		}
		sight := s.member.Look(m.Spec.Host, m.Spec.VMName)
		if !sight.Reachable() {
			silent = append(silent, m.Spec.Host)
			continue
		}
		if sight.VM.GetPowerState() != rpc.PowerState_POWER_STATE_RUNNING || sight.VM.GetAddress() == "" {
			continue
		}
		rank := 0
		owner, err := util.GetOwnerMachine(ctx, r.Client, m.ObjectMeta)
		if client.IgnoreNotFound(err) != nil {
			return nil, nil, err
		}
		if owner != nil && owner.Status.NodeRef.IsDefined() {
			rank += 4
		}
		// The Machine goes first: its etcd member is removed, and with it its
		// API server, long before the ElementoMachine is deleted. Whoever
		// removed the member needs the endpoint to go on.
		if m.DeletionTimestamp.IsZero() && (owner == nil || owner.DeletionTimestamp.IsZero()) {
			rank += 2
		}
		if m.Spec.VMName == s.object.Status.EndpointTarget {
			rank++
		}
		candidates = append(candidates, candidate{m, rank})
	}
	slices.Sort(silent)
	silent = slices.Compact(silent)
	if len(candidates) == 0 {
		return nil, silent, nil
	}
	return slices.MaxFunc(candidates, func(a, b candidate) int {
		return cmp.Or(a.rank-b.rank, strings.Compare(b.machine.Name, a.machine.Name))
	}).machine, silent, nil
}
