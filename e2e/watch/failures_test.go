package watch

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	"elemento.cloud/cluster-api-provider-elemento/c4"
	"elemento.cloud/cluster-api-provider-elemento/daemon/rpc"
)

// counted are those of the codes that the record of failures counts.
func counted(t *testing.T, record string, codes []string) (failures []string) {
	t.Helper()
	for _, r := range must(Rules(shipped + "/recording.rules.yaml")) {
		if r.Record != record {
			continue
		}
		found := regexp.MustCompile(`code=~"([^"]*)"`).FindStringSubmatch(r.Expr)
		if found == nil {
			t.Fatalf("%s counts by no code: %s", record, r.Expr)
		}
		matches := regexp.MustCompile("^(?:" + found[1] + ")$")
		for _, code := range codes {
			if matches.MatchString(code) {
				failures = append(failures, code)
			}
		}
		return failures
	}
	t.Fatalf("there is no record %s", record)
	return nil
}

// A code that is new, or has another name, is to be judged: is it an answer or a failure?
func TestEachCodeIsAnAnswerOrAFailure(t *testing.T) {
	t.Parallel()
	var ofC4, ofRPC []string
	for code := c4.Unknown; !strings.Contains(code.String(), "("); code++ {
		ofC4 = append(ofC4, code.String())
	}
	for _, reason := range rpc.Reason_name {
		ofRPC = append(ofRPC, reason)
	}
	for code := codes.OK; code <= codes.Unauthenticated; code++ {
		ofRPC = append(ofRPC, code.String())
	}
	for _, c := range []struct {
		record            string
		all               []string
		answers, failures string
	}{
		{
			"host:elemento_c4_failures:rate5m", ofC4,
			"Invalid NotFound CannotPlace LicenseRequired InUse WrongState NotDone Unsupported",
			"Unknown Unreachable Unavailable Untrusted Unauthenticated Malformed Internal",
		},
		{
			"operation:elemento_vm_operation_failures:rate5m", ofRPC,
			"OK Canceled InvalidArgument NotFound AlreadyExists FailedPrecondition Aborted OutOfRange " +
				"REASON_UNSPECIFIED REASON_DOMAIN_UNKNOWN REASON_HOST_UNKNOWN REASON_HOST_UNREACHABLE REASON_NO_CAPACITY REASON_HARDWARE_ABSENT REASON_LICENSE_REQUIRED " +
				"REASON_IMAGE_NOT_FOUND REASON_NETWORK_NOT_FOUND REASON_VM_NOT_FOUND REASON_IN_USE REASON_WRONG_STATE REASON_DRAINING",
			"Unknown DeadlineExceeded PermissionDenied ResourceExhausted Unimplemented Internal Unavailable DataLoss Unauthenticated " +
				"REASON_HOST_FAILED REASON_HOST_UNTRUSTED REASON_CLIENT_FORBIDDEN REASON_UNSUPPORTED REASON_OUTCOME_UNKNOWN REASON_INVALID_REQUEST",
		},
	} {
		failures := counted(t, c.record, c.all)
		for _, code := range c.all {
			answer, failure := slices.Contains(strings.Fields(c.answers), code), slices.Contains(strings.Fields(c.failures), code)
			if answer == failure {
				t.Errorf("%s: %s is neither an answer nor a failure, or both", c.record, code)
			}
			if failure != slices.Contains(failures, code) {
				t.Errorf("%s: %s is counted: %v, want %v", c.record, code, !failure, failure)
			}
		}
		if want := len(strings.Fields(c.answers)) + len(strings.Fields(c.failures)); want != len(c.all) {
			t.Errorf("%s: %d codes are judged, and there are %d", c.record, want, len(c.all))
		}
	}
}
