package controllers

import (
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"elemento.cloud/cluster-api-provider-elemento/daemon/rpc"
	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
	"elemento.cloud/cluster-api-provider-elemento/provider/fleet"
)

func TestEveryReasonOfADaemonHasAMeaning(t *testing.T) {
	t.Parallel()
	seen := map[string]rpc.Reason{}
	for number, name := range rpc.Reason_name {
		reason := rpc.Reason(number)
		m, ok := meanings[reason]
		if !ok || m.reason == "" || m.again <= 0 {
			t.Errorf("%s means %+v", name, m)
			continue
		}
		if other, taken := seen[m.reason]; taken {
			t.Errorf("%s and %s have the same condition reason %s", name, other, m.reason)
		}
		seen[m.reason] = reason
	}
	if len(meanings) != len(rpc.Reason_name) {
		t.Errorf("%d meanings for %d reasons", len(meanings), len(rpc.Reason_name))
	}
}

func TestACallThatNoDaemonMayBeAskedForYetIsWaitedFor(t *testing.T) {
	t.Parallel()
	p := explain(&fleet.Error{Operation: "EnsureVM", Code: codes.Unavailable, Message: "another is at it", RetryAfter: 7 * time.Second})
	if p.status != metav1.ConditionUnknown || !waitingReasons[p.reason] || p.again != 7*time.Second || p.message != "Waiting to ask a daemon: another is at it" {
		t.Errorf("it means %+v", p)
	}
	if p := explain(&fleet.Error{Operation: "EnsureVM", Code: codes.Unavailable, Endpoint: "127.0.0.1:9", Message: "refused"}); p.reason != infrav1.DaemonUnreachableReason || waitingReasons[p.reason] {
		t.Errorf("a daemon that does not answer means %+v", p)
	}
}

func TestEveryPowerStateHasAWord(t *testing.T) {
	t.Parallel()
	for number, name := range rpc.PowerState_name {
		if powerStates[rpc.PowerState(number)] == "" {
			t.Errorf("no word for %s", name)
		}
	}
}

func TestEveryNetworkModeIsKnownToTheDaemons(t *testing.T) {
	t.Parallel()
	for _, mode := range []infrav1.NetworkMode{"", infrav1.NetworkModeBridged, infrav1.NetworkModeNAT} {
		if networkModes[mode] == rpc.NetworkMode_NETWORK_MODE_UNSPECIFIED {
			t.Errorf("no mode for %q", mode)
		}
	}
}

func TestAVMIsWaitedForSinceItsHostWasAssignedOrSinceItWasGone(t *testing.T) {
	t.Parallel()
	const never, long, short = 0, time.Hour, 20 * time.Second
	for _, c := range []struct{ provisioned, assigned, want time.Duration }{
		{long, never, 5 * time.Second},
		{long, short, 2 * time.Second}, // it waited for its bootstrap data
		{short, long, 2 * time.Second}, // it was gone
		{long, long, 5 * time.Second},
	} {
		m := &infrav1.ElementoMachine{}
		for condition, since := range map[string]time.Duration{infrav1.VMProvisionedCondition: c.provisioned, infrav1.HostAssignedCondition: c.assigned} {
			if since != never {
				m.Status.Conditions = append(m.Status.Conditions, metav1.Condition{Type: condition, LastTransitionTime: metav1.NewTime(time.Now().Add(-since))})
			}
		}
		if again := patience(m, time.Millisecond).Round(500 * time.Millisecond); again != c.want {
			t.Errorf("not there for %s, its host assigned for %s: it is asked for again in %s, want %s", c.provisioned, c.assigned, again, c.want)
		}
	}
}

func TestWhatIsLongInComingIsAskedForLessAndLessOften(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ waited, soonest, want time.Duration }{
		{0, 500 * time.Millisecond, 500 * time.Millisecond},
		{4 * time.Second, 500 * time.Millisecond, 500 * time.Millisecond},
		{20 * time.Second, 500 * time.Millisecond, 2 * time.Second},
		{time.Hour, 500 * time.Millisecond, 5 * time.Second},
		{time.Hour, 30 * time.Second, 30 * time.Second},
		{-time.Hour, 500 * time.Millisecond, 5 * time.Second},
	} {
		if again := later(time.Now().Add(-c.waited), c.soonest).Round(500 * time.Millisecond); again != c.want {
			t.Errorf("after %s it is asked for again in %s, want %s", c.waited, again, c.want)
		}
	}
}
