package fleet_test

import (
	"context"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"elemento.cloud/cluster-api-provider-elemento/daemon/rpc"
	"elemento.cloud/cluster-api-provider-elemento/provider/fleet"
)

func TestVMsAreCountedOnceHoweverManyIdentitiesActForTheirClient(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	known := map[string]bool{"vm-1": true, "vm-2": true}
	collector := &fleet.Collector{Fleet: s.fleet, Expected: func(_ context.Context, vm string) bool { return known[vm] }}
	for _, name := range []string{"a", "b"} { // with a certificate each, so that they share nothing
		m := must(s.fleet.Join(user(name), must(fleet.ParseIdentity(s.secret()))))
		off := seen(up, 1, "vm-1", "stranger", "vm-2")
		off.Vms[2].PowerState = rpc.PowerState_POWER_STATE_OFF
		s.eventually("the daemon has told", func() bool {
			s.daemons[0].tell(off) // to one of the streams
			return m.Look("host-1", "vm-1").VM != nil
		})
	}
	const help = `
# HELP elemento_vms VMs of the hosts that answer, by domain and power state.
# TYPE elemento_vms gauge
`
	shows := func(want, name string) func() bool {
		return func() bool { return testutil.CollectAndCompare(collector, strings.NewReader(want), name) == nil }
	}
	all := strings.ReplaceAll(help+`elemento_vms{client_uid="OWNER",domain="d1",power_state="off"} 1
elemento_vms{client_uid="OWNER",domain="d1",power_state="paused"} 0
elemento_vms{client_uid="OWNER",domain="d1",power_state="running"} 2
elemento_vms{client_uid="OWNER",domain="d1",power_state="unknown"} 0
`, "OWNER", clientUID)
	if err := testutil.CollectAndCompare(collector, strings.NewReader(all), "elemento_vms"); err != nil {
		t.Error(err)
	}
	s.eventually("the stranger is counted", shows(strings.ReplaceAll(`
# HELP elemento_unexpected_vms VMs of the client UUID that no ElementoMachine or ElementoCleanup that this manager sees is about.
# TYPE elemento_unexpected_vms gauge
elemento_unexpected_vms{client_uid="OWNER"} 1
`, "OWNER", clientUID), "elemento_unexpected_vms"))

	// Of a host that does not answer nothing is known.
	s.eventually("its VMs are not counted", func() bool {
		s.daemons[0].tells <- &rpc.WatchVMsResponse{Epoch: "1", Event: &rpc.WatchVMsResponse_Change{Change: &rpc.HostChange{Host: host(down)}}}
		return testutil.CollectAndCount(collector, "elemento_vms") == 0
	})
}

func TestAScrapeDoesNotWaitForTheCacheForEver(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	m := s.member()
	s.daemons[0].tell(seen(up, 1, "vm-1"))
	s.eventually("the daemon has told", func() bool { return m.Look("host-1", "vm-1").VM != nil })
	bounded := false
	testutil.CollectAndCount(&fleet.Collector{Fleet: s.fleet, Expected: func(ctx context.Context, _ string) bool {
		_, bounded = ctx.Deadline()
		return true
	}})
	if !bounded {
		t.Error("the cache may keep a scrape waiting for ever")
	}
}
