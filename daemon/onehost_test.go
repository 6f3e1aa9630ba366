package daemon_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"elemento.cloud/cluster-api-provider-elemento/daemon/rpc"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos"
)

// networkIn makes and removes the network "cluster" on all hosts of the domain d1.
func networkIn(t *testing.T, p *caller) (missing []string, remove func() *rpc.DeleteNetworkResponse) {
	t.Helper()
	made, err := p.EnsureNetwork(within(t, soon), &rpc.EnsureNetworkRequest{ClientUid: owner, Network: bridged("cluster"), Domains: []string{"d1"}})
	if err != nil {
		t.Fatal(err)
	}
	return made.MissingHosts, func() *rpc.DeleteNetworkResponse {
		t.Helper()
		deleted, err := p.DeleteNetwork(within(t, soon), &rpc.DeleteNetworkRequest{ClientUid: owner, NetworkName: "cluster", Domains: []string{"d1"}})
		if err != nil {
			t.Fatal(err)
		}
		return deleted
	}
}

func TestAHostThatKnowsNoNetworksHoldsUpNobodyElses(t *testing.T) {
	t.Parallel()
	s := newSite(t, 2)
	p := s.daemon().provider()
	s.fault(fakeatomos.Fault{Call: "* network/*", Host: "host-2", Effect: fakeatomos.Refuse, Status: http.StatusNotImplemented})
	missing, remove := networkIn(t, p)
	if !slices.Equal(missing, []string{"host-2"}) {
		t.Errorf("missing on %q", missing)
	}
	if deleted := remove(); len(deleted.RemainingHosts) > 0 {
		t.Errorf("remains: %v", deleted)
	}
	s.wantNothingLeft()
}

func TestAHostWhoseNetworksFailHoldsUpNobodyElses(t *testing.T) {
	t.Parallel()
	s := newSite(t, 2)
	p := s.daemon().provider()
	id := s.fault(fakeatomos.Fault{Call: "* network/*", Host: "host-2", Effect: fakeatomos.Refuse, Status: http.StatusInternalServerError})
	missing, remove := networkIn(t, p)
	if !slices.Equal(missing, []string{"host-2"}) {
		t.Errorf("missing on %q", missing)
	}
	deleted := remove()
	if !slices.Equal(deleted.RemainingHosts, []string{"host-2"}) || !strings.Contains(deleted.RemainingReasons["host-2"], "the host failed") {
		t.Errorf("remains: %v", deleted)
	}
	s.wantNothingLeft()
	s.fake.RemoveFaults(id)
	if deleted := remove(); len(deleted.RemainingHosts) > 0 {
		t.Errorf("remains: %v", deleted)
	}
}

func TestAHostThatMakesNoNetworkIsTold(t *testing.T) {
	t.Parallel()
	s := newSite(t, 2)
	p := s.daemon().provider()
	s.fault(fakeatomos.Fault{Call: "POST network/create", Host: "host-2", Effect: fakeatomos.Refuse, Status: http.StatusInternalServerError})
	_, err := p.EnsureNetwork(within(t, soon), &rpc.EnsureNetworkRequest{ClientUid: owner, Network: bridged("cluster"), Domains: []string{"d1"}})
	wantReason(t, err, rpc.Reason_REASON_HOST_FAILED, "host-2", "making network cluster")
}

func TestADeletionSaysThatAVMIsOnTheNetwork(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	p := s.daemon().provider()
	p.makes(t, "vm-1")
	_, remove := networkIn(t, p)
	if deleted := remove(); !slices.Equal(deleted.RemainingHosts, []string{"host-1"}) || deleted.RemainingReasons["host-1"] != "a VM is on it" {
		t.Errorf("remains: %v", deleted)
	}
}
