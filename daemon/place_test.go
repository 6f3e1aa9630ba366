package daemon_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/daemon/rpc"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos"
)

func place(vm string, role rpc.Role) *rpc.PlaceVMRequest {
	return &rpc.PlaceVMRequest{ClientUid: owner, Domain: "d1", VmName: vm, Spec: worker(), Role: role}
}

// proposal returns the host that is proposed.
func (c *caller) proposal(t *testing.T, req *rpc.PlaceVMRequest) string {
	t.Helper()
	res, err := c.PlaceVM(within(t, soon), req)
	if err != nil {
		t.Fatal(err)
	}
	return res.Host
}

func TestControlPlanesAreSpread(t *testing.T) {
	t.Parallel()
	s := newSite(t, 3)
	p := s.daemon().provider()
	var peers []string
	seen := map[string]bool{}
	for i := range 3 {
		req := place(fmt.Sprintf("cp-%d", i), rpc.Role_ROLE_CONTROL_PLANE)
		req.PeerHosts = peers
		host := p.proposal(t, req)
		peers = append(peers, host)
		seen[host] = true
	}
	if len(seen) != 3 {
		t.Errorf("proposed %v, want three hosts", peers)
	}
	fourth := place("cp-3", rpc.Role_ROLE_CONTROL_PLANE)
	fourth.PeerHosts = peers
	p.proposal(t, fourth) // avoided is not forbidden
}

func TestWorkersGoWhereTheyFitBest(t *testing.T) {
	t.Parallel()
	s := newSite(t, 3, func(o *fakeatomos.Options) {
		o.Hosts[0].MemoryMiB, o.Hosts[1].MemoryMiB, o.Hosts[2].MemoryMiB = 65536, 2048, 32768
	})
	p := s.daemon().provider()
	if host := p.proposal(t, place("small", rpc.Role_ROLE_WORKER)); host != "host-2" {
		t.Errorf("a small VM goes to %s, want the smallest host", host)
	}
	large := place("large", rpc.Role_ROLE_WORKER)
	large.Spec.MemoryMib = 16384
	if host := p.proposal(t, large); host != "host-3" {
		t.Errorf("a large VM goes to %s, want the smallest host that has room", host)
	}
}

func TestAHundredPlacementsAtOnceDoNotPileUp(t *testing.T) {
	t.Parallel()
	s := newSite(t, 5)
	p := s.daemon().provider()
	var mu sync.Mutex
	hosts := map[string]int{}
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			res, err := p.PlaceVM(within(t, soon), place(fmt.Sprintf("vm-%d", i), rpc.Role_ROLE_WORKER))
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			hosts[res.Host]++
			mu.Unlock()
		})
	}
	wg.Wait()
	for host, n := range hosts {
		if len(hosts) != 5 || n > 24 {
			t.Errorf("%d of 100 VMs go to %s, %d hosts are used", n, host, len(hosts))
		}
	}
}

func TestPlacementsBeyondCapacityAreToldToWait(t *testing.T) {
	t.Parallel()
	s := newSite(t, 2, func(o *fakeatomos.Options) { o.Hosts[0].MemoryMiB, o.Hosts[1].MemoryMiB = 2048, 2048 })
	p := s.daemon().provider()
	for i := range 8 { // 512 MiB each
		p.proposal(t, place(fmt.Sprintf("vm-%d", i), rpc.Role_ROLE_WORKER))
	}
	_, err := p.PlaceVM(within(t, soon), place("vm-8", rpc.Role_ROLE_WORKER))
	wantReason(t, err, rpc.Reason_REASON_NO_CAPACITY, "d1")
	// A VM that is placed again does not count twice, one that is deleted not at
	// all.
	p.proposal(t, place("vm-7", rpc.Role_ROLE_WORKER))
	if _, err := p.DeleteVM(within(t, soon), &rpc.DeleteVMRequest{ClientUid: owner, Host: "host-1", VmName: "vm-7"}); err != nil {
		t.Fatal(err)
	}
	p.proposal(t, place("vm-8", rpc.Role_ROLE_WORKER))
}

func TestSlotsAreNotPromisedTwice(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1, func(o *fakeatomos.Options) { o.Hosts[0].Cores, o.Hosts[0].SMT = 4, 2 })
	p := s.daemon().provider()
	req := place("vm-1", rpc.Role_ROLE_WORKER)
	req.Spec.Slots, req.Spec.MaxOverprovision = 6, 1
	p.proposal(t, req)
	req = place("vm-2", rpc.Role_ROLE_WORKER)
	req.Spec.Slots, req.Spec.MaxOverprovision = 4, 1
	_, err := p.PlaceVM(within(t, soon), req)
	wantReason(t, err, rpc.Reason_REASON_NO_CAPACITY)
}

func TestRoomThatAVMWaitsForWhileItIsMadeIsNotPromisedToAnother(t *testing.T) {
	t.Parallel()
	s := newSite(t, 2, func(o *fakeatomos.Options) { o.Hosts[0].MemoryMiB, o.Hosts[1].MemoryMiB = 800, 65536 })
	p := s.daemon().provider() // host-1 was proposed by another one, or long ago
	s.fault(fakeatomos.Fault{Call: "POST storage/cloudinit/create", Times: 1, Effect: fakeatomos.DelayBefore, Delay: 5 * time.Second})
	made := make(chan error, 1)
	go func() {
		_, err := p.EnsureVM(within(t, soon), ensure("host-1", "first"))
		made <- err
	}()
	eventually(t, "the first VM is being made", func() bool { return len(s.fake.Inventory().Hosts[0].Networks) > 0 })
	if host := p.proposal(t, place("second", rpc.Role_ROLE_WORKER)); host != "host-2" {
		t.Errorf("the second VM goes to %s, where the first one will take all room", host)
	}
	if err := <-made; err != nil {
		t.Error(err)
	}
}

func TestHardwareThatNoHostHasIsTold(t *testing.T) {
	t.Parallel()
	s := newSite(t, 2, func(o *fakeatomos.Options) {
		o.Hosts[0].PCI = map[string]int{"10de:2684": 1}
		o.Hosts[1].Arch = "ARM_8"
	})
	p := s.daemon().provider()
	for _, c := range []struct {
		name string
		edit func(*rpc.VMSpec)
		want string
	}{
		{"PCI device", func(v *rpc.VMSpec) { v.PciDevices = []*rpc.PCIDevice{{Vendor: "1002", Model: "73bf", Quantity: 1}} }, "1002:73bf"},
		{"too many PCI devices", func(v *rpc.VMSpec) { v.PciDevices = []*rpc.PCIDevice{{Vendor: "10de", Model: "2684", Quantity: 2}} }, "10de:2684"},
		{"architecture", func(v *rpc.VMSpec) { v.Architecture = "S390X" }, "S390X"},
		{"CPU flag", func(v *rpc.VMSpec) { v.CpuFlags = []string{"avx1024"} }, "avx1024"},
		{"ECC", func(v *rpc.VMSpec) { v.RequireEcc = true }, "ECC"},
		{"memory", func(v *rpc.VMSpec) { v.MemoryMib = 1 << 20 }, "memory"},
		{"threads", func(v *rpc.VMSpec) { v.Slots = 33 }, "threads"},
		{"cores", func(v *rpc.VMSpec) { v.Slots, v.FullPhysical = 17, true }, "cores"},
	} {
		t.Run(c.name, func(t *testing.T) {
			req := place("vm", rpc.Role_ROLE_WORKER)
			c.edit(req.Spec)
			_, err := p.PlaceVM(within(t, soon), req)
			wantReason(t, err, rpc.Reason_REASON_HARDWARE_ABSENT, c.want, "host-1", "host-2")
		})
	}
	gpu := place("gpu", rpc.Role_ROLE_WORKER)
	gpu.Spec.PciDevices = []*rpc.PCIDevice{{Vendor: "10de", Model: "2684", Quantity: 1}}
	if host := p.proposal(t, gpu); host != "host-1" {
		t.Errorf("proposed %s", host)
	}
	arm := place("arm", rpc.Role_ROLE_WORKER)
	arm.Spec.Architecture = "ARM_8"
	if host := p.proposal(t, arm); host != "host-2" {
		t.Errorf("proposed %s", host)
	}
}

func TestHostsThatMustNotBeProposedAreNot(t *testing.T) {
	t.Parallel()
	s := newSite(t, 4, func(o *fakeatomos.Options) { o.Hosts[3].Domain = "d2" })
	s.host("host-1").SetMaintenance(true)
	s.host("host-2").Down()
	p := s.daemon().provider()
	for i := range 10 {
		if host := p.proposal(t, place(fmt.Sprintf("vm-%d", i), rpc.Role_ROLE_WORKER)); host != "host-3" {
			t.Errorf("proposed %s", host)
		}
	}
	excluding := place("vm", rpc.Role_ROLE_WORKER)
	excluding.ExcludedHosts = []string{"host-3"}
	_, err := p.PlaceVM(within(t, soon), excluding)
	wantReason(t, err, rpc.Reason_REASON_NO_CAPACITY, "1 do not answer")

	unknown := place("vm", rpc.Role_ROLE_WORKER)
	unknown.Domain = "d9"
	_, err = p.PlaceVM(within(t, soon), unknown)
	wantReason(t, err, rpc.Reason_REASON_DOMAIN_UNKNOWN, "d9", "d1, d2")

	s.host("host-4").Down()
	unknown.Domain = "d2"
	_, err = p.PlaceVM(within(t, soon), unknown)
	wantReason(t, err, rpc.Reason_REASON_HOST_UNREACHABLE, "d2")

	_, err = p.PlaceVM(within(t, soon), place("vm", rpc.Role_ROLE_UNSPECIFIED))
	wantReason(t, err, rpc.Reason_REASON_INVALID_REQUEST, "role")
}

func TestDomainsAreListedWithTheirHosts(t *testing.T) {
	t.Parallel()
	s := newSite(t, 3, func(o *fakeatomos.Options) { o.Hosts[0].Domain = "d2" })
	s.host("host-2").Down()
	p := s.daemon().provider()
	res, err := p.ListDomains(within(t, soon), &rpc.ListDomainsRequest{ClientUid: owner})
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Domains) != 2 || res.Domains[0].Name != "d1" || res.Domains[1].Name != "d2" || len(res.Domains[0].Hosts) != 2 {
		t.Fatalf("got %v", res.Domains)
	}
	down, up := res.Domains[0].Hosts[0], res.Domains[0].Hosts[1]
	if down.Health != rpc.HostHealth_HOST_HEALTH_UNREACHABLE || down.LastSeen != nil {
		t.Errorf("host that is down: %v", down)
	}
	if up.Health != rpc.HostHealth_HOST_HEALTH_READY || up.Threads != 32 || up.MemoryMib != 65536 || up.Architecture != "X86_64" || up.LastSeen == nil {
		t.Errorf("host that is up: %v", up)
	}
}
