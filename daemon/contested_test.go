package daemon_test

import (
	"testing"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/c4"
	"elemento.cloud/cluster-api-provider-elemento/daemon/rpc"
)

// Two management clusters may act for one client, and neither knows of the other.

func point(vm string, cluster ...string) *rpc.EnsureForwardRequest {
	return &rpc.EnsureForwardRequest{
		ClientUid: owner, Endpoint: &rpc.Endpoint{Host: "host-1", Port: 6443},
		TargetHost: "host-1", TargetVmName: vm, TargetPort: 6443, ClusterVms: &rpc.ClusterVMs{Names: cluster},
	}
}

func TestAPortThatIsProposedIsProposedToNobodyElse(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	d := s.daemon()
	p := d.provider()
	reserve := func(c *caller, client string) uint32 {
		t.Helper()
		res, err := c.ReserveEndpoint(within(t, soon), &rpc.ReserveEndpointRequest{ClientUid: client, Domains: []string{"d1"}, Port: 6443})
		if err != nil {
			t.Fatal(err)
		}
		return res.Endpoint.Port
	}
	first, second, third := reserve(p, owner), reserve(p, owner), reserve(d.other(), another)
	if first != 6443 || second != 6444 || third != 6445 {
		t.Errorf("proposed %d, %d and %d, want 6443, 6444 and 6445", first, second, third)
	}
	if _, err := p.DeleteForward(within(t, soon), &rpc.DeleteForwardRequest{ClientUid: owner, Endpoint: &rpc.Endpoint{Host: "host-1", Port: first}}); err != nil {
		t.Fatal(err)
	}
	if again := reserve(p, owner); again != first {
		t.Errorf("proposed %d, want %d, which was given up", again, first)
	}
}

func TestAForwardIsNotTakenFromAnotherClusterOfTheClient(t *testing.T) {
	t.Parallel()
	s := newSite(t, 2)
	p := s.daemon().provider()
	for vm, host := range map[string]string{"a-1": "host-1", "a-2": "host-2", "b-1": "host-1"} {
		if _, err := p.EnsureVM(within(t, soon), ensure(host, vm)); err != nil {
			t.Fatal(err)
		}
	}
	leadsTo := func(vm string) {
		t.Helper()
		forwards, address := s.fake.Inventory().Hosts[0].Forwards, s.fake.Inventory().VM(vm)[0].Address
		if len(forwards) != 1 || forwards[0].Target != address {
			t.Errorf("there is %v, want one that leads to %s at %s", forwards, vm, address)
		}
	}
	for _, vm := range []string{"a-1", "a-2"} { // by the VM's UID, and by an address on another host
		req := point(vm, "a-1", "a-2")
		if vm == "a-2" {
			req.TargetHost = "host-2"
		}
		if _, err := p.EnsureForward(within(t, soon), req); err != nil {
			t.Fatal(err)
		}
		_, err := p.EnsureForward(within(t, soon), point("b-1", "b-1", "b-2"))
		wantReason(t, err, rpc.Reason_REASON_IN_USE, "6443", "host-1", vm)
		if _, err := p.DeleteForward(within(t, soon), &rpc.DeleteForwardRequest{ClientUid: owner, Endpoint: req.Endpoint, ClusterVms: &rpc.ClusterVMs{}}); err != nil {
			t.Errorf("removing what is not there: %v", err)
		}
		leadsTo(vm)
	}
	// What leads to nothing is anybody's.
	if err := s.atomos("host-2").Unregister(within(t, soon), c4.VMRef{ClientUID: owner, VMUID: s.fake.Inventory().VM("a-2")[0].UID}); err != nil {
		t.Fatal(err)
	}
	if _, err := p.EnsureForward(within(t, soon), point("b-1", "b-1")); err != nil {
		t.Fatal(err)
	}
	leadsTo("b-1")
	if _, err := p.DeleteForward(within(t, soon), &rpc.DeleteForwardRequest{ClientUid: owner, Endpoint: point("").Endpoint, ClusterVms: &rpc.ClusterVMs{Names: []string{"b-1"}}}); err != nil {
		t.Fatal(err)
	}
	if n := s.forwards(); n != 0 {
		t.Errorf("%d forwards, want none", n)
	}
}

func TestAnEndpointDoesNotWaitForAHostThatIsDown(t *testing.T) {
	t.Parallel()
	s := newSite(t, 2)
	first := s.daemon()
	p := first.provider()
	for vm, host := range map[string]string{"a-1": "host-1", "a-2": "host-2"} {
		if _, err := p.EnsureVM(within(t, soon), ensure(host, vm)); err != nil {
			t.Fatal(err)
		}
	}
	there := point("a-2", "a-1", "a-2")
	there.TargetHost = "host-2"
	if _, err := p.EnsureForward(within(t, soon), there); err != nil {
		t.Fatal(err)
	}
	s.host("host-2").Down()
	// Neither for the daemon that knows the VM, nor for one that never saw it.
	for _, c := range []*caller{p, s.daemon().provider()} {
		if _, err := c.EnsureForward(within(t, 10*time.Second), point("a-1", "a-1", "a-2")); err != nil {
			t.Error(err)
		}
	}
}
