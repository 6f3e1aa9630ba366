package daemon

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"path"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"elemento.cloud/cluster-api-provider-elemento/daemon/rpc"
)

// changing are the methods that leave an audit line; all others only read.
var changing = map[string]bool{
	rpc.VMService_EnsureVM_FullMethodName:              true,
	rpc.VMService_DeleteVM_FullMethodName:              true,
	rpc.VMService_SetVMPower_FullMethodName:            true,
	rpc.VMService_AttachVolume_FullMethodName:          true,
	rpc.VMService_DetachVolume_FullMethodName:          true,
	rpc.VMService_AttachNetwork_FullMethodName:         true,
	rpc.VMService_DetachNetwork_FullMethodName:         true,
	rpc.NetworkService_EnsureNetwork_FullMethodName:    true,
	rpc.NetworkService_DeleteNetwork_FullMethodName:    true,
	rpc.EndpointService_EnsureForward_FullMethodName:   true,
	rpc.EndpointService_DeleteForward_FullMethodName:   true,
	rpc.VMService_GetVM_FullMethodName:                 false,
	rpc.VMService_ListVMs_FullMethodName:               false,
	rpc.VMService_WatchVMs_FullMethodName:              false,
	rpc.DomainService_ListDomains_FullMethodName:       false,
	rpc.DomainService_PlaceVM_FullMethodName:           false,
	rpc.NetworkService_ListNetworks_FullMethodName:     false,
	rpc.EndpointService_ReserveEndpoint_FullMethodName: false,
}

// requestIDKey is the metadata that names a request through both wires.
const requestIDKey = "x-request-id"

type requestIDContext struct{}

// requestID returns the ID of the request that the context belongs to.
func requestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDContext{}).(string)
	return id
}

func withRequestID(ctx context.Context, id string) context.Context {
	if id == "" {
		return ctx
	}
	return context.WithValue(ctx, requestIDContext{}, id)
}

// incomingRequestID takes the caller's ID if it is fit for a header and a log.
func incomingRequestID(ctx context.Context) string {
	for _, id := range metadata.ValueFromIncomingContext(ctx, requestIDKey) {
		if id != "" && len(id) <= 128 && !strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return id
		}
	}
	return rand.Text()
}

// isHealth tells the calls of load balancers and kubelets, which anyone with a
// certificate may make.
func isHealth(method string) bool {
	return strings.HasPrefix(method, "/"+grpc_health_v1.Health_ServiceDesc.ServiceName+"/")
}

// unary is what every call but streams goes through.
func (s *service) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (res any, err error) {
	if isHealth(info.FullMethod) {
		return handler(ctx, req)
	}
	ctx = withRequestID(ctx, incomingRequestID(ctx))
	began := time.Now()
	caller := ""
	defer func() { err = s.finish(ctx, info.FullMethod, caller, req, res, began, err) }()
	defer s.recover(ctx, info.FullMethod, &err)

	caller, err = s.admit(ctx, req)
	if err != nil {
		return nil, err
	}
	deadline, ok := ctx.Deadline()
	if !ok {
		return nil, failf(rpc.Reason_REASON_INVALID_REQUEST, "", "the call has no deadline; set one of at most %s", maxDeadline)
	}
	// What is asked of hosts ends a little before the caller does, so that the
	// answer reaches him: he comes back then to the daemon that knows what may
	// still land.
	left := min(time.Until(deadline), maxDeadline)
	ctx, cancel := context.WithTimeout(ctx, left-min(slowest, left/10))
	defer cancel()
	return handler(ctx, req)
}

// admit refuses who may not act for the client UUID of the request, and
// everybody while the daemon ends.
func (s *service) admit(ctx context.Context, req any) (caller string, err error) {
	clientUID := ""
	if r, ok := req.(interface{ GetClientUid() string }); ok {
		clientUID = r.GetClientUid()
	}
	caller, err = s.callers.authorize(ctx, clientUID)
	if err != nil {
		return caller, err
	}
	if s.draining.Err() != nil {
		return caller, errDraining
	}
	return caller, nil
}

var errDraining = failf(rpc.Reason_REASON_DRAINING, "", "this daemon is going away; use another one")

// stream is what every stream goes through.
func (s *service) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
	if isHealth(info.FullMethod) {
		// It has told by then that the daemon ends, and would wait for ever.
		ctx, cancel := context.WithCancel(ss.Context())
		defer cancel()
		defer context.AfterFunc(s.draining, cancel)()
		return handler(srv, &healthStream{ss, ctx})
	}
	admitted := &admittedStream{ServerStream: ss, service: s}
	admitted.ctx = withRequestID(ss.Context(), incomingRequestID(ss.Context()))
	began := time.Now()
	defer func() { err = s.finish(admitted.ctx, info.FullMethod, admitted.caller, admitted.req, nil, began, err) }()
	defer s.recover(admitted.ctx, info.FullMethod, &err)
	return handler(srv, admitted)
}

// healthStream ends when the daemon drains.
type healthStream struct {
	grpc.ServerStream
	ctx context.Context
}

func (h *healthStream) Context() context.Context { return h.ctx }

// admittedStream looks at the requests of a stream as unary does.
type admittedStream struct {
	grpc.ServerStream
	service *service
	ctx     context.Context
	caller  string
	req     any // the last one
}

func (a *admittedStream) Context() context.Context { return a.ctx }

func (a *admittedStream) RecvMsg(m any) error {
	err := a.ServerStream.RecvMsg(m)
	if err == nil {
		a.req = m
		a.caller, err = a.service.admit(a.ctx, m)
	}
	return err
}

// recover turns a panic, also one of what ran beside it for the call, into a failed call.
func (s *service) recover(ctx context.Context, method string, err *error) {
	p := recover()
	if p == nil {
		return
	}
	crashOf(p).write(ctx, s.log, "panic in a call", "method", method)
	*err = failf(rpc.Reason_REASON_HOST_FAILED, "", "the daemon failed; its log tells more under request ID %s", requestID(ctx))
}

// finish gives every failure its detail, measures the call and writes its one
// line: "audit" for a call that changes something, "call" for one that reads.
func (s *service) finish(ctx context.Context, method, caller string, req, res any, began time.Time, err error) error {
	ended := time.Now()
	if err != nil {
		err = detailed(ctx, err)
	}
	name := path.Base(method)
	s.metrics.observeCall(method, name, status.Code(err).String(), ended.Sub(began))

	level, message := slog.LevelDebug, "call"
	if changing[method] {
		level, message = slog.LevelInfo, "audit"
	}
	if !s.log.Enabled(ctx, level) {
		return err
	}
	about := []any{
		"method", name, "caller", caller, "requestID", requestID(ctx),
		"began", began.UTC().Format(time.RFC3339Nano), "ended", ended.UTC().Format(time.RFC3339Nano),
	}
	about = append(about, rpc.About(req)...)
	if err != nil {
		about = append(about, "outcome", reasonOf(err).String(), "err", err)
	} else {
		about = append(about, "outcome", "OK")
		about = append(about, results(res)...)
	}
	s.log.Log(ctx, level, message, about...)
	return err
}

// results says what a call came to, for those who judge the log of a run.
func results(res any) []any {
	switch r := res.(type) {
	case *rpc.DeleteVMResponse:
		return []any{"gone", r.Gone}
	case interface{ GetVm() *rpc.VM }:
		return []any{"power", r.GetVm().GetPowerState().String(), "uid", r.GetVm().GetUid()}
	case *rpc.PlaceVMResponse:
		return []any{"host", r.Host}
	case *rpc.DeleteNetworkResponse:
		return []any{"gone", len(r.RemainingHosts) == 0}
	}
	return nil
}

// detailed makes sure that an error is a failure, and so has its detail.
func detailed(ctx context.Context, err error) error {
	if _, ok := errors.AsType[*failure](err); ok {
		return err
	}
	if ctx.Err() != nil {
		// The caller has gone; nobody reads this but the log.
		return &failure{reason: rpc.Reason_REASON_OUTCOME_UNKNOWN, message: "the caller gave up", err: err}
	}
	return &failure{reason: rpc.Reason_REASON_HOST_FAILED, message: "the daemon failed", err: err}
}
