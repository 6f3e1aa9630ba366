package rpc_test

import (
	"slices"
	"testing"

	"elemento.cloud/cluster-api-provider-elemento/daemon/rpc"
)

func TestARequestIsAboutWhatItNamesAndNothingElse(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		req  any
		want []any
	}{
		"a VM with secrets": {
			&rpc.EnsureVMRequest{ClientUid: "c", Host: "h", VmName: "v", Spec: &rpc.VMSpec{Image: "i"}, UserData: []byte("secret"), MetaData: map[string]string{"k": "secret"}},
			[]any{"client", "c", "host", "h", "vm", "v"},
		},
		"the power of a VM": {
			&rpc.SetVMPowerRequest{ClientUid: "c", Host: "h", VmName: "v", Action: rpc.PowerAction_POWER_ACTION_OFF},
			[]any{"client", "c", "host", "h", "vm", "v", "action", "POWER_ACTION_OFF"},
		},
		"a volume that comes": {
			&rpc.AttachVolumeRequest{ClientUid: "c", Host: "h", VmName: "v", Volume: &rpc.Volume{Name: "d"}},
			[]any{"client", "c", "host", "h", "vm", "v", "volume", "d"},
		},
		"a volume that goes": {
			&rpc.DetachVolumeRequest{ClientUid: "c", Host: "h", VmName: "v", VolumeName: "d"},
			[]any{"client", "c", "host", "h", "vm", "v", "volume", "d"},
		},
		"a network that comes": {
			&rpc.EnsureNetworkRequest{ClientUid: "c", Network: &rpc.NetworkSpec{Name: "n"}},
			[]any{"client", "c", "network", "n"},
		},
		"a network that goes": {
			&rpc.DeleteNetworkRequest{ClientUid: "c", NetworkName: "n"},
			[]any{"client", "c", "network", "n"},
		},
		"a forward": {
			&rpc.EnsureForwardRequest{ClientUid: "c", Endpoint: &rpc.Endpoint{Host: "h", Port: 6443}, TargetHost: "g", TargetVmName: "v"},
			[]any{"client", "c", "host", "h", "endpoint", "h:6443", "targetHost", "g", "vm", "v"},
		},
		"a forward of nowhere": {&rpc.DeleteForwardRequest{ClientUid: "c"}, []any{"client", "c"}},
		"no request":           {nil, nil},
	} {
		if got := rpc.About(c.req); !slices.Equal(got, c.want) {
			t.Errorf("%s: got %v, want %v", what, got, c.want)
		}
	}
}
