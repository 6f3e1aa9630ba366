package fleet

import (
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"elemento.cloud/cluster-api-provider-elemento/daemon/rpc"
)

// Error is a call to a daemon that did not succeed.
type Error struct {
	// Operation is the name of the call, such as "EnsureVM".
	Operation string
	// Endpoint is the daemon that was asked last; empty where none may be asked yet.
	Endpoint string
	// Code is the gRPC code.
	Code codes.Code
	// Reason is the daemon's; REASON_UNSPECIFIED when no daemon answered.
	Reason rpc.Reason
	// Host is the host concerned, if one is.
	Host string
	// Message is for people.
	Message string
	// RetryAfter, if not zero, is how long another attempt is refused: an
	// earlier call may still be under way at a daemon that we lost.
	RetryAfter time.Duration
	// Untrusted tells that no daemon answered because a certificate was
	// refused: the daemon's by us, or ours by the daemon.
	Untrusted bool

	// sent tells that the request left, and answered that a daemon said
	// something about it.
	sent, answered bool
}

// waiting is the failure of a call that no daemon may be asked for before so long.
func waiting(operation, why string, again time.Duration) *Error {
	return &Error{Operation: operation, Code: codes.Unavailable, Message: why, RetryAfter: again}
}

// Waiting tells that no daemon was asked, since none may be yet.
func (e *Error) Waiting() bool { return e.Endpoint == "" }

func (e *Error) Error() string {
	if e.Waiting() {
		return fmt.Sprintf("%s: waiting to ask a daemon: %s", e.Operation, e.Message)
	}
	if e.Reason != rpc.Reason_REASON_UNSPECIFIED {
		return fmt.Sprintf("%s: daemon %s: %s (%s)", e.Operation, e.Endpoint, e.Message, e.Reason)
	}
	return fmt.Sprintf("%s: daemon %s: %s (%s)", e.Operation, e.Endpoint, e.Message, e.Code)
}

// outcome of a call: "OK", the daemon's reason, or the gRPC code where no daemon
// answered.
func outcome(err *Error) string {
	switch {
	case err == nil:
		return "OK"
	case err.Reason != rpc.Reason_REASON_UNSPECIFIED:
		return err.Reason.String()
	}
	return err.Code.String()
}

// ReasonOf is the daemon's reason for err; REASON_UNSPECIFIED if err is not
// from a daemon that answered.
func ReasonOf(err error) rpc.Reason {
	var e *Error
	if errors.As(err, &e) {
		return e.Reason
	}
	return rpc.Reason_REASON_UNSPECIFIED
}

func newError(operation, endpoint string, err error, sent bool) *Error {
	s := status.Convert(err)
	e := &Error{Operation: operation, Endpoint: endpoint, Code: s.Code(), Message: s.Message(), sent: sent}
	for _, detail := range s.Details() {
		if d, ok := detail.(*rpc.ErrorDetail); ok {
			e.Reason, e.Host, e.answered = d.GetReason(), d.GetHost(), true
		}
	}
	// Without a detail the status was made by gRPC itself, on one side or the
	// other. These codes then tell nothing of what became of the request.
	switch e.Code {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.Internal, codes.Unknown, codes.Aborted:
	default:
		e.answered = true
	}
	return e
}

// Answered tells that a daemon answered, whatever it said.
func (e *Error) Answered() bool { return e.answered }

// lost tells that the request may still be under way.
func (e *Error) lost() bool { return e.sent && !e.answered }

// elsewhere tells that the daemon has not acted and that another one might: a host that
// it does not know may be in the configuration of the others, while they are given a new
// one.
func (e *Error) elsewhere() bool {
	return e.away() || e.Reason == rpc.Reason_REASON_HOST_UNKNOWN
}

// away tells that the daemon has not acted and will not for a while.
func (e *Error) away() bool {
	return (!e.sent && !e.answered) || e.Reason == rpc.Reason_REASON_DRAINING
}
