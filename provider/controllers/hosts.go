package controllers

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/cluster-api/util/conditions"
	ctrl "sigs.k8s.io/controller-runtime"

	"elemento.cloud/cluster-api-provider-elemento/daemon/rpc"
	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
	"elemento.cloud/cluster-api-provider-elemento/provider/fleet"
)

func inMaintenance(host *rpc.Host) bool {
	return host.GetHealth() == rpc.HostHealth_HOST_HEALTH_MAINTENANCE
}

// isSilent tells that the daemons are heard and none of them reaches the host, or
// knows it. While no daemon is heard, nobody can tell.
func isSilent(member *fleet.Member, host string) bool {
	return member.Connected() && !member.Look(host, "").Reachable()
}

// graceLeft is what is left of a grace that began when the condition became
// Unknown; all of it while the condition is not. What would have begun in time to
// come, by a clock that went back since, begins now.
func graceLeft(object conditions.Setter, condition string, grace time.Duration) time.Duration {
	c := conditions.Get(object, condition)
	if c == nil || c.Status != metav1.ConditionUnknown {
		return max(grace, time.Millisecond)
	}
	if now := metav1.Now(); c.LastTransitionTime.After(now.Time) {
		all := slices.Clone(object.GetConditions())
		all[slices.IndexFunc(all, func(c metav1.Condition) bool { return c.Type == condition })].LastTransitionTime = now
		object.SetConditions(all)
		return max(grace, time.Millisecond)
	}
	return max(0, grace-time.Since(c.LastTransitionTime.Time))
}

// lookAtHost says what the machine's host is like, and since when. What is not
// known now stays as it was.
func (r *MachineReconciler) lookAtHost(ctx context.Context, s *machineScope) (*ctrl.Result, error) {
	host := s.object.Spec.Host
	if host == "" {
		conditions.Delete(s.object, infrav1.HostAvailableCondition)
		return nil, nil
	}
	if s.member.Look(host, "").Host == nil {
		s.member.Sync(ctx) // the stream is on its way after a start
	}
	if !s.member.Connected() {
		return nil, nil
	}
	before := conditions.GetReason(s.object, infrav1.HostAvailableCondition)
	switch seen := s.member.Look(host, "").Host; {
	case seen == nil:
		setUnknown(s.object, infrav1.HostAvailableCondition, infrav1.HostUnknownReason, "No daemon that is heard knows host "+host)
	case ready(seen):
		setTrue(s.object, infrav1.HostAvailableCondition, infrav1.AvailableReason, "")
	case inMaintenance(seen):
		setFalse(s.object, infrav1.HostAvailableCondition, infrav1.HostInMaintenanceReason,
			fmt.Sprintf("Host %s is in maintenance; delete the Machine to have it replaced on another one", host))
		if before != infrav1.HostInMaintenanceReason {
			r.event(s, corev1.EventTypeNormal, infrav1.HostInMaintenanceReason, "Observe", "Host %s is in maintenance; delete the Machine to have it replaced on another one", host)
		}
	default:
		setUnknown(s.object, infrav1.HostAvailableCondition, infrav1.HostUnreachableReason, "Host "+host+" does not answer")
	}
	return nil, nil
}

// lookAtHosts says which hosts of the cluster's domains take no VMs. Hosts of a
// lost domain are among them; the domain stays, or Cluster API would move machines.
func (r *ClusterReconciler) lookAtHosts(_ context.Context, s *clusterScope) (*ctrl.Result, error) {
	var maintained, silent []string
	for _, domain := range s.domains {
		for _, host := range domain.GetHosts() {
			if seen := s.member.Look(host.GetId(), "").Host; seen != nil {
				host = seen // one daemon may not reach what another one does
			}
			switch {
			case inMaintenance(host):
				maintained = append(maintained, host.GetId())
			case !ready(host):
				silent = append(silent, host.GetId())
			}
		}
	}
	say := func(what string, hosts []string) string {
		if len(hosts) == 0 {
			return ""
		}
		return what + strings.Join(hosts, ", ")
	}
	switch {
	case len(silent) > 0:
		setUnknown(s.object, infrav1.HostsAvailableCondition, infrav1.HostUnreachableReason, say("No answer from ", silent)+say("; in maintenance: ", maintained))
	case len(maintained) > 0:
		setFalse(s.object, infrav1.HostsAvailableCondition, infrav1.HostInMaintenanceReason, say("In maintenance: ", maintained))
	default:
		setTrue(s.object, infrav1.HostsAvailableCondition, infrav1.AvailableReason, "")
	}
	return nil, nil
}
