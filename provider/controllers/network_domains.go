package controllers

import (
	"context"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
)

// recordedDomains are those in which the cluster's managed network may have been made. No
// record is kept of a cluster that was begun without one: then it may be anywhere.
func recordedDomains(c *infrav1.ElementoCluster) (domains []string, kept bool) {
	list, kept := c.Annotations[infrav1.NetworkDomainsAnnotation]
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' }), kept
}

// recordDomains adds domains to the record, and begins one.
func recordDomains(c *infrav1.ElementoCluster, domains ...string) {
	all, _ := recordedDomains(c)
	all = append(all, domains...)
	slices.Sort(all)
	metav1.SetMetaDataAnnotation(&c.ObjectMeta, infrav1.NetworkDomainsAnnotation, strings.Join(slices.Compact(all), ","))
}

// lacksDomains tells that a record is kept, and that not all of the domains are in it.
func lacksDomains(c *infrav1.ElementoCluster, domains ...string) bool {
	recorded, kept := recordedDomains(c)
	return kept && slices.ContainsFunc(domains, func(d string) bool { return !slices.Contains(recorded, d) })
}

// recordDomain sees to it that the network is looked for where the machine is, which need
// not be one of the cluster's domains: making a VM makes its network too.
func (r *MachineReconciler) recordDomain(ctx context.Context, s *machineScope) (*ctrl.Result, error) {
	if s.object.Spec.Domain == "" || s.infrastructure.Spec.Network.Managed.CIDR == "" || !lacksDomains(s.infrastructure, s.object.Spec.Domain) {
		return nil, nil
	}
	stored, err := persist(ctx, r.Client, s.infrastructure, func(c *infrav1.ElementoCluster) { recordDomains(c, s.object.Spec.Domain) })
	if err != nil {
		return nil, err
	}
	s.infrastructure = stored
	return nil, nil
}

// networkDomains are the known domains from which the cluster's managed network is to be
// removed: those in which it may have been made, but for those where another cluster of the
// client, which stays, has the same network, and will take it away. Of two that go the last
// one finds none.
func (r *ClusterReconciler) networkDomains(ctx context.Context, s *clusterScope) ([]string, error) {
	c, domains := s.object, domainNames(s.known)
	if recorded, kept := recordedDomains(c); kept {
		domains = slices.DeleteFunc(domains, func(d string) bool { return !slices.Contains(recorded, d) })
	}
	all := &infrav1.ElementoClusterList{}
	if err := r.Client.List(ctx, all, client.UnsafeDisableDeepCopy); err != nil {
		return nil, err
	}
	for i := range all.Items {
		other := &all.Items[i]
		if other.UID == c.UID || !other.DeletionTimestamp.IsZero() || !controllerutil.ContainsFinalizer(other, infrav1.ClusterFinalizer) ||
			!hasManagedNetwork(other) || other.Spec.Network.Name != c.Spec.Network.Name || other.Spec.ClientUID != c.Spec.ClientUID {
			continue
		}
		recorded, kept := recordedDomains(other)
		domains = slices.DeleteFunc(domains, func(d string) bool { return !kept || slices.Contains(recorded, d) })
	}
	return domains, nil
}
