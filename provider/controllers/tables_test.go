package controllers

import (
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/cluster-api/util/conditions"

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

func TestWhatIsLongInComingIsAskedForLessAndLessOften(t *testing.T) {
	t.Parallel()
	waiting := func(reason rpc.Reason, since time.Duration) time.Duration {
		m, p := &infrav1.ElementoMachine{}, meanings[reason]
		conditions.Set(m, metav1.Condition{Type: infrav1.VMProvisionedCondition, Status: metav1.ConditionFalse, Reason: p.reason, LastTransitionTime: metav1.NewTime(time.Now().Add(-since))})
		return patience(m, problem{reason: p.reason, again: p.again}).Round(500 * time.Millisecond)
	}
	for since, want := range map[time.Duration]time.Duration{
		0: 500 * time.Millisecond, 4 * time.Second: 500 * time.Millisecond, 20 * time.Second: 2 * time.Second, time.Hour: 5 * time.Second,
	} {
		if again := waiting(rpc.Reason_REASON_WRONG_STATE, since); again != want {
			t.Errorf("after %s it is asked for again in %s, want %s", since, again, want)
		}
	}
	if again := waiting(rpc.Reason_REASON_IMAGE_NOT_FOUND, time.Hour); again != 30*time.Second {
		t.Errorf("another reason waits for %s, want what it means", again)
	}
}
