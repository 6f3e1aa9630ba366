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
	about = append(about, rpc.About(req)...)
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
