package controllers

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/cluster-api/util/conditions"
	ctrl "sigs.k8s.io/controller-runtime"

	"elemento.cloud/cluster-api-provider-elemento/daemon/rpc"
	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
)

func hasManagedNetwork(c *infrav1.ElementoCluster) bool {
	return c.Spec.Network.Managed.CIDR != "" && c.Spec.Network.Name != ""
}

// clusterNetwork is the network of a cluster's machines as the daemons want it.
func clusterNetwork(c *infrav1.ElementoCluster) *rpc.NetworkSpec {
	network := &rpc.NetworkSpec{Name: c.Spec.Network.Name}
	if managed := c.Spec.Network.Managed; managed.CIDR != "" {
		network.Cidr, network.Mode = managed.CIDR, networkModes[managed.Mode]
	}
	return network
}

// virtualIP is the address that a managed IPv4 network keeps for one: the last before the
// broadcast address. The daemons have DHCP give out none beyond the one before it.
func virtualIP(network netip.Prefix) netip.Addr {
	a := network.Addr().As4()
	for bit := network.Bits(); bit < 32; bit++ {
		a[bit/8] |= 0x80 >> (bit % 8)
	}
	return netip.AddrFrom4(a).Prev()
}

// networkModes has an entry for every mode.
var networkModes = map[infrav1.NetworkMode]rpc.NetworkMode{
	"":                         rpc.NetworkMode_NETWORK_MODE_BRIDGED,
	infrav1.NetworkModeBridged: rpc.NetworkMode_NETWORK_MODE_BRIDGED,
	infrav1.NetworkModeNAT:     rpc.NetworkMode_NETWORK_MODE_NAT,
}

// missingAgain is when to ask again for the network on hosts that answer.
const missingAgain = 5 * time.Second

// settleNetwork refuses a network that cannot carry the cluster, and makes the
// one that the cluster wants for itself.
func (r *ClusterReconciler) settleNetwork(ctx context.Context, s *clusterScope) (*ctrl.Result, error) {
	managed := s.object.Spec.Network.Managed
	if managed.CIDR == "" {
		setTrue(s.object, infrav1.NetworkReadyCondition, infrav1.ProvisionedReason, "")
		return nil, nil
	}
	hosts := 0
	for _, domain := range s.domains {
		hosts += len(domain.GetHosts())
	}
	if managed.Mode == infrav1.NetworkModeNAT && hosts > 1 {
		setFalse(s.object, infrav1.NetworkReadyCondition, infrav1.NATSpansHostsReason, fmt.Sprintf(
			"spec.network.managed.mode NAT needs domains with one host in all, and %s have %d: guests of a NAT network are reachable from their own host only; use mode Bridged, or name a domain of one host in spec.domains",
			names(s.domains), hosts))
		if !s.settled() {
			return stop(meanings[rpc.Reason_REASON_DOMAIN_UNKNOWN].again), nil
		}
		return nil, nil // its machines live on, where they are
	}
	if s.object.Spec.Network.Name == "" {
		if err := r.persist(ctx, s, func(c *infrav1.ElementoCluster) {
			c.Spec.Network.Name = nameFor(c, 54)
		}); err != nil {
			return nil, err
		}
	}
	if domains := domainNames(s.domains); lacksDomains(s.object, domains...) {
		if err := r.persist(ctx, s, func(c *infrav1.ElementoCluster) { recordDomains(c, domains...) }); err != nil {
			return nil, err
		}
	}
	// EnsureVM makes up for hosts that come later, so that once is enough while the
	// cluster says the same.
	if c := conditions.Get(s.object, infrav1.NetworkReadyCondition); c != nil && c.Reason == infrav1.ProvisionedReason && c.ObservedGeneration == s.object.Generation {
		return nil, nil
	}
	missing, err := s.member.EnsureNetwork(ctx, clusterNetwork(s.object), domainNames(s.domains))
	switch {
	case err != nil:
		p := explain(err)
		setProblem(s.object, infrav1.NetworkReadyCondition, p)
		if !s.settled() {
			return stop(p.again), nil
		}
		s.again = p.again
	case len(missing) > 0:
		setTrue(s.object, infrav1.NetworkReadyCondition, infrav1.HostsMissingReason,
			fmt.Sprintf("Hosts that do not answer, or do not tell of their networks, lack the network, and get it when it is first needed there: %s", strings.Join(missing, ", ")))
		// The daemon that was asked may not know yet that a host is back, of which another
		// one has told: nothing wakes us again.
		if slices.ContainsFunc(missing, func(host string) bool { return s.member.Look(host, "").Reachable() }) {
			s.again = missingAgain
		}
	default:
		setTrue(s.object, infrav1.NetworkReadyCondition, infrav1.ProvisionedReason, "")
	}
	return nil, nil
}
