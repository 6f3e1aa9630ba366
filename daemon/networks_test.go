package daemon_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/c4"
	"elemento.cloud/cluster-api-provider-elemento/daemon"
	"elemento.cloud/cluster-api-provider-elemento/daemon/rpc"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos"
)

func nat(name string) *rpc.NetworkSpec {
	return &rpc.NetworkSpec{Name: name, Cidr: "127.90.0.0/24", Mode: rpc.NetworkMode_NETWORK_MODE_NAT}
}

func TestManagedNetworkIsOnEveryHostAndThenOnNone(t *testing.T) {
	t.Parallel()
	s := newSite(t, 3)
	s.host("host-3").Down()
	p := s.daemon().provider()
	for range 2 {
		res, err := p.EnsureNetwork(within(t, soon), &rpc.EnsureNetworkRequest{ClientUid: owner, Network: nat("cluster"), Domains: []string{"d1"}})
		if err != nil || !slices.Equal(res.MissingHosts, []string{"host-3"}) {
			t.Fatalf("got %v, %v", res, err)
		}
	}
	list, err := p.ListNetworks(within(t, soon), &rpc.ListNetworksRequest{ClientUid: owner})
	if err != nil || len(list.Networks) != 2 || !slices.Equal(list.MissingHosts, []string{"host-3"}) {
		t.Fatalf("got %v, %v; want a network on each of two hosts", list, err)
	}
	if n := list.Networks[0]; n.Name != "cluster" || n.Cidr != "127.90.0.0/24" || n.Mode != rpc.NetworkMode_NETWORK_MODE_NAT || n.Host != "host-1" {
		t.Errorf("got %v", n)
	}

	other := nat("cluster")
	other.Cidr = "127.91.0.0/24"
	_, err = p.EnsureNetwork(within(t, soon), &rpc.EnsureNetworkRequest{ClientUid: owner, Network: other, Domains: []string{"d1"}})
	wantReason(t, err, rpc.Reason_REASON_INVALID_REQUEST, "127.90.0.0/24", "127.91.0.0/24")

	vm := ensure("host-1", "vm-1")
	vm.Spec.Networks = []*rpc.NetworkSpec{nat("cluster")}
	if _, err := p.EnsureVM(within(t, soon), vm); err != nil {
		t.Fatal(err)
	}
	remove := &rpc.DeleteNetworkRequest{ClientUid: owner, NetworkName: "cluster", Domains: []string{"d1"}}
	gone, err := p.DeleteNetwork(within(t, soon), remove)
	if err != nil || !slices.Equal(gone.RemainingHosts, []string{"host-1", "host-3"}) {
		t.Fatalf("got %v, %v; want it to remain where a VM is on it and where the host is down", gone, err)
	}
	p.deleteVM(t, "host-1", "vm-1", time.Time{})
	if err := s.host("host-3").Up(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if gone, err = p.DeleteNetwork(within(t, soon), remove); err != nil || len(gone.RemainingHosts) != 0 {
			t.Fatalf("got %v, %v", gone, err)
		}
	}
	s.wantNothingLeft()
	remove.Domains = []string{"d9"}
	_, err = p.DeleteNetwork(within(t, soon), remove)
	wantReason(t, err, rpc.Reason_REASON_DOMAIN_UNKNOWN)
}

func TestHostThatIsNotTrustedDoesNotHoldUpTheNetworksOfOthers(t *testing.T) {
	t.Parallel()
	s := newSite(t, 2)
	trusted := s.config.Hosts[1].Fingerprint
	s.config.Hosts[1].Fingerprint = s.config.Hosts[0].Fingerprint
	p := s.daemon().provider()
	made, err := p.EnsureNetwork(within(t, soon), &rpc.EnsureNetworkRequest{ClientUid: owner, Network: nat("cluster"), Domains: []string{"d1"}})
	if err != nil || !slices.Equal(made.MissingHosts, []string{"host-2"}) {
		t.Fatalf("got %v, %v; want it to be missing from the host that is not trusted", made, err)
	}
	remove := &rpc.DeleteNetworkRequest{ClientUid: owner, NetworkName: "cluster", Domains: []string{"d1"}}
	gone, err := p.DeleteNetwork(within(t, soon), remove)
	if err != nil || !slices.Equal(gone.RemainingHosts, []string{"host-2"}) {
		t.Fatalf("got %v, %v; want it to remain where nobody can be asked", gone, err)
	}
	s.config.Hosts[1].Fingerprint = trusted
	if gone, err = s.daemon().provider().DeleteNetwork(within(t, soon), remove); err != nil || len(gone.RemainingHosts) != 0 {
		t.Fatalf("got %v, %v", gone, err)
	}
	s.wantNothingLeft()
}

func TestTwoDaemonsThatMakeTheSameNetworkAtOnceUseOne(t *testing.T) {
	t.Parallel()
	const making = "POST network/create"
	for _, second := range []time.Duration{time.Second, 1500 * time.Millisecond} { // as soon as the first one, or after its VM
		for i := range 4 { // which has the smaller UID is chance
			t.Run(fmt.Sprint(second, i), func(t *testing.T) {
				t.Parallel()
				s := newSite(t, 1)
				s.fault(fakeatomos.Fault{Call: making, Times: 1, Effect: fakeatomos.DelayBefore, Delay: time.Second})
				s.fault(fakeatomos.Fault{Call: making, Skip: 1, Times: 1, Effect: fakeatomos.DelayBefore, Delay: second})
				callers := []*caller{s.daemon().provider(), s.daemon().provider()}
				var wg sync.WaitGroup
				for i, c := range callers {
					wg.Go(func() { ensureUntilThere(t, ensure("host-1", fmt.Sprintf("vm-%d", i)), c) })
				}
				wg.Wait()
				h := s.fake.Inventory().Hosts[0]
				if len(h.Networks) != 1 {
					t.Fatalf("%d networks, want 1", len(h.Networks))
				}
				for _, vm := range h.VMs {
					if !slices.Equal(vm.Networks, []string{h.Networks[0].NetworkUID}) {
						t.Errorf("VM %s is on %q", vm.Name, vm.Networks)
					}
				}
			})
		}
	}
}

func TestVMsThatAreOnTwoNetworksOfANameStay(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	p := s.daemon().provider()
	host := s.atomos("host-1")
	made := func() string {
		n, err := host.CreateNetwork(within(t, soon), c4.Network{Name: "cluster", CreatorUID: owner, Type: "libvirt", Private: true, IP: c4.NetworkIP{Address: "127.88.0.1/16", DHCP: c4.NetworkDHCP{Start: "127.88.0.2", End: "127.88.255.254"}}})
		if err != nil {
			t.Fatal(err)
		}
		return n.NetworkUID
	}
	var used []string
	for i := range 2 {
		used = append(used, made())
		pledge := c4.Pledge{CPU: c4.CPUPledge{Slots: 1, MaxOverprovision: 10}, Mem: c4.MemPledge{Capacity: 512}}
		_, err := host.Register(within(t, soon), c4.RegisterRequest{ClientUID: owner, Name: fmt.Sprintf("old-%d", i), Pledge: pledge, HasNetwork: true, Networks: []c4.NetworkRef{{NetworkUID: used[i]}}})
		if err != nil {
			t.Fatal(err)
		}
	}
	made()
	ensureUntilThere(t, ensure("host-1", "vm-1"), p)
	h := s.fake.Inventory().Hosts[0]
	if len(h.Networks) != 2 {
		t.Errorf("%d networks, want the two that VMs are on", len(h.Networks))
	}
	for _, vm := range h.VMs {
		if vm.Name == "vm-1" && !slices.Equal(vm.Networks, []string{slices.Min(used)}) {
			t.Errorf("the new VM is on %q, want the smaller UID of %q", vm.Networks, used)
		}
	}
}

func TestNetworkThatLandsLateIsMadeOnceAndNotLeft(t *testing.T) {
	t.Parallel()
	const making = "POST network/create"
	s := newSite(t, 1)
	p := s.daemon().provider()
	s.fault(fakeatomos.Fault{Call: making, Times: 1, Effect: fakeatomos.DelayBefore, Delay: 3 * time.Second})
	wanted := &rpc.EnsureNetworkRequest{ClientUid: owner, Network: nat("cluster"), Domains: []string{"d1"}}
	abandon(t, "the network is being made", func() bool { return s.calls(making) == 1 }, func(ctx context.Context) error {
		_, err := p.EnsureNetwork(ctx, wanted)
		return err
	})
	if _, err := p.EnsureNetwork(within(t, soon), wanted); err != nil { // or it has landed by now
		wantReason(t, err, rpc.Reason_REASON_WRONG_STATE, "cluster", "waiting")
	}
	if n := s.calls(making); n != 1 {
		t.Errorf("the network was asked for %d times, want once", n)
	}
	eventually(t, "the network is gone", func() bool {
		res, err := p.DeleteNetwork(within(t, soon), &rpc.DeleteNetworkRequest{ClientUid: owner, NetworkName: "cluster", Domains: []string{"d1"}})
		if err != nil {
			t.Fatal(err)
		}
		return len(res.RemainingHosts) == 0
	})
	eventually(t, "the request has landed", func() bool { return s.done(making) == 1 })
	s.wantNothingLeft()
}

func TestNetworkThatMustExistMayBePublicOrOwn(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	host := s.atomos("host-1")
	make := func(name, creator string, private bool) {
		_, err := host.CreateNetwork(within(t, soon), c4.Network{Name: name, CreatorUID: creator, Type: "libvirt", Private: private, IP: c4.NetworkIP{Address: "127.92.0.1/24", DHCP: c4.NetworkDHCP{Start: "127.92.0.2", End: "127.92.0.254"}}})
		if err != nil {
			t.Fatal(err)
		}
	}
	make("public", another, false)
	make("private", another, true)
	p := s.daemon().provider()
	req := ensure("host-1", "vm-1")
	req.Spec.Networks = []*rpc.NetworkSpec{{Name: "private"}}
	_, err := p.EnsureVM(within(t, soon), req)
	wantReason(t, err, rpc.Reason_REASON_NETWORK_NOT_FOUND, "private")
	req.Spec.Networks = []*rpc.NetworkSpec{{Name: "public"}}
	if _, err := p.EnsureVM(within(t, soon), req); err != nil {
		t.Error(err)
	}
	res, err := p.ListNetworks(within(t, soon), &rpc.ListNetworksRequest{ClientUid: owner})
	if err != nil || len(res.Networks) != 0 {
		t.Errorf("got %v, %v; want none of another's networks", res, err)
	}
}

func TestEndpointLeadsToTheVMThatIsNamedLast(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	d := s.daemon()
	p := d.provider()
	reserved, err := p.ReserveEndpoint(within(t, soon), &rpc.ReserveEndpointRequest{ClientUid: owner, Domains: []string{"d1"}, Port: 6443})
	if err != nil {
		t.Fatal(err)
	}
	if reserved.Endpoint.Host != "host-1" || reserved.Endpoint.Port != 6443 || reserved.Address != s.host("host-1").Address().String() {
		t.Errorf("reserved %v", reserved)
	}
	var uids []string
	for _, vm := range []string{"vm-1", "vm-2"} {
		res, err := p.EnsureVM(within(t, soon), ensure("host-1", vm))
		if err != nil {
			t.Fatal(err)
		}
		uids = append(uids, res.Vm.Uid)
	}
	forward := func(vm string) error {
		_, err := p.EnsureForward(within(t, soon), &rpc.EnsureForwardRequest{ClientUid: owner, Endpoint: reserved.Endpoint, TargetHost: "host-1", TargetVmName: vm, TargetPort: 6443})
		return err
	}
	target := func() string {
		forwards := s.fake.Inventory().Hosts[0].Forwards
		if len(forwards) != 1 {
			t.Fatalf("%d forwards, want 1", len(forwards))
		}
		return forwards[0].TargetVMUID
	}
	for i, vm := range []string{"vm-1", "vm-1", "vm-2"} {
		if err := forward(vm); err != nil {
			t.Fatal(err)
		}
		if want := uids[i/2]; target() != want {
			t.Errorf("leads to %s, want %s", target(), vm)
		}
	}
	if n := s.calls("POST network/portforward"); n != 2 {
		t.Errorf("%d changes of the forward, want 2", n)
	}
	wantReason(t, forward("vm-9"), rpc.Reason_REASON_VM_NOT_FOUND, "vm-9")

	// The VM that goes takes its forward along, and no other.
	p.deleteVM(t, "host-1", "vm-1", time.Time{})
	if target() != uids[1] {
		t.Error("the forward does not lead to vm-2 any more")
	}
	p.deleteVM(t, "host-1", "vm-2", time.Time{})
	s.wantNothingLeft("network cluster")
}

func TestEndpointOfAnotherClientIsNotTouched(t *testing.T) {
	t.Parallel()
	s := newSite(t, 2)
	d := s.daemon()
	p, other := d.provider(), d.other()
	theirs := ensure("host-1", "vm-1")
	theirs.ClientUid = another
	if _, err := other.EnsureVM(within(t, soon), theirs); err != nil {
		t.Fatal(err)
	}
	endpoint := &rpc.Endpoint{Host: "host-1", Port: 6443}
	if _, err := other.EnsureForward(within(t, soon), &rpc.EnsureForwardRequest{ClientUid: another, Endpoint: endpoint, TargetHost: "host-1", TargetVmName: "vm-1", TargetPort: 6443}); err != nil {
		t.Fatal(err)
	}
	p.makes(t, "vm-2")
	_, err := p.EnsureForward(within(t, soon), &rpc.EnsureForwardRequest{ClientUid: owner, Endpoint: endpoint, TargetHost: "host-1", TargetVmName: "vm-2", TargetPort: 6443})
	wantReason(t, err, rpc.Reason_REASON_IN_USE, "6443")
	if _, err := p.DeleteForward(within(t, soon), &rpc.DeleteForwardRequest{ClientUid: owner, Endpoint: endpoint}); err != nil {
		t.Fatal(err)
	}
	if len(s.fake.Inventory().Hosts[0].Forwards) != 1 {
		t.Error("the other client's forward is gone")
	}
	// A port that is taken on one host is free on the other, and the next one
	// is proposed when it is promised there.
	reserve := &rpc.ReserveEndpointRequest{ClientUid: owner, Domains: []string{"d1"}, Port: 6443}
	res, err := p.ReserveEndpoint(within(t, soon), reserve)
	if err != nil || res.Endpoint.Host != "host-2" || res.Endpoint.Port != 6443 {
		t.Errorf("got %v, %v; want port 6443 of host-2", res, err)
	}
	reserve.Reserved = []*rpc.Endpoint{{Host: "host-2", Port: 6443}}
	if res, err = p.ReserveEndpoint(within(t, soon), reserve); err != nil || res.Endpoint.Port != 6444 {
		t.Errorf("got %v, %v; want port 6444", res, err)
	}
	for range 2 {
		if _, err := other.DeleteForward(within(t, soon), &rpc.DeleteForwardRequest{ClientUid: another, Endpoint: endpoint}); err != nil {
			t.Fatal(err)
		}
	}
	if len(s.fake.Inventory().Hosts[0].Forwards) != 0 {
		t.Error("the forward is still there")
	}
}

func TestEndpointGoesWhereThereIsRoom(t *testing.T) {
	t.Parallel()
	s := newSite(t, 3, func(o *fakeatomos.Options) { o.Hosts[1].MemoryMiB = 131072 })
	s.host("host-3").SetMaintenance(true)
	p := s.daemon().provider()
	reserve := &rpc.ReserveEndpointRequest{ClientUid: owner, Domains: []string{"d1"}, Port: 6443}
	res, err := p.ReserveEndpoint(within(t, soon), reserve)
	if err != nil || res.Endpoint.Host != "host-2" {
		t.Errorf("got %v, %v; want the host with the most memory", res, err)
	}
	s.host("host-1").Down()
	s.host("host-2").Down()
	_, err = p.ReserveEndpoint(within(t, soon), reserve)
	wantReason(t, err, rpc.Reason_REASON_HOST_UNREACHABLE)
}

func TestForwardToAnotherHostNeedsABridgedNetwork(t *testing.T) {
	t.Parallel()
	s := newSite(t, 2)
	p := s.daemon().provider()
	behind := ensure("host-2", "behind-nat")
	behind.Spec.Networks = []*rpc.NetworkSpec{nat("local")}
	if _, err := p.EnsureVM(within(t, soon), behind); err != nil {
		t.Fatal(err)
	}
	if _, err := p.EnsureVM(within(t, soon), ensure("host-2", "reachable")); err != nil {
		t.Fatal(err)
	}
	forward := func(vm string) error {
		_, err := p.EnsureForward(within(t, soon), &rpc.EnsureForwardRequest{ClientUid: owner, Endpoint: &rpc.Endpoint{Host: "host-1", Port: 6443}, TargetHost: "host-2", TargetVmName: vm, TargetPort: 6443})
		return err
	}
	wantReason(t, forward("behind-nat"), rpc.Reason_REASON_NETWORK_NOT_FOUND, "NAT", "bridged")
	for range 2 {
		if err := forward("reachable"); err != nil {
			t.Fatal(err)
		}
	}
	if n := s.calls("POST network/portforward"); n != 1 {
		t.Errorf("%d changes of the forward, want 1", n)
	}
}

func TestForwardWhoseReplyIsLostIsThere(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	p := s.daemon().provider()
	p.makes(t, "vm-1")
	s.fault(fakeatomos.Fault{Call: "POST network/portforward", Times: 1, Effect: fakeatomos.LoseReply})
	if _, err := p.EnsureForward(within(t, soon), &rpc.EnsureForwardRequest{ClientUid: owner, Endpoint: &rpc.Endpoint{Host: "host-1", Port: 6443}, TargetHost: "host-1", TargetVmName: "vm-1", TargetPort: 6443}); err != nil {
		t.Error(err)
	}
}

// forwardOfNobody makes a forward as it is on a host that does not tell whose
// it is.
func (s *site) forwardOfNobody(host, target, targetUID string) {
	s.t.Helper()
	f := c4.Forward{Protocol: "tcp", Port: 6443, Target: target, TargetVMUID: targetUID, TargetPort: 6443}
	if _, err := s.atomos(host).CreateForward(within(s.t, soon), f); err != nil {
		s.t.Fatal(err)
	}
}

// forwards counts the forwards of all hosts.
func (s *site) forwards() (n int) {
	for _, h := range s.fake.Inventory().Hosts {
		n += len(h.Forwards)
	}
	return n
}

func TestForwardOfAHostThatTellsNoOwnersIsKnownByWhereItLeads(t *testing.T) {
	t.Parallel()
	at := &rpc.Endpoint{Host: "host-1", Port: 6443}
	remove := func(t *testing.T, c *caller, client string) error {
		_, err := c.DeleteForward(within(t, soon), &rpc.DeleteForwardRequest{ClientUid: client, Endpoint: at})
		return err
	}
	point := func(t *testing.T, c *caller, client, host, vm string) error {
		_, err := c.EnsureForward(within(t, soon), &rpc.EnsureForwardRequest{ClientUid: client, Endpoint: at, TargetHost: host, TargetVmName: vm, TargetPort: 6443})
		return err
	}
	// setUp makes vm-1 on host-2 and vm-2 on host-1; leads to vm-1 unless told
	// otherwise.
	setUp := func(t *testing.T, target string) (s *site, p, other *caller) {
		s = newSite(t, 2)
		d := s.daemon()
		p, other = d.provider(), d.other()
		for vm, host := range map[string]string{"vm-1": "host-2", "vm-2": "host-1"} {
			res, err := p.EnsureVM(within(t, soon), ensure(host, vm))
			if err != nil {
				t.Fatal(err)
			}
			if vm == "vm-1" && target == "" {
				target = res.Vm.Address
			}
		}
		s.forwardOfNobody("host-1", target, "")
		return s, p, other
	}
	t.Run("it is the client's that has the VM", func(t *testing.T) {
		t.Parallel()
		s, p, other := setUp(t, "")
		if err := point(t, p, owner, "host-2", "vm-1"); err != nil { // it leads there
			t.Error(err)
		}
		if n := s.calls("POST network/portforward"); n != 1 {
			t.Errorf("%d changes of the forward, want none by the daemon", n-1)
		}
		theirs := ensure("host-1", "vm-1")
		theirs.ClientUid = another
		if _, err := other.EnsureVM(within(t, soon), theirs); err != nil {
			t.Fatal(err)
		}
		wantReason(t, point(t, other, another, "host-1", "vm-1"), rpc.Reason_REASON_IN_USE, "6443")
		if err := remove(t, other, another); err != nil || s.forwards() != 1 { // somebody else's is no reason to wait
			t.Errorf("got %v and %d forwards, want the one to stay", err, s.forwards())
		}
		if err := remove(t, p, owner); err != nil || s.forwards() != 0 {
			t.Errorf("got %v and %d forwards, want none", err, s.forwards())
		}
	})
	t.Run("it can be pointed elsewhere", func(t *testing.T) {
		t.Parallel()
		s, p, _ := setUp(t, "")
		if err := point(t, p, owner, "host-1", "vm-2"); err != nil || s.forwards() != 1 {
			t.Errorf("got %v and %d forwards", err, s.forwards())
		}
	})
	t.Run("it can be pointed elsewhere when its VM's host is down", func(t *testing.T) {
		t.Parallel()
		s, p, _ := setUp(t, "")
		s.host("host-2").Down()
		if err := point(t, p, owner, "host-1", "vm-2"); err != nil || s.forwards() != 1 {
			t.Errorf("got %v and %d forwards", err, s.forwards())
		}
	})
	t.Run("it goes with its VM", func(t *testing.T) {
		t.Parallel()
		s, p, _ := setUp(t, "")
		p.deleteVM(t, "host-1", "vm-2", time.Time{})
		if n := s.forwards(); n != 1 {
			t.Errorf("%d forwards after another VM went, want 1", n)
		}
		p.deleteVM(t, "host-2", "vm-1", time.Time{})
		if n := s.forwards(); n != 0 {
			t.Errorf("%d forwards after its VM went, want none", n)
		}
		if err := remove(t, p, owner); err != nil {
			t.Error(err)
		}
	})
	t.Run("it is nobody's", func(t *testing.T) {
		t.Parallel()
		s, p, _ := setUp(t, "127.89.1.1")
		wantReason(t, remove(t, p, owner), rpc.Reason_REASON_IN_USE, "6443", "host-1", "remove the forward")
		wantReason(t, point(t, p, owner, "host-1", "vm-2"), rpc.Reason_REASON_IN_USE)
		if n := s.forwards(); n != 1 {
			t.Errorf("%d forwards, want the one to stay", n)
		}
		s.host("host-2").Down()
		wantReason(t, remove(t, p, owner), rpc.Reason_REASON_HOST_UNREACHABLE, "host-2") // it may lead there
	})
}

func TestForwardThatIsBeingPointedElsewhereDoesNotGoWithItsVM(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	p := s.daemon().provider()
	p.makes(t, "vm-1", "vm-2")
	point := func(vm string) error {
		_, err := p.EnsureForward(within(t, soon), &rpc.EnsureForwardRequest{ClientUid: owner, Endpoint: &rpc.Endpoint{Host: "host-1", Port: 6443}, TargetHost: "host-1", TargetVmName: vm, TargetPort: 6443})
		return err
	}
	if err := point("vm-1"); err != nil {
		t.Fatal(err)
	}
	const pointing = "POST network/portforward"
	s.fault(fakeatomos.Fault{Call: pointing, Times: 1, Effect: fakeatomos.DelayBefore, Delay: time.Second})
	pointed := make(chan error, 1)
	go func() { pointed <- point("vm-2") }()
	eventually(t, "the forward is being pointed elsewhere", func() bool { return s.calls(pointing) == 2 })
	p.deleteVM(t, "host-1", "vm-1", time.Time{})
	if err := <-pointed; err != nil {
		t.Error(err)
	}
	if n := s.calls("DELETE network/portforward"); n != 0 {
		t.Errorf("%d removals of a forward that leads elsewhere, want none", n)
	}
	if n := s.forwards(); n != 1 {
		t.Errorf("%d forwards, want 1", n)
	}
}

func TestHostThatIsKnownToBeSilentHoldsUpNoOtherCluster(t *testing.T) {
	t.Parallel()
	s := newSite(t, 2)
	s.config.Interval = daemon.Duration{Duration: 10 * time.Second} // so long does the daemon know it
	p := s.daemon().provider()
	s.fault(fakeatomos.Fault{Host: "host-2", Effect: fakeatomos.Hang})
	eventually(t, "the daemon knows that host-2 is silent", func() bool {
		res := must(p.ListDomains(within(t, soon), &rpc.ListDomainsRequest{ClientUid: owner}))
		return res.Domains[0].Hosts[1].Health == rpc.HostHealth_HOST_HEALTH_UNREACHABLE
	})
	quickly := func(what string, call func()) {
		t.Helper()
		began := time.Now()
		if call(); time.Since(began) > 4*time.Second { // it takes 5 to find that out once more
			t.Errorf("%s took %s", what, time.Since(began))
		}
	}
	quickly("reserving an endpoint", func() {
		res, err := p.ReserveEndpoint(within(t, soon), &rpc.ReserveEndpointRequest{ClientUid: owner, Domains: []string{"d1"}, Port: 6443})
		if err != nil || res.Endpoint.Host != "host-1" {
			t.Errorf("got %v, %v", res, err)
		}
	})
	quickly("making a network", func() {
		res, err := p.EnsureNetwork(within(t, soon), &rpc.EnsureNetworkRequest{ClientUid: owner, Network: bridged("cluster"), Domains: []string{"d1"}})
		if err != nil || !slices.Equal(res.MissingHosts, []string{"host-2"}) {
			t.Errorf("got %v, %v", res, err)
		}
	})
}
