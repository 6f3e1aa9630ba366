package controllers

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apitypes "k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"elemento.cloud/cluster-api-provider-elemento/daemon/rpc"
	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
)

// takeCharge writes down, once and for ever and in one patch, that the machine
// is ours to clean up, what its VM is called, and where it belongs.
func (r *MachineReconciler) takeCharge(ctx context.Context, s *machineScope) (*ctrl.Result, error) {
	if controllerutil.ContainsFinalizer(s.object, infrav1.MachineFinalizer) && s.object.Spec.ProviderID != "" {
		return nil, nil
	}
	domain := cmp.Or(s.machine.Spec.FailureDomain, s.object.Spec.Domain)
	if domain == "" {
		var err error
		if domain, err = r.chooseDomain(ctx, s); err != nil {
			return nil, err
		}
	}
	if domain == "" {
		p := meanings[rpc.Reason_REASON_HOST_UNREACHABLE]
		setUnknown(s.object, infrav1.HostAssignedCondition, p.reason, "No domain of the cluster has a host that answers and is not in maintenance")
		return stop(p.again), nil
	}
	return nil, r.persist(ctx, s, func(m *infrav1.ElementoMachine) {
		controllerutil.AddFinalizer(m, infrav1.MachineFinalizer)
		m.Spec.VMName = cmp.Or(m.Spec.VMName, nameFor(m, 54))
		m.Spec.Domain = domain
		m.Spec.ProviderID = cmp.Or(m.Spec.ProviderID, fmt.Sprintf("elemento://%s/%s", domain, m.Spec.VMName))
	})
}

// rememberNode writes down that a machine's node has joined where no status tells it any
// more. Cluster API sets a Machine's providerID when our status says that the VM has run;
// where the one is there without the other the status was lost. clusterctl moves no Machine
// whose node has not joined, and what a backup holds may have: a Machine too many is
// replaced, and data that is spent is never used again.
func (r *MachineReconciler) rememberNode(ctx context.Context, s *machineScope) (*ctrl.Result, error) {
	_, remembered := s.object.Annotations[infrav1.NodeJoinedAnnotation]
	if remembered || s.machine.Spec.ProviderID == "" || ptr.Deref(s.object.Status.Initialization.Provisioned, false) {
		return nil, nil
	}
	return nil, r.persist(ctx, s, func(m *infrav1.ElementoMachine) {
		metav1.SetMetaDataAnnotation(&m.ObjectMeta, infrav1.NodeJoinedAnnotation, "")
	})
}

// joined tells that the VM's node has joined its cluster. A Machine's nodeRef is part of
// its status.
func joined(s *machineScope) bool {
	_, remembered := s.object.Annotations[infrav1.NodeJoinedAnnotation]
	return remembered || s.machine.Status.NodeRef.IsDefined()
}

// domainChoices remember, for a minute, what the cache does not show yet, so that
// machines that come at the same time do not all go to the same domain.
type domainChoices struct {
	mu     sync.Mutex
	recent map[apitypes.UID]domainChoice
}

type domainChoice struct {
	domain string
	at     time.Time
}

// chooseDomain takes, of the cluster's domains with a host that answers and is not
// in maintenance, the one with the fewest of its machines, and of those the one with
// the most free memory; none if there is no such host.
func (r *MachineReconciler) chooseDomain(ctx context.Context, s *machineScope) (string, error) {
	machines := &infrav1.ElementoMachineList{}
	if err := r.Client.List(ctx, machines, client.InNamespace(s.object.Namespace), client.MatchingLabels{clusterv1.ClusterNameLabel: s.cluster.Name}, client.UnsafeDisableDeepCopy); err != nil {
		return "", err
	}
	s.member.Sync(ctx) // the stream is on its way after a start
	up, free := map[string]bool{}, map[string]uint64{}
	for _, host := range s.member.Hosts() {
		if ready(host) {
			up[host.GetDomain()] = true
			free[host.GetDomain()] += host.GetMemoryAvailableMib()
		}
	}

	r.domains.mu.Lock()
	defer r.domains.mu.Unlock()
	maps.DeleteFunc(r.domains.recent, func(_ apitypes.UID, c domainChoice) bool { return time.Since(c.at) > time.Minute })
	count := map[string]int{}
	for _, m := range machines.Items {
		count[cmp.Or(m.Spec.Domain, r.domains.recent[m.UID].domain)]++
	}
	var names []string
	for _, d := range s.infrastructure.Status.FailureDomains {
		if up[d.Name] {
			names = append(names, d.Name)
		}
	}
	if len(names) == 0 {
		return "", nil
	}
	domain := slices.MinFunc(names, func(a, b string) int {
		return cmp.Or(count[a]-count[b], cmp.Compare(free[b], free[a]), strings.Compare(a, b))
	})
	if r.domains.recent == nil {
		r.domains.recent = map[apitypes.UID]domainChoice{}
	}
	r.domains.recent[s.object.UID] = domainChoice{domain, time.Now()}
	return domain, nil
}
