package controllers_test

import (
	"strings"
	"testing"

	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
)

// Nothing but its health check looks at such a machine.
func TestAMachineWhoseHostFallsSilentBeforeItsNodeJoinedSaysWhatToDo(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 1})
	cluster, _ := s.provisionedCluster()
	machine, waiting := s.provisionedMachine(cluster)
	other, joined := s.provisionedMachine(cluster)
	s.joined(other)
	must(s.fake.Host("host-1")).Down()
	c := awaitCondition(s, waiting, infrav1.VMProvisionedCondition, infrav1.HostUnreachableReason)
	for _, word := range []string{"host-1", "delete the Machine", "nodeStartupTimeoutSeconds"} {
		if !strings.Contains(c.Message, word) {
			t.Errorf("%q does not say %q", c.Message, word)
		}
	}
	// Of the other one its Node says what becomes of it.
	if c := awaitCondition(s, joined, infrav1.VMProvisionedCondition, infrav1.HostUnreachableReason); strings.Contains(c.Message, "delete") {
		t.Errorf("it says %q", c.Message)
	}
	s.joined(machine)
	eventually(s, waiting, "it no longer says so once its node has joined", func() bool {
		c := awaitCondition(s, waiting, infrav1.VMProvisionedCondition, infrav1.HostUnreachableReason)
		return !strings.Contains(c.Message, "delete")
	})
}
