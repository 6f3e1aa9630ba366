package daemon

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"elemento.cloud/cluster-api-provider-elemento/c4"
	"elemento.cloud/cluster-api-provider-elemento/daemon/rpc"
)

// reasonCodes says with which gRPC code a reason travels. The comments of the
// proto file are the contract.
var reasonCodes = map[rpc.Reason]codes.Code{
	rpc.Reason_REASON_INVALID_REQUEST:   codes.InvalidArgument,
	rpc.Reason_REASON_CLIENT_FORBIDDEN:  codes.PermissionDenied,
	rpc.Reason_REASON_DOMAIN_UNKNOWN:    codes.NotFound,
	rpc.Reason_REASON_HOST_UNKNOWN:      codes.FailedPrecondition,
	rpc.Reason_REASON_HOST_UNREACHABLE:  codes.Unavailable,
	rpc.Reason_REASON_HOST_UNTRUSTED:    codes.FailedPrecondition,
	rpc.Reason_REASON_NO_CAPACITY:       codes.ResourceExhausted,
	rpc.Reason_REASON_HARDWARE_ABSENT:   codes.FailedPrecondition,
	rpc.Reason_REASON_LICENSE_REQUIRED:  codes.ResourceExhausted,
	rpc.Reason_REASON_IMAGE_NOT_FOUND:   codes.FailedPrecondition,
	rpc.Reason_REASON_NETWORK_NOT_FOUND: codes.FailedPrecondition,
	rpc.Reason_REASON_VM_NOT_FOUND:      codes.NotFound,
	rpc.Reason_REASON_IN_USE:            codes.Aborted,
	rpc.Reason_REASON_WRONG_STATE:       codes.Aborted,
	rpc.Reason_REASON_OUTCOME_UNKNOWN:   codes.Aborted,
	rpc.Reason_REASON_HOST_FAILED:       codes.Internal,
	rpc.Reason_REASON_UNSUPPORTED:       codes.Unimplemented,
	rpc.Reason_REASON_DRAINING:          codes.Unavailable,
}

// changeReasons says what a failed call that changes something on a host means
// to our caller.
var changeReasons = map[c4.Code]rpc.Reason{
	c4.Unknown:         rpc.Reason_REASON_OUTCOME_UNKNOWN,
	c4.Unreachable:     rpc.Reason_REASON_HOST_UNREACHABLE,
	c4.Unavailable:     rpc.Reason_REASON_HOST_UNREACHABLE,
	c4.Untrusted:       rpc.Reason_REASON_HOST_UNTRUSTED,
	c4.Unauthenticated: rpc.Reason_REASON_HOST_UNTRUSTED,
	c4.Invalid:         rpc.Reason_REASON_INVALID_REQUEST,
	c4.NotFound:        rpc.Reason_REASON_VM_NOT_FOUND,
	c4.CannotPlace:     rpc.Reason_REASON_NO_CAPACITY,
	c4.LicenseRequired: rpc.Reason_REASON_LICENSE_REQUIRED,
	c4.InUse:           rpc.Reason_REASON_IN_USE,
	c4.WrongState:      rpc.Reason_REASON_WRONG_STATE,
	c4.NotDone:         rpc.Reason_REASON_HOST_FAILED,
	c4.Unsupported:     rpc.Reason_REASON_UNSUPPORTED,
	c4.Malformed:       rpc.Reason_REASON_HOST_FAILED,
	c4.Internal:        rpc.Reason_REASON_HOST_FAILED,
}

// lookReasons is where reading differs from changing: a question without an
// answer has no outcome to wonder about, and what is asked for is ours to get
// right.
var lookReasons = map[c4.Code]rpc.Reason{
	c4.Unknown:  rpc.Reason_REASON_HOST_UNREACHABLE,
	c4.Invalid:  rpc.Reason_REASON_HOST_FAILED,
	c4.NotFound: rpc.Reason_REASON_HOST_FAILED,
}

// failure is the error of every call of this package that fails: what the
// caller is told, and (in err) what only the log sees.
type failure struct {
	reason  rpc.Reason
	host    string
	message string
	err     error
}

func (f *failure) Error() string {
	if f.err == nil {
		return f.message
	}
	return f.message + ": " + f.err.Error()
}

func (f *failure) Unwrap() error { return f.err }

// GRPCStatus is how gRPC sends the failure.
func (f *failure) GRPCStatus() *status.Status {
	code, known := reasonCodes[f.reason]
	if !known {
		code = codes.Internal
	}
	st := status.New(code, f.message)
	if detailed, err := st.WithDetails(&rpc.ErrorDetail{Reason: f.reason, Host: f.host}); err == nil {
		return detailed
	}
	return st
}

func failf(reason rpc.Reason, host, format string, args ...any) error {
	return &failure{reason: reason, host: host, message: fmt.Sprintf(format, args...)}
}

// reasonOf returns the reason of a failure, unspecified for any other error.
func reasonOf(err error) rpc.Reason {
	if f, ok := errors.AsType[*failure](err); ok {
		return f.reason
	}
	return rpc.Reason_REASON_UNSPECIFIED
}

// messageOf is what a caller may read of an error.
func messageOf(err error) string {
	if f, ok := errors.AsType[*failure](err); ok {
		return f.message
	}
	return "the daemon failed"
}

// changeFailed explains a failed call that was to change something; what names
// it, for example "making the boot volume".
func (h *host) changeFailed(what string, err error) error {
	code := c4.CodeOf(err)
	return h.failed(what, err, changeReasons[code], explanations[code])
}

// lookFailed explains a failed question.
func (h *host) lookFailed(what string, err error) error {
	code := c4.CodeOf(err)
	reason, differs := lookReasons[code]
	if !differs {
		reason = changeReasons[code]
	}
	explanation := explanations[code]
	if code == c4.Unknown {
		explanation = "the host does not answer"
	}
	return h.failed(what, err, reason, explanation)
}

// silent is the failure of who would ask a host that has just failed to answer.
func silent(h *host) error {
	return failf(rpc.Reason_REASON_HOST_UNREACHABLE, h.ID, "host %s does not answer", h.ID)
}

// failed shows the caller what the host said, but neither its address nor the
// words of the transport, which name it.
func (h *host) failed(what string, err error, reason rpc.Reason, explanation string) error {
	if f, ok := errors.AsType[*failure](err); ok {
		return f
	}
	message := fmt.Sprintf("host %s: %s: %s", h.ID, what, explanation)
	if said, ok := errors.AsType[*c4.Error](err); ok && said.Status != 0 && said.Message != "" {
		message += " (" + said.Message + ")"
	}
	return &failure{reason: reason, host: h.ID, message: message, err: err}
}

// explanations put codes into words for whoever reads the message at the far
// end.
var explanations = map[c4.Code]string{
	c4.Unknown:         "no answer came back, so its effect is not known",
	c4.Unreachable:     "the host cannot be reached",
	c4.Unavailable:     "the host, or a service of it, is too busy or down",
	c4.Untrusted:       "the host presents a certificate that does not match the daemon's configuration",
	c4.Unauthenticated: "the host does not accept the daemon's token",
	c4.Invalid:         "the host refuses the request",
	c4.NotFound:        "the host does not have it, or it belongs to another client UUID",
	c4.CannotPlace:     "there is no room on the host now",
	c4.LicenseRequired: "the host's edition allows no more VMs; arm a license or use another host",
	c4.InUse:           "it is held by something else",
	c4.WrongState:      "the VM's state does not allow it now",
	c4.NotDone:         "the host did not do it",
	c4.Unsupported:     "the host does not know this call; it may be too old",
	c4.Malformed:       "the host's answer cannot be read",
	c4.Internal:        "the host failed",
}

// gaveUp explains why waiting for something ended with the caller's context.
func gaveUp(ctx context.Context, reason rpc.Reason, host, what string) error {
	return &failure{reason: reason, host: host, message: what, err: context.Cause(ctx)}
}
