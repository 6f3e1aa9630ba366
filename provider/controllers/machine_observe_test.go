package controllers

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
)

func TestAVMThatDoesNotComeToRunIsPoweredOnAgainTheLaterTheLongerItIsOff(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		off        time.Duration
		wasRunning bool
		want       time.Duration
	}{
		{off: 0, want: 5 * time.Second},
		{off: 20 * time.Second, want: 10 * time.Second},
		{off: 90 * time.Second, want: 45 * time.Second},
		{off: time.Hour, want: bootPatience},
		{off: time.Hour, wasRunning: true, want: 5 * time.Second},
		{off: -time.Hour, want: bootPatience},
	} {
		s := &machineScope{object: &infrav1.ElementoMachine{}}
		s.object.Status.Conditions = []metav1.Condition{{
			Type: infrav1.VMRunningCondition, Status: metav1.ConditionFalse, Reason: infrav1.StartingReason,
			LastTransitionTime: metav1.NewTime(time.Now().Add(-c.off)),
		}}
		if again := powerOnAgain(s, c.wasRunning).Round(time.Second); again != c.want {
			t.Errorf("one that has been off for %s is powered on again in %s, want %s", c.off, again, c.want)
		}
	}
}
