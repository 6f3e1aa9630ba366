package daemon_test

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/daemon"
	"elemento.cloud/cluster-api-provider-elemento/daemon/rpc"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos"
)

// settling is a site whose daemons believe a host so long after it came back.
func settling(t *testing.T, hosts int, settle time.Duration) *site {
	s := newSite(t, hosts)
	s.config.HostSettleTime = daemon.Duration{Duration: settle}
	return s
}

// restart takes the host's power and gives it back, so that the stream shows both.
func (v *viewer) restart(s *site, name string) {
	v.t.Helper()
	host := s.host(name)
	host.Down()
	v.until("the host is unreachable", func() bool { return v.hosts[name].Health == rpc.HostHealth_HOST_HEALTH_UNREACHABLE })
	if err := host.Up(); err != nil {
		v.t.Fatal(err)
	}
	v.until("the host is back", func() bool { return v.hosts[name].Health == rpc.HostHealth_HOST_HEALTH_READY })
}

func TestAHostThatHasJustComeBackAndListsNothingProvesNothingGone(t *testing.T) {
	t.Parallel()
	s := settling(t, 1, time.Hour)
	p := s.daemon().provider()
	p.makes(t, "vm-1")
	if err := p.forward(t, "vm-1"); err != nil {
		t.Fatal(err)
	}
	before := s.fake.Inventory().Resources()
	v := watch(t, p)
	s.host("host-1").SetBlank(time.Hour)
	v.restart(s, "host-1")
	v.until("the host lists no VM", func() bool { return v.vms["host-1/vm-1"] == nil })

	_, err := p.GetVM(within(t, soon), &rpc.GetVMRequest{ClientUid: owner, Host: "host-1", VmName: "vm-1"})
	wantReason(t, err, rpc.Reason_REASON_WRONG_STATE, "host-1", "only just come back")
	_, err = p.EnsureVM(within(t, soon), ensure("host-1", "vm-1"))
	wantReason(t, err, rpc.Reason_REASON_WRONG_STATE, "only just come back")
	_, err = p.DetachVolume(within(t, soon), &rpc.DetachVolumeRequest{ClientUid: owner, Host: "host-1", VmName: "vm-1", VolumeName: "data"})
	wantReason(t, err, rpc.Reason_REASON_WRONG_STATE, "only just come back")
	wantReason(t, p.forward(t, "vm-1"), rpc.Reason_REASON_WRONG_STATE, "only just come back")
	wantReason(t, p.removeForward(t)(), rpc.Reason_REASON_WRONG_STATE, "only just come back")
	deleted, err := p.DeleteVM(within(t, soon), &rpc.DeleteVMRequest{ClientUid: owner, Host: "host-1", VmName: "vm-1"})
	if err != nil || deleted.Gone || len(deleted.Remaining) == 0 {
		t.Errorf("DeleteVM: %v, %v", deleted, err)
	}
	network, err := p.DeleteNetwork(within(t, soon), &rpc.DeleteNetworkRequest{ClientUid: owner, NetworkName: "cluster", Domains: []string{"d1"}})
	if err != nil || !slices.Equal(network.GetRemainingHosts(), []string{"host-1"}) {
		t.Errorf("DeleteNetwork: %v, %v", network, err)
	}
	made, err := p.EnsureNetwork(within(t, soon), &rpc.EnsureNetworkRequest{ClientUid: owner, Network: bridged("cluster"), Domains: []string{"d1"}})
	if err != nil || !slices.Equal(made.GetMissingHosts(), []string{"host-1"}) {
		t.Errorf("EnsureNetwork: %v, %v", made, err)
	}
	if after := s.fake.Inventory().Resources(); !slices.Equal(before, after) {
		t.Errorf("AtomOS has %q, had %q", after, before)
	}

	s.host("host-1").SetBlank(0)
	v.restart(s, "host-1")
	v.until("the host lists the VM", func() bool { return v.vms["host-1/vm-1"] != nil })
	if _, err := p.GetVM(within(t, soon), &rpc.GetVMRequest{ClientUid: owner, Host: "host-1", VmName: "vm-1"}); err != nil {
		t.Errorf("what a host lists does not count at once: %v", err)
	}
}

func TestAHostThatWasSilentToAClientIsNotBelievedAtOnce(t *testing.T) {
	t.Parallel()
	s := settling(t, 1, time.Hour)
	p := s.daemon().provider()
	v := watch(t, p)
	id := s.fault(fakeatomos.Fault{Call: "GET matcher/running", Effect: fakeatomos.Refuse, Status: http.StatusInternalServerError})
	v.until("the host is silent", func() bool { return v.hosts["host-1"].Health == rpc.HostHealth_HOST_HEALTH_UNREACHABLE })
	s.fake.RemoveFaults(id)
	v.until("the host is heard", func() bool { return v.hosts["host-1"].Health == rpc.HostHealth_HOST_HEALTH_READY })
	deleted, err := p.DeleteVM(within(t, soon), &rpc.DeleteVMRequest{ClientUid: owner, Host: "host-1", VmName: "vm-1"})
	if err != nil || deleted.Gone {
		t.Errorf("DeleteVM: %v, %v", deleted, err)
	}
}

func TestAHostThatHasSettledIsBelievedWhoeverWatches(t *testing.T) {
	t.Parallel()
	s := settling(t, 1, 300*time.Millisecond)
	p := s.daemon().provider()
	p.makes(t, "vm-1")
	if err := p.forward(t, "vm-1"); err != nil {
		t.Fatal(err)
	}
	s.host("host-1").Down()
	_, err := p.GetVM(within(t, soon), &rpc.GetVMRequest{ClientUid: owner, Host: "host-1", VmName: "vm-1"})
	wantReason(t, err, rpc.Reason_REASON_HOST_UNREACHABLE)
	if err := s.host("host-1").Up(); err != nil {
		t.Fatal(err)
	}
	again(t, "the forward is gone", p.removeForward(t))
	p.deleteVM(t, "host-1", "vm-1", time.Time{})
	again(t, "the network is gone", func() error {
		_, err := p.DeleteNetwork(within(t, soon), &rpc.DeleteNetworkRequest{ClientUid: owner, NetworkName: "cluster", Domains: []string{"d1"}})
		return err
	})
	s.wantNothingLeft()
}

func TestADaemonThatStartsBelievesItsHostsAtOnce(t *testing.T) {
	t.Parallel()
	p := settling(t, 1, time.Hour).daemon().provider()
	deleted, err := p.DeleteVM(within(t, soon), &rpc.DeleteVMRequest{ClientUid: owner, Host: "host-1", VmName: "vm-1"})
	if err != nil || !deleted.Gone {
		t.Errorf("DeleteVM: %v, %v", deleted, err)
	}
}
