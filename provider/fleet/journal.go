package fleet

import (
	"context"
	"strings"
	"time"

	"google.golang.org/grpc/metadata"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"elemento.cloud/cluster-api-provider-elemento/daemon/rpc"
)

// requestIDKey is the metadata that names a request through both wires.
const requestIDKey = "x-request-id"

// readingLevel is the verbosity at which calls to a daemon that only read leave a
// line; those that change something always do.
const readingLevel = 4

// journal writes the one line of a call, as this end saw it: what it was about,
// between which moments, and what came of it. Nothing else of the request is
// written: it may hold secrets.
func journal(ctx context.Context, d *daemon, operation string, changing bool, req, resp any, err *Error, began, ended time.Time) {
	to := log.FromContext(ctx)
	if !changing {
		to = to.V(readingLevel)
	}
	if !to.Enabled() {
		return
	}
	about := []any{
		"method", operation, "daemon", d.endpoint, "outcome", outcome(err),
		"began", began.UTC().Format(time.RFC3339Nano), "ended", ended.UTC().Format(time.RFC3339Nano),
	}
	add := func(key, value string) {
		if value != "" {
			about = append(about, key, value)
		}
	}
	if sent, ok := metadata.FromOutgoingContext(ctx); ok {
		add("requestID", strings.Join(sent.Get(requestIDKey), ","))
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
	if r, ok := req.(interface{ GetEndpoint() *rpc.Endpoint }); ok {
		add("host", r.GetEndpoint().GetHost())
	}
	if r, ok := req.(interface{ GetTargetVmName() string }); ok {
		add("vm", r.GetTargetVmName())
	}
	if r, ok := req.(interface{ GetNetworkName() string }); ok {
		add("network", r.GetNetworkName())
	}
	if r, ok := req.(interface{ GetNetwork() *rpc.NetworkSpec }); ok {
		add("network", r.GetNetwork().GetName())
	}
	if r, ok := req.(interface{ GetAction() rpc.PowerAction }); ok {
		add("action", r.GetAction().String())
	}
	switch {
	case err == nil:
		about = append(about, result(resp)...)
	case changing && (err.lost() || err.Reason == rpc.Reason_REASON_OUTCOME_UNKNOWN):
		about = append(about, "lost", true) // it may have had an effect that nobody knows
	}
	if err != nil {
		add("reason", err.Message)
	}
	to.Info("call", about...)
}

// result is what the line of a call says of its answer.
func result(resp any) []any {
	switch r := resp.(type) {
	case *rpc.DeleteVMResponse:
		return []any{"gone", r.GetGone()}
	case *rpc.DeleteNetworkResponse:
		return []any{"gone", len(r.GetRemainingHosts()) == 0}
	case *rpc.PlaceVMResponse:
		return []any{"host", r.GetHost()}
	case *rpc.EnsureVMResponse:
		return seen(r.GetVm())
	case *rpc.GetVMResponse:
		return seen(r.GetVm())
	}
	return nil
}

func seen(vm *rpc.VM) []any {
	return []any{"power", vm.GetPowerState().String(), "uid", vm.GetUid()}
}
