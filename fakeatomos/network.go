package fakeatomos

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"slices"

	"github.com/google/uuid"

	"elemento.cloud/cluster-api-provider-elemento/c4"
)

// network is a network of a host.
type network struct {
	networkRecord
	subnet      netip.Prefix
	first, last netip.Addr // of the DHCP range; invalid without one
}

// networkRecord is what of a network survives power.
type networkRecord struct {
	c4.Network
	Sequence int64 `json:"sequence"`
}

func (n *network) bridged() bool { return n.Mode == nil }

// parse checks a network's addresses. The status is 0 when they are sound.
func (n *network) parse() (status int, wrong string) {
	if n.IP.Address == "" {
		return http.StatusBadRequest, "ip is missing"
	}
	prefix, err := netip.ParsePrefix(n.IP.Address)
	if err != nil || !prefix.Addr().Is4() {
		return http.StatusBadRequest, fmt.Sprintf("ip.address %q is not an IPv4 address with a prefix length", n.IP.Address)
	}
	if n.Mode != nil && *n.Mode != c4.NAT {
		return http.StatusBadRequest, fmt.Sprintf("mode %q is neither nat nor null", *n.Mode)
	}
	n.subnet = prefix.Masked()
	dhcp := n.IP.DHCP
	if dhcp.Start == "" && dhcp.End == "" {
		return 0, ""
	}
	if n.first, err = netip.ParseAddr(dhcp.Start); err == nil {
		n.last, err = netip.ParseAddr(dhcp.End)
	}
	if err != nil {
		return http.StatusBadRequest, fmt.Sprintf("ip.dhcp %q to %q is not a range of addresses", dhcp.Start, dhcp.End)
	}
	if !n.subnet.Contains(n.first) || !n.subnet.Contains(n.last) || n.last.Less(n.first) {
		return http.StatusBadGateway, fmt.Sprintf("ip.dhcp %s to %s is not a range in %s", n.first, n.last, n.subnet)
	}
	return 0, ""
}

// lease gives an address of the network to an interface; the zero address when
// there is none to give.
func (h *Host) lease(n *network, vmUID, mac string) netip.Addr {
	if !n.first.IsValid() {
		return netip.Addr{}
	}
	a, err := h.fake.leases.take(n.first, n.last, lease{h, vmUID, n.bridged()})
	if err != nil {
		h.log.Warn("no address for a VM", "network", n.Name, "mac", mac, "err", err)
	}
	return a
}

// showNetwork is a network as C4 tells it, with its leases.
func (h *Host) showNetwork(n *network) c4.Network {
	out := n.Network
	out.IP.DHCP.Hosts = slices.Clone(n.IP.DHCP.Hosts)
	if out.IP.DHCP.Hosts == nil {
		out.IP.DHCP.Hosts = []c4.NetworkHost{}
	}
	if out.Routes == nil {
		out.Routes = []string{}
	}
	for _, v := range h.inOrder() {
		for _, i := range v.NICs {
			if i.Network == n.NetworkUID && v.shows(i) {
				out.IP.DHCP.Hosts = append(out.IP.DHCP.Hosts, c4.NetworkHost{MAC: i.MAC, Name: v.Name, Address: i.Address.String()})
			}
		}
	}
	return out
}

func (h *Host) listNetworks(*request) answer {
	h.lock()
	defer h.mu.Unlock()
	list := []c4.Network{}
	for _, n := range h.networksInOrder() {
		if h.lists() {
			list = append(list, h.showNetwork(n))
		}
	}
	return ok(list)
}

func (h *Host) networksInOrder() []*network {
	return slices.SortedFunc(maps.Values(h.networks), func(a, b *network) int { return cmp.Compare(a.Sequence, b.Sequence) })
}

func (h *Host) networkInfo(_ *request, ref c4.NetworkUIDRef) answer {
	h.lock()
	defer h.mu.Unlock()
	n := h.networks[ref.NetworkUID]
	if n == nil {
		return notFound()
	}
	return ok(h.showNetwork(n))
}

func (h *Host) createNetwork(r *request, in c4.Network) answer {
	if in.Name == "" {
		return refuse(http.StatusBadRequest, "network_name must not be empty")
	}
	if in.Type != "libvirt" {
		return refuse(http.StatusBadRequest, "type %q is not libvirt", in.Type)
	}
	n := &network{networkRecord: networkRecord{Network: in}}
	if status, wrong := n.parse(); status != 0 {
		return refuse(status, "%s", wrong)
	}
	h.lock()
	defer h.mu.Unlock()
	n.NetworkUID, n.Sequence = uuid.NewString(), h.next()
	n.DeviceName = fmt.Sprintf("virbr%d", n.Sequence)
	h.networks[n.NetworkUID] = n
	h.state.put("networks", n.NetworkUID, n.networkRecord)
	h.tellNetwork(n, "made")
	r.entry.ID = n.NetworkUID
	return ok(h.showNetwork(n))
}

// deleteNetwork cannot check an owner: the call names none.
func (h *Host) deleteNetwork(_ *request, ref c4.NetworkUIDRef) answer {
	h.lock()
	defer h.mu.Unlock()
	n := h.networks[ref.NetworkUID]
	if n == nil {
		return notFound()
	}
	for _, v := range h.vms {
		if slices.ContainsFunc(v.NICs, func(i nic) bool { return i.Network == ref.NetworkUID }) {
			return refuse(http.StatusConflict, "in_use")
		}
	}
	h.dropNetwork(n)
	return ok("OK")
}

func (h *Host) dropNetwork(n *network) {
	delete(h.networks, n.NetworkUID)
	h.state.delete("networks", n.NetworkUID)
	h.tellNetwork(n, "removed")
}
