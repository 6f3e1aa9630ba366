package controllers

import (
	"testing"

	"elemento.cloud/cluster-api-provider-elemento/daemon/rpc"
	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
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
