package daemon

import (
	"cmp"
	"context"
	"slices"

	"elemento.cloud/cluster-api-provider-elemento/c4"
	"elemento.cloud/cluster-api-provider-elemento/daemon/rpc"
)

// lookForwards asks the host for its forwards.
func (h *host) lookForwards(ctx context.Context) ([]c4.Forward, error) {
	forwards, err := h.forwards.get(ctx)
	if err != nil {
		return nil, h.lookFailed("asking for its forwards", err)
	}
	return forwards, nil
}

func (h *host) deleteForward(ctx context.Context, f c4.Forward) error {
	err := h.c4.DeleteForward(ctx, f.ForwardUID)
	if err != nil && c4.CodeOf(err) != c4.NotFound {
		return h.changeFailed("removing a forward", err)
	}
	return nil
}

func forwardOn(port uint32, all []c4.Forward) (c4.Forward, bool) {
	i := slices.IndexFunc(all, func(f c4.Forward) bool { return f.Port == int(port) })
	if i < 0 {
		return c4.Forward{}, false
	}
	return all[i], true
}

// owns tells whether a forward of the host is the client's: the forward says
// so, or else its target does.
func (h *host) owns(ctx context.Context, clientUID string, f c4.Forward) (bool, error) {
	if f.CreatorUID != "" {
		return f.CreatorUID == clientUID, nil
	}
	seen, err := h.tenant(clientUID).look(ctx)
	if err != nil {
		return false, err
	}
	for _, s := range seen.vms {
		if s.vm.UID == f.TargetVMUID {
			return true, nil
		}
	}
	return false, nil
}

// taken are the ports of every host that cannot be forwarded anyhow.
var taken = []uint32{c4.MatcherPort, c4.StoragePort, c4.NetworkPort, 22}

// ports returns how a free port is looked for: the one wished for, then those
// that follow.
func ports(wish uint32) []uint32 {
	const most = 1000
	list := make([]uint32, 0, most)
	for p := wish; len(list) < most && p <= 65535; p++ {
		if !slices.Contains(taken, p) {
			list = append(list, p)
		}
	}
	return list
}

func (s *service) ReserveEndpoint(ctx context.Context, req *rpc.ReserveEndpointRequest) (*rpc.ReserveEndpointResponse, error) {
	if err := checkReserveEndpoint(req); err != nil {
		return nil, err
	}
	hosts, err := s.hosts.in(req.Domains...)
	if err != nil {
		return nil, err
	}
	forwards := make([][]c4.Forward, len(hosts))
	errs := make([]error, len(hosts))
	each(hosts, func(i int, h *host) {
		if forwards[i], errs[i] = h.lookForwards(ctx); errs[i] == nil && !h.fresh() {
			_, errs[i] = h.info.get(ctx) // maintenance
		}
	})
	free := func(i int, port uint32) bool {
		if _, found := forwardOn(port, forwards[i]); found {
			return false
		}
		return !slices.ContainsFunc(req.Reserved, func(e *rpc.Endpoint) bool { return e.Host == hosts[i].ID && e.Port == port })
	}
	var failed error
	for _, port := range ports(req.Port) {
		best := -1
		for i, h := range hosts {
			if errs[i] != nil {
				failed = errs[i]
				continue
			}
			if h.health() != rpc.HostHealth_HOST_HEALTH_READY || !free(i, port) {
				continue
			}
			// The host is the endpoint's single point of failure, and behind NAT
			// the whole cluster goes there: few forwards, then much room.
			if best < 0 || cmp.Or(cmp.Compare(len(forwards[i]), len(forwards[best])), -cmp.Compare(h.room(), hosts[best].room())) < 0 {
				best = i
			}
		}
		if best >= 0 {
			return &rpc.ReserveEndpointResponse{
				Endpoint: &rpc.Endpoint{Host: hosts[best].ID, Port: port},
				Address:  hosts[best].ForwardAddress,
			}, nil
		}
	}
	if failed != nil {
		return nil, failed
	}
	return nil, failf(rpc.Reason_REASON_NO_CAPACITY, "", "no host of the domains is ready and has a free port from %d on", req.Port)
}

func (s *service) EnsureForward(ctx context.Context, req *rpc.EnsureForwardRequest) (*rpc.EnsureForwardResponse, error) {
	if err := checkEnsureForward(req); err != nil {
		return nil, err
	}
	at, err := s.hosts.get(req.Endpoint.Host)
	if err != nil {
		return nil, err
	}
	targetHost, err := s.hosts.get(req.TargetHost)
	if err != nil {
		return nil, err
	}
	unlock, ok := at.forwarding.lock(ctx, req.Endpoint.Port)
	if !ok {
		return nil, gaveUp(ctx, rpc.Reason_REASON_WRONG_STATE, at.ID, "another call changes this port of host "+at.ID)
	}
	defer unlock()
	wanted, err := s.forwardTo(ctx, at, targetHost, req)
	if err != nil {
		return nil, err
	}
	all, err := at.lookForwards(ctx)
	if err != nil {
		return nil, err
	}
	if there, found := forwardOn(req.Endpoint.Port, all); found {
		if leadsTo(there, wanted) && there.CreatorUID == wanted.CreatorUID {
			return &rpc.EnsureForwardResponse{}, nil
		}
		own, err := at.owns(ctx, req.ClientUid, there)
		if err != nil {
			return nil, err
		}
		if !own {
			return nil, failf(rpc.Reason_REASON_IN_USE, at.ID, "port %d of host %s is forwarded for somebody else; reserve another endpoint", req.Endpoint.Port, at.ID)
		}
		wanted.Force = true
	}
	_, err = at.c4.CreateForward(ctx, wanted)
	if err == nil {
		return &rpc.EnsureForwardResponse{}, nil
	}
	switch code := c4.CodeOf(err); {
	case code.Ambiguous():
		if all, lookErr := at.lookForwards(ctx); lookErr == nil {
			if there, found := forwardOn(req.Endpoint.Port, all); found && leadsTo(there, wanted) {
				return &rpc.EnsureForwardResponse{}, nil
			}
		}
	case code == c4.InUse:
		return nil, at.failed("forwarding a port", err, rpc.Reason_REASON_IN_USE, "the port is taken; reserve another endpoint")
	}
	return nil, at.changeFailed("forwarding a port", err)
}

// forwardTo is the forward that is asked for, with the target's address.
func (s *service) forwardTo(ctx context.Context, at, targetHost *host, req *rpc.EnsureForwardRequest) (c4.Forward, error) {
	seen, err := targetHost.tenant(req.ClientUid).look(ctx)
	if err != nil {
		return c4.Forward{}, err
	}
	target := seen.vms[req.TargetVmName]
	switch {
	case target == nil:
		return c4.Forward{}, vmNotFound(targetHost, req.TargetVmName)
	case target.vm.Address == "":
		return c4.Forward{}, failf(rpc.Reason_REASON_WRONG_STATE, targetHost.ID, "VM %s has no address yet", req.TargetVmName)
	}
	f := c4.Forward{
		CreatorUID: req.ClientUid, Protocol: "tcp", Port: int(req.Endpoint.Port),
		Target: target.vm.Address, TargetVMUID: target.vm.UID, TargetPort: int(req.TargetPort),
	}
	if at == targetHost {
		return f, nil
	}
	// Another host knows nothing of the VM and reaches it on a bridged network
	// only.
	f.TargetVMUID = ""
	networks, err := targetHost.lookNetworks(ctx)
	if err != nil {
		return c4.Forward{}, err
	}
	for _, ref := range target.vm.Networks[:min(1, len(target.vm.Networks))] { // the address is on the first
		i := slices.IndexFunc(networks, func(n c4.Network) bool { return n.NetworkUID == ref.NetworkUID })
		if i >= 0 && modeOf(networks[i]) == rpc.NetworkMode_NETWORK_MODE_BRIDGED {
			return f, nil
		}
	}
	return c4.Forward{}, failf(rpc.Reason_REASON_NETWORK_NOT_FOUND, at.ID, "VM %s on host %s is behind NAT, where a forward of host %s cannot reach it; use a bridged network for a cluster over several hosts", req.TargetVmName, targetHost.ID, at.ID)
}

func leadsTo(there, wanted c4.Forward) bool {
	return there.Target == wanted.Target && there.TargetVMUID == wanted.TargetVMUID && there.TargetPort == wanted.TargetPort
}

func (s *service) DeleteForward(ctx context.Context, req *rpc.DeleteForwardRequest) (*rpc.DeleteForwardResponse, error) {
	if err := checkDeleteForward(req); err != nil {
		return nil, err
	}
	at, err := s.hosts.get(req.Endpoint.Host)
	if err != nil {
		return nil, err
	}
	unlock, ok := at.forwarding.lock(ctx, req.Endpoint.Port)
	if !ok {
		return nil, gaveUp(ctx, rpc.Reason_REASON_WRONG_STATE, at.ID, "another call changes this port of host "+at.ID)
	}
	defer unlock()
	all, err := at.lookForwards(ctx)
	if err != nil {
		return nil, err
	}
	there, found := forwardOn(req.Endpoint.Port, all)
	if !found {
		return &rpc.DeleteForwardResponse{}, nil
	}
	own, err := at.owns(ctx, req.ClientUid, there)
	if err == nil && own {
		err = at.deleteForward(ctx, there)
	}
	if err != nil {
		return nil, err
	}
	return &rpc.DeleteForwardResponse{}, nil
}
