package controllers

import (
	"errors"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"elemento.cloud/cluster-api-provider-elemento/daemon/rpc"
	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
	"elemento.cloud/cluster-api-provider-elemento/provider/fleet"
)

// meaning says what becomes of a daemon's reason here.
type meaning struct {
	// reason of the condition.
	reason string
	// unknown tells that the call says nothing of what is on the host.
	unknown bool
	// again is when to try again, if nothing wakes us before.
	again time.Duration
}

// meanings has an entry for every reason of a daemon.
var meanings = map[rpc.Reason]meaning{
	rpc.Reason_REASON_UNSPECIFIED:       {reason: infrav1.InternalReason, unknown: true, again: 5 * time.Second},
	rpc.Reason_REASON_INVALID_REQUEST:   {reason: infrav1.InvalidRequestReason, again: 5 * time.Minute},
	rpc.Reason_REASON_CLIENT_FORBIDDEN:  {reason: infrav1.ClientForbiddenReason, again: 30 * time.Second},
	rpc.Reason_REASON_DOMAIN_UNKNOWN:    {reason: infrav1.DomainUnknownReason, again: 30 * time.Second},
	rpc.Reason_REASON_HOST_UNKNOWN:      {reason: infrav1.HostUnknownReason, unknown: true, again: 30 * time.Second},
	rpc.Reason_REASON_HOST_UNREACHABLE:  {reason: infrav1.HostUnreachableReason, unknown: true, again: 5 * time.Second},
	rpc.Reason_REASON_HOST_UNTRUSTED:    {reason: infrav1.HostUntrustedReason, unknown: true, again: 30 * time.Second},
	rpc.Reason_REASON_NO_CAPACITY:       {reason: infrav1.NoCapacityReason, again: 10 * time.Second},
	rpc.Reason_REASON_HARDWARE_ABSENT:   {reason: infrav1.HardwareAbsentReason, again: time.Minute},
	rpc.Reason_REASON_LICENSE_REQUIRED:  {reason: infrav1.LicenseRequiredReason, again: 30 * time.Second},
	rpc.Reason_REASON_IMAGE_NOT_FOUND:   {reason: infrav1.ImageNotFoundReason, again: 30 * time.Second},
	rpc.Reason_REASON_NETWORK_NOT_FOUND: {reason: infrav1.NetworkNotFoundReason, again: 30 * time.Second},
	rpc.Reason_REASON_VM_NOT_FOUND:      {reason: infrav1.VMNotFoundReason, again: time.Second},
	rpc.Reason_REASON_IN_USE:            {reason: infrav1.InUseReason, again: 2 * time.Second},
	rpc.Reason_REASON_WRONG_STATE:       {reason: infrav1.WrongStateReason, again: 500 * time.Millisecond},
	rpc.Reason_REASON_OUTCOME_UNKNOWN:   {reason: infrav1.OutcomeUnknownReason, unknown: true, again: 500 * time.Millisecond},
	rpc.Reason_REASON_HOST_FAILED:       {reason: infrav1.HostFailedReason, unknown: true, again: 5 * time.Second},
	rpc.Reason_REASON_UNSUPPORTED:       {reason: infrav1.UnsupportedReason, again: 5 * time.Minute},
	rpc.Reason_REASON_DRAINING:          {reason: infrav1.DrainingReason, unknown: true, again: time.Second},
}

// problem is something to wait for, as a condition tells it.
type problem struct {
	status  metav1.ConditionStatus
	reason  string
	message string
	// again is when to look again.
	again time.Duration
}

// fromDaemon tells that err came of a call to the daemons, not of one to the
// API server.
func fromDaemon(err error) bool {
	var e *fleet.Error
	return errors.As(err, &e)
}

// explain says what a failed call to the daemons means.
func explain(err error) problem {
	var e *fleet.Error
	if !errors.As(err, &e) {
		// The fleet is closing, or an endpoint cannot even be parsed.
		return problem{status: metav1.ConditionUnknown, reason: infrav1.DaemonUnreachableReason, message: err.Error(), again: 5 * time.Second}
	}
	if e.Waiting() {
		return problem{
			status: metav1.ConditionUnknown, reason: infrav1.WaitingForDaemonReason,
			message: "Waiting to ask a daemon: " + e.Message,
			again:   fleet.RetryAfter(err, 2*time.Second),
		}
	}
	if e.Untrusted {
		return problem{
			status: metav1.ConditionFalse, reason: infrav1.DaemonUntrustedReason,
			message: fmt.Sprintf("Daemon %s and the identity do not trust each other's certificates; check %s and %s of the Secret: %s", e.Endpoint, fleet.KeyCertificate, fleet.KeyAuthority, e.Message),
			again:   identityAgain,
		}
	}
	if !e.Answered() {
		return problem{
			status: metav1.ConditionUnknown, reason: infrav1.DaemonUnreachableReason,
			message: fmt.Sprintf("No daemon of the identity answers; the last one asked was %s: %s", e.Endpoint, e.Message),
			again:   fleet.RetryAfter(err, 2*time.Second),
		}
	}
	m, ok := meanings[e.Reason]
	if !ok { // a newer daemon
		m = meanings[rpc.Reason_REASON_UNSPECIFIED]
	}
	status := metav1.ConditionFalse
	if m.unknown {
		status = metav1.ConditionUnknown
	}
	return problem{status: status, reason: m.reason, message: e.Message, again: fleet.RetryAfter(err, m.again)}
}

// later is when to ask again for what has been waited for since some time: the longer, the
// less often. What is waited for on a host, such as the copy of an image, wakes nobody, and
// may take a second or many minutes; each look costs the API server and the host something,
// and there may be many objects.
func later(since time.Time, soonest time.Duration) time.Duration {
	return max(min(time.Since(since).Abs()/10, 5*time.Second), soonest) // a clock may have gone back
}
