package fleet

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"strconv"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"sigs.k8s.io/controller-runtime/pkg/controller"

	"elemento.cloud/cluster-api-provider-elemento/daemon/rpc"
)

// Deadlines of calls. Making and deleting may wait for storage; the rest asks.
const (
	longCall  = 30 * time.Second
	shortCall = 10 * time.Second
)

// method is a method of a daemon's client.
type method[Req, Resp any] func(ctx context.Context, req Req, opts ...grpc.CallOption) (Resp, error)

// target is what a call is about.
type target struct {
	// host concerned, if one is.
	host string
	// subject that the call changes; zero if it changes nothing.
	subject subject
}

func (m *Member) vm(host, name string) target {
	return target{host: host, subject: subject{clientUID: m.clientUID, kind: "vm", name: name}}
}

// PlaceVM proposes a host for a VM.
func (m *Member) PlaceVM(ctx context.Context, req *rpc.PlaceVMRequest) (host string, err error) {
	req.ClientUid = m.clientUID
	resp, err := call(ctx, m, "PlaceVM", shortCall, target{}, req, func(d *daemon) method[*rpc.PlaceVMRequest, *rpc.PlaceVMResponse] { return d.domains.PlaceVM })
	return resp.GetHost(), err
}

// ListDomains returns the site's domains with their hosts.
func (m *Member) ListDomains(ctx context.Context) ([]*rpc.Domain, error) {
	req := &rpc.ListDomainsRequest{ClientUid: m.clientUID}
	resp, err := call(ctx, m, "ListDomains", shortCall, target{}, req, func(d *daemon) method[*rpc.ListDomainsRequest, *rpc.ListDomainsResponse] {
		return d.domains.ListDomains
	})
	return resp.GetDomains(), err
}

// EnsureVM makes a VM on exactly the given host, or returns it as it is.
func (m *Member) EnsureVM(ctx context.Context, req *rpc.EnsureVMRequest) (*rpc.VM, error) {
	req.ClientUid = m.clientUID
	resp, err := call(ctx, m, "EnsureVM", longCall, m.vm(req.GetHost(), req.GetVmName()), req, func(d *daemon) method[*rpc.EnsureVMRequest, *rpc.EnsureVMResponse] { return d.vms.EnsureVM })
	return resp.GetVm(), err
}

// GetVM asks the host for a VM.
func (m *Member) GetVM(ctx context.Context, host, name string) (*rpc.VM, error) {
	req := &rpc.GetVMRequest{ClientUid: m.clientUID, Host: host, VmName: name}
	resp, err := call(ctx, m, "GetVM", shortCall, target{host: host}, req, func(d *daemon) method[*rpc.GetVMRequest, *rpc.GetVMResponse] { return d.vms.GetVM })
	return resp.GetVm(), err
}

// DeleteVM takes the next step of removing a VM. From forceAfter on, power is cut.
func (m *Member) DeleteVM(ctx context.Context, req *rpc.DeleteVMRequest) (gone bool, remaining []string, err error) {
	req.ClientUid = m.clientUID
	resp, err := call(ctx, m, "DeleteVM", longCall, m.vm(req.GetHost(), req.GetVmName()), req, func(d *daemon) method[*rpc.DeleteVMRequest, *rpc.DeleteVMResponse] { return d.vms.DeleteVM })
	return resp.GetGone(), resp.GetRemaining(), err
}

// SetVMPower asks for a power state and does not wait for it.
func (m *Member) SetVMPower(ctx context.Context, host, name string, action rpc.PowerAction) error {
	req := &rpc.SetVMPowerRequest{ClientUid: m.clientUID, Host: host, VmName: name, Action: action}
	_, err := call(ctx, m, "SetVMPower", shortCall, m.vm(host, name), req, func(d *daemon) method[*rpc.SetVMPowerRequest, *rpc.SetVMPowerResponse] { return d.vms.SetVMPower })
	return err
}

// EnsureNetwork makes a managed network on the hosts of domains and names those
// that could not be reached.
func (m *Member) EnsureNetwork(ctx context.Context, network *rpc.NetworkSpec, domains []string) (missingHosts []string, err error) {
	req := &rpc.EnsureNetworkRequest{ClientUid: m.clientUID, Network: network, Domains: domains}
	resp, err := call(ctx, m, "EnsureNetwork", longCall, m.network(network.GetName()), req, func(d *daemon) method[*rpc.EnsureNetworkRequest, *rpc.EnsureNetworkResponse] {
		return d.networks.EnsureNetwork
	})
	return resp.GetMissingHosts(), err
}

func (m *Member) network(name string) target {
	return target{subject: subject{clientUID: m.clientUID, kind: "network", name: name}}
}

// DeleteNetwork removes a managed network and tells of the hosts that may still have it
// why; a daemon may not say that.
func (m *Member) DeleteNetwork(ctx context.Context, name string, domains []string) (remaining map[string]string, err error) {
	req := &rpc.DeleteNetworkRequest{ClientUid: m.clientUID, NetworkName: name, Domains: domains}
	resp, err := call(ctx, m, "DeleteNetwork", longCall, m.network(name), req, func(d *daemon) method[*rpc.DeleteNetworkRequest, *rpc.DeleteNetworkResponse] {
		return d.networks.DeleteNetwork
	})
	for _, host := range resp.GetRemainingHosts() {
		if remaining == nil {
			remaining = map[string]string{}
		}
		remaining[host] = resp.GetRemainingReasons()[host]
	}
	return remaining, err
}

// ReserveEndpoint proposes an endpoint and the address that clients connect to.
func (m *Member) ReserveEndpoint(ctx context.Context, req *rpc.ReserveEndpointRequest) (endpoint *rpc.Endpoint, address string, err error) {
	req.ClientUid = m.clientUID
	resp, err := call(ctx, m, "ReserveEndpoint", shortCall, target{}, req, func(d *daemon) method[*rpc.ReserveEndpointRequest, *rpc.ReserveEndpointResponse] {
		return d.endpoints.ReserveEndpoint
	})
	return resp.GetEndpoint(), resp.GetAddress(), err
}

// EnsureForward points a port of a host at a cluster's VM.
func (m *Member) EnsureForward(ctx context.Context, req *rpc.EnsureForwardRequest) error {
	req.ClientUid = m.clientUID
	_, err := call(ctx, m, "EnsureForward", shortCall, m.forward(req.GetEndpoint()), req, func(d *daemon) method[*rpc.EnsureForwardRequest, *rpc.EnsureForwardResponse] {
		return d.endpoints.EnsureForward
	})
	return err
}

// DeleteForward removes a cluster's forward from a port of a host.
func (m *Member) DeleteForward(ctx context.Context, req *rpc.DeleteForwardRequest) error {
	req.ClientUid = m.clientUID
	_, err := call(ctx, m, "DeleteForward", shortCall, m.forward(req.GetEndpoint()), req, func(d *daemon) method[*rpc.DeleteForwardRequest, *rpc.DeleteForwardResponse] {
		return d.endpoints.DeleteForward
	})
	return err
}

func (m *Member) forward(endpoint *rpc.Endpoint) target {
	name := net.JoinHostPort(endpoint.GetHost(), strconv.FormatUint(uint64(endpoint.GetPort()), 10))
	return target{host: endpoint.GetHost(), subject: subject{clientUID: m.clientUID, kind: "endpoint", name: name}}
}

// call makes a call with a deadline at the daemon that answered last, and at
// the others if the request certainly had no effect there. A changing call
// whose answer is lost is not repeated elsewhere before its deadline.
func call[Req, Resp any](ctx context.Context, m *Member, operation string, timeout time.Duration, on target, req Req, of func(*daemon) method[Req, Resp]) (Resp, error) {
	var none Resp
	if !m.begin() {
		return none, waiting(operation, "the identity has changed, and the connection is being made anew", time.Second)
	}
	defer m.end()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	id := string(controller.ReconcileIDFromContext(ctx))
	if id == "" {
		id = rand.Text()
	}
	ctx = metadata.AppendToOutgoingContext(ctx, requestIDKey, id)

	changing := on.subject != subject{}
	var failure *Error
	var fenced time.Duration
	for _, d := range m.order(on.host) {
		if changing {
			if wait := m.fleet.fences.wait(on.subject, d.endpoint); wait > 0 {
				fenced = wait
				continue
			}
		}
		resp, err := attempt(ctx, d, operation, changing, req, of(d))
		if err == nil {
			m.stay(d)
			return resp, nil
		}
		failure = err
		if err.lost() || err.away() {
			m.leave(d)
		}
		if err.lost() && changing {
			deadline, _ := ctx.Deadline()
			m.fleet.fences.raise(on.subject, d.endpoint, deadline)
			break
		}
		if !err.lost() && !err.elsewhere() {
			break
		}
	}
	if fenced > 0 && (failure == nil || failure.elsewhere() && !failure.Untrusted) {
		return none, waiting(operation, "an earlier call may still be under way at one that does not answer; another one is asked when its time is over", fenced)
	}
	failure.RetryAfter = fenced
	return none, failure
}

func attempt[Req, Resp any](ctx context.Context, d *daemon, operation string, changing bool, req Req, do method[Req, Resp]) (Resp, *Error) {
	var sent atomic.Bool
	began := time.Now()
	resp, err := do(context.WithValue(ctx, sentKey{}, &sent), req)
	ended := time.Now()
	var failure *Error
	if err != nil {
		failure = newError(operation, d.endpoint, err, sent.Load())
		failure.Untrusted = !failure.answered && d.untrusted.Load()
	}
	observe(operation, failure, ended.Sub(began))
	journal(ctx, d, operation, changing, req, resp, failure, began, ended)
	return resp, failure
}

// RetryAfter is how long to wait before a call that failed with err is made
// again: what the error says, or usual.
func RetryAfter(err error, usual time.Duration) time.Duration {
	var e *Error
	if errors.As(err, &e) && e.RetryAfter > 0 {
		return e.RetryAfter
	}
	return usual
}
