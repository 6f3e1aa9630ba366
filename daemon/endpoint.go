package daemon

import (
	"cmp"
	"context"
	"fmt"
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

// removeForward removes the forward of a port if it is the one that is meant (it
// may have been pointed elsewhere since it was seen), until the host has shown
// that it is gone, and again a moment later.
func (h *host) removeForward(ctx context.Context, port uint32, meant func(c4.Forward) (bool, error)) error {
	unlock, err := h.holdPort(ctx, port)
	if err != nil {
		return err
	}
	defer unlock()
	for absent, removals := 0, 0; absent < 2; {
		all, err := h.lookForwards(ctx)
		if err != nil {
			return err
		}
		there, found := forwardOn(port, all)
		if !found {
			if absent++; absent == 1 && !wait(ctx, quickest) {
				return gaveUp(ctx, rpc.Reason_REASON_WRONG_STATE, h.ID, fmt.Sprintf("host %s shows no forward of port %d and has to be asked once more", h.ID, port))
			}
			continue
		}
		if is, err := meant(there); err != nil || !is {
			return err
		}
		if removals > 1 {
			return failf(rpc.Reason_REASON_OUTCOME_UNKNOWN, h.ID, "host %s still shows the forward of port %d, which it was told to remove", h.ID, port)
		}
		if err := h.deleteForward(ctx, there); err != nil {
			return err
		}
		absent = 0
		removals++
	}
	if err := h.settling(&h.standing); err != nil {
		return err
	}
	if h.pointing.may(port, landsSoon) {
		return failf(rpc.Reason_REASON_WRONG_STATE, h.ID, "host %s was asked to forward port %d and has not answered; waiting for it, at most %s", h.ID, port, landsSoon)
	}
	return nil
}

// holdPort lets one call at a time change the forward of a port.
func (h *host) holdPort(ctx context.Context, port uint32) (unlock func(), err error) {
	unlock, ok := h.forwarding.lock(ctx, port)
	if !ok {
		return nil, gaveUp(ctx, rpc.Reason_REASON_WRONG_STATE, h.ID, "another call changes this port of host "+h.ID)
	}
	return unlock, nil
}

// ownerOf returns which of the clients a forward of the host at is for, "" if
// that cannot be told. The forward says it, or else the VM that it leads to.
func (s *service) ownerOf(ctx context.Context, at *host, f c4.Forward, clientUIDs ...string) (string, error) {
	if f.CreatorUID != "" {
		return f.CreatorUID, nil
	}
	var failed error
	for _, clientUID := range clientUIDs {
		leads := make([]bool, len(s.hosts.all))
		errs := make([]error, len(s.hosts.all))
		each(s.hosts.all, func(i int, h *host) {
			var target string
			target, errs[i] = h.tenant(clientUID).target(ctx, at, f)
			leads[i] = target != ""
		})
		if slices.Contains(leads, true) {
			return clientUID, nil
		}
		failed = cmp.Or(failed, cmp.Or(errs...))
	}
	return "", failed
}

// target returns the name of the VM that a forward of the host at leads to, "" if it
// is none of these. Of a host that does not answer, the last that it told has to do.
func (t *tenant) target(ctx context.Context, at *host, f c4.Forward) (name string, err error) {
	seen, failed := t.look(ctx)
	if failed != nil {
		seen, _ = t.last()
	}
	if name, err = t.targetIn(ctx, seen, at, f); name != "" || err != nil {
		return name, err
	}
	return "", cmp.Or(failed, t.settling())
}

// targetIn is target for what was seen.
func (t *tenant) targetIn(ctx context.Context, seen observation, at *host, f c4.Forward) (name string, err error) {
	for name := range seen.vms {
		for _, vm := range seen.named(name) {
			if leads, err := t.host.leadsTo(ctx, at, f, vm); err != nil {
				return "", err
			} else if leads {
				return name, nil
			}
		}
	}
	return "", nil
}

// contested returns the name of the client's VM that a forward of the host at leads
// to and that is none of the cluster's, as far as can be told: an endpoint must not
// wait for a host that is down.
func (s *service) contested(ctx context.Context, at *host, f c4.Forward, clientUID string, cluster *rpc.ClusterVMs) string {
	if cluster == nil {
		return "" // every one is the caller's
	}
	targets := make([]string, len(s.hosts.all))
	ask := func(look func(context.Context, *tenant) (string, error)) (contested string) {
		ctx, cancel := context.WithTimeout(ctx, straggle)
		defer cancel()
		each(s.hosts.all, func(i int, h *host) { targets[i], _ = look(ctx, h.tenant(clientUID)) })
		for _, vm := range targets {
			if slices.Contains(cluster.Names, vm) {
				return ""
			}
			contested = cmp.Or(contested, vm)
		}
		return contested
	}
	// As a rule the cluster's own VM is remembered, and nobody has to be asked.
	remembered := ask(func(ctx context.Context, t *tenant) (string, error) {
		seen, _ := t.last()
		return t.targetIn(ctx, seen, at, f)
	})
	if remembered == "" && slices.ContainsFunc(targets, func(vm string) bool { return vm != "" }) {
		return ""
	}
	return ask(func(ctx context.Context, t *tenant) (string, error) { return t.target(ctx, at, f) })
}

// leadsTo tells whether a forward of the host at leads to a VM of this host.
func (h *host) leadsTo(ctx context.Context, at *host, f c4.Forward, vm c4.VM) (bool, error) {
	switch {
	case f.TargetVMUID != "":
		return h == at && f.TargetVMUID == vm.UID, nil
	case f.Target == "" || f.Target != vm.Address:
		return false, nil
	case h == at:
		return true, nil
	}
	return h.onBridge(ctx, vm)
}

// onBridge tells whether other hosts reach the VM by its address.
func (h *host) onBridge(ctx context.Context, vm c4.VM) (bool, error) {
	if len(vm.Networks) == 0 {
		return false, nil
	}
	n, err := h.networkOf(ctx, vm.Networks[0].NetworkUID) // the address is on the first
	return n.NetworkUID != "" && modeOf(n) == rpc.NetworkMode_NETWORK_MODE_BRIDGED, err
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
		if !h.worthAsking() { // callers wait for each other's endpoints
			errs[i] = silent(h)
			return
		}
		if forwards[i], errs[i] = h.lookForwards(ctx); errs[i] == nil && !h.fresh() {
			_, errs[i] = h.info.get(ctx) // maintenance
		}
	})
	free := func(i int, port uint32) bool {
		if _, found := forwardOn(port, forwards[i]); found || s.proposed.has(hostPort{hosts[i].ID, port}) {
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
		if best >= 0 && s.proposed.add(hostPort{hosts[best].ID, port}) {
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
	unlock, err := at.holdPort(ctx, req.Endpoint.Port)
	if err != nil {
		return nil, err
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
		if sameTarget(there, wanted) && (there.CreatorUID == wanted.CreatorUID || there.CreatorUID == "") {
			return &rpc.EnsureForwardResponse{}, nil
		}
		owner, err := s.ownerOf(ctx, at, there, req.ClientUid)
		if err != nil {
			return nil, err
		}
		if owner != req.ClientUid {
			return nil, failf(rpc.Reason_REASON_IN_USE, at.ID, "port %d of host %s is forwarded for somebody else; reserve another endpoint", req.Endpoint.Port, at.ID)
		}
		if vm := s.contested(ctx, at, there, req.ClientUid, req.ClusterVms); vm != "" && vm != req.TargetVmName {
			return nil, failf(rpc.Reason_REASON_IN_USE, at.ID, "port %d of host %s leads to VM %s, which is another cluster's that acts for the same client UUID, perhaps of another management cluster", req.Endpoint.Port, at.ID, vm)
		}
		wanted.Force = true
	}
	_, err = at.c4.CreateForward(ctx, wanted)
	switch code := c4.CodeOf(err); {
	case err != nil && code == c4.InUse:
		return nil, at.failed("forwarding a port", err, rpc.Reason_REASON_IN_USE, "the port is taken; reserve another endpoint")
	case err != nil && !code.Ambiguous():
		return nil, at.changeFailed("forwarding a port", err)
	}
	// Whatever the host says: what counts is what it shows.
	all, lookErr := at.lookForwards(ctx)
	if there, found := forwardOn(req.Endpoint.Port, all); found && sameTarget(there, wanted) {
		return &rpc.EnsureForwardResponse{}, nil
	}
	if unanswered(err) {
		at.pointing.add(req.Endpoint.Port)
	}
	switch {
	case err != nil:
		return nil, at.changeFailed("forwarding a port", err)
	case lookErr != nil:
		return nil, lookErr
	}
	return nil, failf(rpc.Reason_REASON_OUTCOME_UNKNOWN, at.ID, "host %s has agreed to forward port %d and does not show it yet", at.ID, req.Endpoint.Port)
}

// forwardTo is the forward that is asked for, with the target's address.
func (s *service) forwardTo(ctx context.Context, at, targetHost *host, req *rpc.EnsureForwardRequest) (c4.Forward, error) {
	t := targetHost.tenant(req.ClientUid)
	seen, err := t.look(ctx)
	if err != nil {
		return c4.Forward{}, err
	}
	target := seen.vms[req.TargetVmName]
	switch {
	case target == nil:
		return c4.Forward{}, t.notFound(req.TargetVmName)
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
	if bridged, err := targetHost.onBridge(ctx, target.vm); bridged || err != nil {
		return f, err
	}
	return c4.Forward{}, failf(rpc.Reason_REASON_NETWORK_NOT_FOUND, at.ID, "VM %s on host %s is behind NAT, where a forward of host %s cannot reach it; use a bridged network for a cluster over several hosts", req.TargetVmName, targetHost.ID, at.ID)
}

func sameTarget(there, wanted c4.Forward) bool {
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
	clients := append([]string{req.ClientUid}, s.callers.clientUIDs()...)
	err = at.removeForward(ctx, req.Endpoint.Port, func(there c4.Forward) (own bool, err error) {
		owner, err := s.ownerOf(ctx, at, there, clients...)
		if err == nil && owner == "" {
			// Not every host tells whose a forward is. The client's own went with
			// the VM that it led to, so this one may be anybody's: to leave it
			// could leak it, to remove it could cut somebody off.
			err = failf(rpc.Reason_REASON_IN_USE, at.ID, "port %d of host %s is forwarded, and neither the host nor the VMs of any client of this daemon tell for whom; if it is nobody else's, remove the forward on the host", req.Endpoint.Port, at.ID)
		}
		return owner == req.ClientUid && s.contested(ctx, at, there, req.ClientUid, req.ClusterVms) == "", err
	})
	if err != nil {
		return nil, err
	}
	s.proposed.drop(hostPort{req.Endpoint.Host, req.Endpoint.Port})
	return &rpc.DeleteForwardResponse{}, nil
}
