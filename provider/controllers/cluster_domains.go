package controllers

import (
	"context"
	"fmt"
	"slices"
	"strings"

	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	ctrl "sigs.k8s.io/controller-runtime"

	"elemento.cloud/cluster-api-provider-elemento/daemon/rpc"
	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
)

// checkDomains makes the cluster's domains its failure domains, if the daemons
// know them all. One whose hosts are down remains one: taking it away would
// have Cluster API move machines.
func (r *ClusterReconciler) checkDomains(_ context.Context, s *clusterScope) (*ctrl.Result, error) {
	var unknown []string
	for _, name := range s.object.Spec.Domains {
		if !slices.ContainsFunc(s.known, func(d *rpc.Domain) bool { return d.GetName() == name }) {
			unknown = append(unknown, name)
		}
	}
	s.domains = domainsOf(s.object, s.known)
	if len(unknown) > 0 || len(s.known) == 0 {
		message := fmt.Sprintf("spec.domains: no daemon knows %s; the daemons know %s", strings.Join(unknown, ", "), names(s.known))
		if len(unknown) == 0 {
			message = "The daemons know no domain; add hosts to their configuration"
		}
		setFalse(s.object, infrav1.DomainsAvailableCondition, infrav1.DomainUnknownReason, message)
		s.again = meanings[rpc.Reason_REASON_DOMAIN_UNKNOWN].again
		if !s.settled() || len(s.domains) == 0 {
			return stop(s.again), nil
		}
		return nil, nil // the failure domains stay as they were
	}
	s.object.Status.FailureDomains = nil
	for _, domain := range s.domains {
		s.object.Status.FailureDomains = append(s.object.Status.FailureDomains, clusterv1.FailureDomain{Name: domain.GetName(), ControlPlane: new(true)})
	}
	setTrue(s.object, infrav1.DomainsAvailableCondition, infrav1.AvailableReason, "")
	return nil, nil
}

// domainsOf are those of the known domains over which a cluster may spread.
func domainsOf(c *infrav1.ElementoCluster, known []*rpc.Domain) []*rpc.Domain {
	if len(c.Spec.Domains) == 0 {
		return known
	}
	return slices.DeleteFunc(slices.Clone(known), func(d *rpc.Domain) bool { return !slices.Contains(c.Spec.Domains, d.GetName()) })
}

func domainNames(domains []*rpc.Domain) []string {
	list := make([]string, 0, len(domains))
	for _, d := range domains {
		list = append(list, d.GetName())
	}
	return list
}

// names lists domains for people.
func names(domains []*rpc.Domain) string {
	if len(domains) == 0 {
		return "none"
	}
	return strings.Join(domainNames(domains), ", ")
}
