package controllers

import (
	"strings"
	"testing"
	"unicode/utf8"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/cluster-api/util/conditions"

	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
)

func TestAMessageIsNeverLongerThanAConditionMayHold(t *testing.T) {
	t.Parallel()
	const most = 32768 // what the API server takes
	long := strings.Repeat("host-1 says “no”, ", 3000)
	object := &infrav1.ElementoMachine{}
	setTrue(object, infrav1.HostAssignedCondition, infrav1.HostAssignedReason, long)
	setFalse(object, infrav1.VMProvisionedCondition, infrav1.NoCapacityReason, long)
	setUnknown(object, infrav1.VMRunningCondition, infrav1.HostUnreachableReason, long)
	setProblem(object, infrav1.BootstrapDataAvailableCondition, problem{status: metav1.ConditionFalse, reason: infrav1.HardwareAbsentReason, message: long})
	summarize(object, machineConditions, false)
	for _, c := range object.Status.Conditions {
		if len(c.Message) > most || !utf8.ValidString(c.Message) {
			t.Errorf("%s has %d bytes", c.Type, len(c.Message))
		}
	}
	if c := conditions.Get(object, infrav1.VMProvisionedCondition); !strings.HasPrefix(c.Message, "host-1 says") {
		t.Errorf("the beginning is lost: %q", c.Message)
	}
}
