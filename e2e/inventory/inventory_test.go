package inventory_test

import (
	"slices"
	"strings"
	"testing"

	"elemento.cloud/cluster-api-provider-elemento/c4"
	"elemento.cloud/cluster-api-provider-elemento/e2e/inventory"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos"
)

// site is a fake of two hosts, as the suites reach it.
type site struct {
	fake    *fakeatomos.Fake
	configs []c4.Config
	clients []*c4.Client
}

func newSite(t *testing.T) *site {
	t.Helper()
	addresses, err := fakeatomos.FreeAddresses(2)
	if err != nil {
		t.Fatal(err)
	}
	var o fakeatomos.Options
	for i, name := range []string{"host-a", "host-b"} {
		o.Hosts = append(o.Hosts, fakeatomos.HostOptions{Name: name, Address: addresses[i]})
	}
	s := &site{}
	if s.fake, err = fakeatomos.Start(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.fake.Close)
	for _, h := range s.fake.Hosts() {
		config := c4.Config{URL: h.URL(), Fingerprint: h.Fingerprint()}
		c, err := c4.New(config)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		s.configs, s.clients = append(s.configs, config), append(s.clients, c)
	}
	return s
}

// furnish makes one of everything for an owner, the VM on the second host.
func (s *site) furnish(t *testing.T, owner string) {
	t.Helper()
	ctx := t.Context()
	if _, err := s.clients[0].CreateNetwork(ctx, c4.Network{
		Name: owner + "-network", CreatorUID: owner, Type: "libvirt",
		IP: c4.NetworkIP{Address: "192.168.10.1/24", DHCP: c4.NetworkDHCP{Start: "192.168.10.2", End: "192.168.10.200"}},
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.clients[0].CreateVolume(ctx, c4.VolumeRequest{CreatorID: owner, Name: owner + "-disk", Private: true, Alg: "no", Format: "qcow2", Bus: "virtio", Size: 1}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.clients[1].Register(ctx, c4.RegisterRequest{
		ClientUID: owner, Name: owner + "-vm", Volumes: []c4.Volume{}, Networks: []c4.NetworkRef{},
		Pledge: c4.Pledge{
			CPU:  c4.CPUPledge{Slots: 1, MaxOverprovision: 1, MinFrequency: "0.5", Arch: []string{"X86_64"}, Flags: []string{}},
			Mem:  c4.MemPledge{Capacity: 512},
			Misc: c4.MiscPledge{OSFamily: "linux", OSFlavour: "any", Manufacturer: "Any"},
		},
	}); err != nil {
		t.Fatal(err)
	}
}

func take(t *testing.T, hosts *inventory.Hosts) inventory.Inventory {
	t.Helper()
	found, err := hosts.Take(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestAnInventoryHasWhatTheClientOwnsAndNothingElse(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	hosts, err := inventory.Connect("alice", s.configs...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(hosts.Close)
	if found := take(t, hosts); len(found) > 0 {
		t.Errorf("on an empty AtomOS there is:\n%s", found)
	}

	s.furnish(t, "bob")
	if found := take(t, hosts); len(found) > 0 {
		t.Errorf("of what another client owns it has:\n%s", found)
	}

	before := take(t, hosts)
	s.furnish(t, "alice")
	after := take(t, hosts)
	for kind, want := range map[inventory.Kind][]string{
		inventory.VM: {"alice-vm"}, inventory.Volume: {"alice-disk"}, inventory.Network: {"alice-network"}, inventory.Forward: {},
	} {
		if got := after.Of(kind).Names(); !slices.Equal(got, want) {
			t.Errorf("of kind %s there are %q, want %q", kind, got, want)
		}
	}
	if diff := after.Without(before); len(diff) != 3 {
		t.Errorf("what came is:\n%s", diff)
	}
	if diff := before.Without(after); len(diff) != 0 {
		t.Errorf("what went is:\n%s", diff)
	}
}

func TestAFakeSaysThatItIsOne(t *testing.T) {
	t.Parallel()
	hosts, err := inventory.Connect("alice", newSite(t).configs...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(hosts.Close)
	makers, err := hosts.Manufacturers(t.Context())
	if err != nil || len(makers) != 1 || makers[0] != fakeatomos.Manufacturer {
		t.Errorf("the hosts are made by %q: %v", makers, err)
	}
}

func TestAHostThatDoesNotAnswerIsNoEmptyHost(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	hosts, err := inventory.Connect("alice", s.configs...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(hosts.Close)
	s.fake.Hosts()[1].Down()
	found, err := hosts.Take(t.Context())
	if err == nil {
		t.Fatalf("with a host down the inventory is:\n%s", found)
	}
	if address := s.fake.Hosts()[1].Address().String(); !strings.Contains(err.Error(), address) {
		t.Errorf("the error does not name the host %s: %v", address, err)
	}
}

func TestAnInventoryNeedsAnOwnerAndHosts(t *testing.T) {
	t.Parallel()
	if _, err := inventory.Connect("", c4.Config{URL: "https://192.0.2.1"}); err == nil {
		t.Error("without a client UUID there is an inventory")
	}
	if _, err := inventory.Connect("alice"); err == nil {
		t.Error("without hosts there is an inventory")
	}
}
