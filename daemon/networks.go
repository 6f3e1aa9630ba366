package daemon

import (
	"cmp"
	"context"
	"net/netip"
	"slices"

	"elemento.cloud/cluster-api-provider-elemento/c4"
	"elemento.cloud/cluster-api-provider-elemento/daemon/rpc"
)

// lookNetworks asks the host for its networks.
func (h *host) lookNetworks(ctx context.Context) ([]c4.Network, error) {
	networks, err := h.networks.get(ctx)
	if err != nil {
		return nil, h.lookFailed("asking for its networks", err)
	}
	return networks, nil
}

// usableNetwork returns the network of that name that a client's VM goes to:
// its own, or else a public one. Of several all daemons choose the same.
func usableNetwork(clientUID, name string, all []c4.Network) (c4.Network, bool) {
	var usable []c4.Network
	for _, n := range all {
		if n.Name == name && (n.CreatorUID == clientUID || !n.Private) {
			usable = append(usable, n)
		}
	}
	if len(usable) == 0 {
		return c4.Network{}, false
	}
	return slices.MinFunc(usable, func(a, b c4.Network) int {
		if x, y := a.CreatorUID == clientUID, b.CreatorUID == clientUID; x != y {
			if x {
				return -1
			}
			return 1
		}
		return cmp.Compare(a.NetworkUID, b.NetworkUID)
	}), true
}

// managed tells whether a network is the daemon's to make and remove.
func managed(spec *rpc.NetworkSpec) bool { return spec.Cidr != "" }

// ownNetworks returns the client's networks of that name.
func ownNetworks(clientUID, name string, all []c4.Network) []c4.Network {
	return slices.DeleteFunc(slices.Clone(all), func(n c4.Network) bool { return n.CreatorUID != clientUID || n.Name != name })
}

// networkKey names a managed network of a host.
type networkKey struct{ clientUID, name string }

// ensureNetwork returns the UID of a network on this host, which it makes if it
// is a managed one. However many VMs ask at the same time, it is made once; and
// when another daemon makes one too, all come to use the same.
func (h *host) ensureNetwork(ctx context.Context, clientUID string, spec *rpc.NetworkSpec) (string, error) {
	uid, err := h.findNetwork(ctx, clientUID, spec)
	if uid != "" || err != nil {
		return uid, err
	}
	key := networkKey{clientUID, spec.Name}
	unlock, ok := h.making.lock(ctx, key)
	if !ok {
		return "", gaveUp(ctx, rpc.Reason_REASON_WRONG_STATE, h.ID, "host "+h.ID+": another call makes network "+spec.Name+" and takes long")
	}
	defer unlock()
	uid, err = h.findNetwork(ctx, clientUID, spec) // another call may just have made it
	if uid == "" && err == nil && wait(ctx, quickest) {
		uid, err = h.findNetwork(ctx, clientUID, spec) // a host that has just started may show none at first
	}
	if uid == "" && err == nil {
		err = h.settling(&h.standing)
	}
	if uid != "" || err != nil {
		return uid, err
	}
	if ctx.Err() != nil {
		return "", gaveUp(ctx, rpc.Reason_REASON_WRONG_STATE, h.ID, "host "+h.ID+" shows no network "+spec.Name+" and has to be asked once more before it is made")
	}
	notShown := failf(rpc.Reason_REASON_WRONG_STATE, h.ID, "host %s was asked for network %s and does not show it yet; waiting for it, at most %s", h.ID, spec.Name, landsSoon)
	if h.unseen.may(key, landsSoon) {
		return "", notShown
	}
	wanted, err := newNetwork(clientUID, spec)
	if err != nil {
		return "", err
	}
	_, err = h.c4.CreateNetwork(ctx, wanted)
	if mayShow(err) {
		h.unseen.add(key)
	}
	var failed error
	if err != nil {
		if failed = h.changeFailed("making network "+spec.Name, err); !c4.CodeOf(err).Ambiguous() {
			return "", failed
		}
	}
	// Not simply the new one: another daemon may have made one meanwhile.
	uid, err = h.findNetwork(ctx, clientUID, spec)
	if uid == "" {
		return "", cmp.Or(failed, err, notShown)
	}
	return uid, err
}

// findNetwork returns the UID of a network that is there, "" if it has to be
// made.
func (h *host) findNetwork(ctx context.Context, clientUID string, spec *rpc.NetworkSpec) (string, error) {
	all, err := h.lookNetworks(ctx)
	if err != nil {
		return "", err
	}
	if !managed(spec) {
		n, found := usableNetwork(clientUID, spec.Name, all)
		if !found {
			return "", failf(rpc.Reason_REASON_NETWORK_NOT_FOUND, h.ID, "host %s has no network %s that this client may use; make it there, or give a cidr to have it managed", h.ID, spec.Name)
		}
		return n.NetworkUID, nil
	}
	wanted, err := newNetwork(clientUID, spec)
	if err != nil {
		return "", err
	}
	own := ownNetworks(clientUID, spec.Name, all)
	for _, n := range own {
		if modeOf(n) != modeOf(wanted) || cidrOf(n) != cidrOf(wanted) {
			return "", failf(rpc.Reason_REASON_INVALID_REQUEST, h.ID, "host %s has network %s already, with %s and not %s; delete it or choose another name", h.ID, spec.Name, describeNetwork(n), describeNetwork(wanted))
		}
	}
	return h.oneOf(ctx, own)
}

// oneOf returns the UID of the one to use of a managed network's doubles, and
// removes the others: those that no VM is on, and of the rest those with the
// greater UIDs. Two daemons that made one each see both, unless the first has
// looked before the second was there. Then the first's is either in use, and
// stays; or it is removed before its VM registers, which then is refused and
// tried again.
func (h *host) oneOf(ctx context.Context, doubles []c4.Network) (uid string, err error) {
	slices.SortFunc(doubles, func(a, b c4.Network) int { return cmp.Compare(b.NetworkUID, a.NetworkUID) })
	for i, n := range doubles {
		if last := i == len(doubles)-1; last && uid == "" {
			return n.NetworkUID, nil
		}
		err := h.c4.DeleteNetwork(ctx, n.NetworkUID)
		switch code := c4.CodeOf(err); {
		case err == nil:
			h.log.Warn("removed a double", "network", n.Name, "host", h.ID, "client", n.CreatorUID, "uid", n.NetworkUID)
		case code == c4.InUse:
			uid = n.NetworkUID
		case code != c4.NotFound:
			return "", h.changeFailed("removing a double of network "+n.Name, err)
		}
	}
	return uid, nil
}

// newNetwork is a managed network: the first address is the gateway's, the last
// is left for a virtual IP of the cluster, DHCP gives out the others.
func newNetwork(clientUID string, spec *rpc.NetworkSpec) (c4.Network, error) {
	prefix, err := netip.ParsePrefix(spec.Cidr)
	if err != nil {
		return c4.Network{}, invalid("network.cidr", "%q is not a network such as 10.20.0.0/24", spec.Cidr)
	}
	prefix = prefix.Masked()
	gateway := prefix.Addr().Next()
	n := c4.Network{
		CreatorUID: clientUID, Name: spec.Name, Type: "libvirt", Private: true,
		IP: c4.NetworkIP{
			Address: netip.PrefixFrom(gateway, prefix.Bits()).String(),
			DHCP:    c4.NetworkDHCP{Start: gateway.Next().String(), End: lastAddress(prefix).Prev().Prev().String(), Hosts: []c4.NetworkHost{}},
		},
		Routes: []string{},
	}
	if spec.Mode == rpc.NetworkMode_NETWORK_MODE_NAT {
		mode := c4.NAT
		n.Mode = &mode
	}
	return n, nil
}

// lastAddress is an IPv4 network's broadcast address.
func lastAddress(p netip.Prefix) netip.Addr {
	a := p.Addr().As4()
	for bit := p.Bits(); bit < 32; bit++ {
		a[bit/8] |= 0x80 >> (bit % 8)
	}
	return netip.AddrFrom4(a)
}

func modeOf(n c4.Network) rpc.NetworkMode {
	if n.Mode == nil || *n.Mode == "" {
		return rpc.NetworkMode_NETWORK_MODE_BRIDGED
	}
	return rpc.NetworkMode_NETWORK_MODE_NAT
}

// cidrOf is a network's range, "" where it tells none.
func cidrOf(n c4.Network) string {
	p, err := netip.ParsePrefix(n.IP.Address)
	if err != nil {
		return ""
	}
	return p.Masked().String()
}

func describeNetwork(n c4.Network) string {
	if modeOf(n) == rpc.NetworkMode_NETWORK_MODE_NAT {
		return cidrOf(n) + " behind NAT"
	}
	return cidrOf(n) + " bridged"
}

// deleteNetwork removes the client's networks of that name from this host until it
// has seen them gone, and again a moment later; else it says why they remain. A host
// that knows nothing of networks has none.
func (h *host) deleteNetwork(ctx context.Context, clientUID, name string) (remains string, err error) {
	for absent, tries := 0, 0; tries < 2; {
		all, err := h.lookNetworks(ctx)
		if reasonOf(err) == rpc.Reason_REASON_UNSUPPORTED {
			return "", nil
		} else if err != nil {
			return "", err
		}
		own := ownNetworks(clientUID, name, all)
		if len(own) == 0 {
			if absent++; absent > 1 && h.unseen.may(networkKey{clientUID, name}, landsSoon) {
				return "the host was asked for it and does not show it yet", nil
			} else if absent > 1 {
				return "", h.settling(&h.standing)
			}
			if !wait(ctx, quickest) {
				return "the host has to be asked once more", nil
			}
			continue
		}
		absent = 0
		tries++
		for _, n := range own {
			err := h.c4.DeleteNetwork(ctx, n.NetworkUID)
			switch {
			case err == nil || c4.CodeOf(err) == c4.NotFound:
			case c4.CodeOf(err) == c4.InUse:
				return "a VM is on it", nil
			default:
				return "", h.changeFailed("removing network "+name, err)
			}
		}
	}
	return "the host was told to remove it and still shows it", nil
}

// outOfReach tells a host whose networks cannot be asked for, be it that we do not trust
// each other, that it knows none or fails at it, from one that will not make what it is
// asked for.
func (h *host) outOfReach(ctx context.Context, err error) bool {
	switch reasonOf(err) {
	case rpc.Reason_REASON_HOST_UNREACHABLE, rpc.Reason_REASON_HOST_UNTRUSTED, rpc.Reason_REASON_UNSUPPORTED:
		return true
	case rpc.Reason_REASON_HOST_FAILED:
		_, err := h.lookNetworks(ctx)
		return err != nil
	}
	return err != nil && h.settling(&h.standing) != nil
}

func (s *service) EnsureNetwork(ctx context.Context, req *rpc.EnsureNetworkRequest) (*rpc.EnsureNetworkResponse, error) {
	if err := checkEnsureNetwork(req); err != nil {
		return nil, err
	}
	hosts, err := s.hosts.in(req.Domains...)
	if err != nil {
		return nil, err
	}
	errs := make([]error, len(hosts))
	each(hosts, func(i int, h *host) {
		if !h.worthAsking() { // it gets the network when a VM needs it there
			errs[i] = silent(h)
			return
		}
		if _, errs[i] = h.ensureNetwork(ctx, req.ClientUid, req.Network); h.outOfReach(ctx, errs[i]) {
			errs[i] = silent(h) // as good as
		}
	})
	res := &rpc.EnsureNetworkResponse{}
	for i, err := range errs {
		switch {
		case reasonOf(err) == rpc.Reason_REASON_HOST_UNREACHABLE:
			res.MissingHosts = append(res.MissingHosts, hosts[i].ID)
		case err != nil:
			return nil, err
		}
	}
	return res, nil
}

func (s *service) ListNetworks(ctx context.Context, req *rpc.ListNetworksRequest) (*rpc.ListNetworksResponse, error) {
	if err := checkClient(req); err != nil {
		return nil, err
	}
	found := make([][]c4.Network, len(s.hosts.all))
	errs := make([]error, len(s.hosts.all))
	each(s.hosts.all, func(i int, h *host) { found[i], errs[i] = h.lookNetworks(ctx) })
	res := &rpc.ListNetworksResponse{}
	for i, h := range s.hosts.all {
		if errs[i] != nil {
			res.MissingHosts = append(res.MissingHosts, h.ID)
		}
		for _, n := range found[i] {
			if n.CreatorUID == req.ClientUid {
				res.Networks = append(res.Networks, &rpc.Network{Name: n.Name, Host: h.ID, Uid: n.NetworkUID, Cidr: cidrOf(n), Mode: modeOf(n)})
			}
		}
	}
	return res, nil
}

func (s *service) DeleteNetwork(ctx context.Context, req *rpc.DeleteNetworkRequest) (*rpc.DeleteNetworkResponse, error) {
	if err := checkDeleteNetwork(req); err != nil {
		return nil, err
	}
	hosts, err := s.hosts.in(req.Domains...)
	if err != nil {
		return nil, err
	}
	remains := make([]string, len(hosts))
	each(hosts, func(i int, h *host) {
		var err error
		if remains[i], err = h.deleteNetwork(ctx, req.ClientUid, req.NetworkName); err != nil {
			remains[i] = messageOf(err)
		}
	})
	res := &rpc.DeleteNetworkResponse{RemainingReasons: map[string]string{}}
	for i, why := range remains {
		if why != "" {
			res.RemainingHosts = append(res.RemainingHosts, hosts[i].ID)
			res.RemainingReasons[hosts[i].ID] = why
		}
	}
	return res, nil
}
