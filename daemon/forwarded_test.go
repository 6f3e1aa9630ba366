package daemon_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/c4"
	"elemento.cloud/cluster-api-provider-elemento/daemon/rpc"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos"
)

func TestNoForwardTakesAPortOfTheHostsOwn(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	p := s.daemon().provider()
	p.makes(t, "vm-1")
	for _, port := range []uint32{22, c4.MatcherPort, c4.StoragePort, c4.NetworkPort} {
		_, err := p.EnsureForward(within(t, soon), &rpc.EnsureForwardRequest{
			ClientUid: owner, Endpoint: &rpc.Endpoint{Host: "host-1", Port: port}, TargetHost: "host-1", TargetVmName: "vm-1", TargetPort: 22,
		})
		wantReason(t, err, rpc.Reason_REASON_INVALID_REQUEST, "endpoint.port", "the host's own", "choose another")
	}
	if forwards := s.fake.Inventory().Hosts[0].Forwards; len(forwards) > 0 {
		t.Errorf("forwards %v", forwards)
	}
}

func TestABrokenForwardsServiceKeepsNoVMRunningAndNoForwardIsForgotten(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	p := s.daemon().provider()
	p.makes(t, "vm-1")
	if err := p.forward(t, "vm-1"); err != nil {
		t.Fatal(err)
	}
	delete := func() *rpc.DeleteVMResponse {
		t.Helper()
		res, err := p.DeleteVM(within(t, soon), &rpc.DeleteVMRequest{ClientUid: owner, Host: "host-1", VmName: "vm-1"})
		if err != nil {
			wantReason(t, err, rpc.Reason_REASON_HOST_FAILED, "forwards")
		}
		if res.GetGone() {
			t.Fatal("it is said to be gone, and a forward leads to it")
		}
		return res
	}
	id := s.fault(fakeatomos.Fault{Call: "GET network/portforwards", Effect: fakeatomos.Refuse, Status: http.StatusInternalServerError})
	eventually(t, "the VM is gone", func() bool { delete(); return len(s.fake.Inventory().VM("vm-1")) == 0 })
	eventually(t, "only the forward remains", func() bool {
		remaining := delete().GetRemaining()
		return len(remaining) == 1 && strings.Contains(remaining[0], "forward")
	})
	if forwards := s.fake.Inventory().Hosts[0].Forwards; len(forwards) != 1 {
		t.Fatalf("forwards %v", forwards)
	}
	s.fake.RemoveFaults(id)
	p.deleteVM(t, "host-1", "vm-1", time.Time{})
	s.wantNothingLeft("network")
}

func TestAForwardThatAHostDoesNotListYetGoesWithItsVM(t *testing.T) {
	t.Parallel()
	s := settling(t, 1, 2*time.Second)
	p := s.daemon().provider()
	p.makes(t, "vm-1")
	if err := p.forward(t, "vm-1"); err != nil {
		t.Fatal(err)
	}
	v := watch(t, p)
	hidden := s.fault(fakeatomos.Fault{Call: "GET network/portforwards", Effect: fakeatomos.Refuse, Status: http.StatusOK, Body: "[]"})
	v.restart(s, "host-1")
	res, err := p.DeleteVM(within(t, soon), &rpc.DeleteVMRequest{ClientUid: owner, Host: "host-1", VmName: "vm-1"})
	if err != nil || res.Gone {
		t.Fatalf("%v, %v", res, err)
	}
	s.fake.RemoveFaults(hidden)
	p.deleteVM(t, "host-1", "vm-1", time.Time{})
	s.wantNothingLeft("network")
}
