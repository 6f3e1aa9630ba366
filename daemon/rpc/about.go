package rpc

import (
	"net"
	"strconv"
)

// About says what a request is about, as keys and values of a line in a log, and
// nothing else of it: requests hold secrets. Both ends of the wire write it, so that
// their lines can be joined. What a request does not tell is left out.
func About(req any) (attributes []any) {
	add := func(key, value string) {
		if value != "" {
			attributes = append(attributes, key, value)
		}
	}
	if r, ok := req.(interface{ GetClientUid() string }); ok {
		add("client", r.GetClientUid())
	}
	if r, ok := req.(interface{ GetHost() string }); ok {
		add("host", r.GetHost())
	}
	if r, ok := req.(interface{ GetVmName() string }); ok {
		add("vm", r.GetVmName())
	}
	if r, ok := req.(interface{ GetVolumeName() string }); ok {
		add("volume", r.GetVolumeName())
	}
	if r, ok := req.(interface{ GetVolume() *Volume }); ok {
		add("volume", r.GetVolume().GetName())
	}
	if r, ok := req.(interface{ GetNetworkName() string }); ok {
		add("network", r.GetNetworkName())
	}
	if r, ok := req.(interface{ GetNetwork() *NetworkSpec }); ok {
		add("network", r.GetNetwork().GetName())
	}
	if r, ok := req.(interface{ GetAction() PowerAction }); ok {
		add("action", r.GetAction().String())
	}
	if r, ok := req.(interface{ GetEndpoint() *Endpoint }); ok && r.GetEndpoint() != nil {
		e := r.GetEndpoint()
		add("host", e.GetHost())
		add("endpoint", net.JoinHostPort(e.GetHost(), strconv.FormatUint(uint64(e.GetPort()), 10)))
	}
	if r, ok := req.(interface{ GetTargetHost() string }); ok {
		add("targetHost", r.GetTargetHost())
	}
	if r, ok := req.(interface{ GetTargetVmName() string }); ok {
		add("vm", r.GetTargetVmName())
	}
	return attributes
}
