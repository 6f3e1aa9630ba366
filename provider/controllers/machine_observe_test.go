package controllers

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
)

func TestAVMThatDoesNotComeToRunIsPoweredOnAgainTheLaterTheLongerItIsOff(t *testing.T) {
	t.Parallel()
	const soonest, inexact = time.Second, time.Second
	for off, want := range map[time.Duration]time.Duration{
		0:                soonest,
		20 * time.Second: 10 * time.Second,
		90 * time.Second: 45 * time.Second,
		time.Hour:        bootPatience,
	} {
		s := &machineScope{object: &infrav1.ElementoMachine{}}
		s.object.Status.Conditions = []metav1.Condition{{
			Type: infrav1.VMRunningCondition, Status: metav1.ConditionFalse, Reason: infrav1.StartingReason,
			LastTransitionTime: metav1.NewTime(time.Now().Add(-off)),
		}}
		if again := powerOnAgain(s, soonest); again < want || again > want+inexact {
			t.Errorf("after %s it is powered on again in %s, want %s", off, again, want)
		}
	}
}
