package fakeatomos_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"

	"elemento.cloud/cluster-api-provider-elemento/c4"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos/guest"
)

// networkOf describes a network over the whole of a prefix.
func networkOf(prefix netip.Prefix, mode *string) c4.Network {
	gateway := prefix.Masked().Addr().Next()
	last := gateway
	for range (1 << (32 - prefix.Bits())) - 3 {
		last = last.Next()
	}
	return c4.Network{
		CreatorUID: owner, Name: "net", Type: "libvirt", Mode: mode,
		IP: c4.NetworkIP{Address: netip.PrefixFrom(gateway, prefix.Bits()).String(), DHCP: c4.NetworkDHCP{Start: gateway.Next().String(), End: last.String()}},
	}
}

func nat() *string { mode := c4.NAT; return &mode }

func prefix(t *testing.T, bits int) netip.Prefix {
	t.Helper()
	p, err := fakeatomos.FreeNetwork(bits)
	succeed(t, err)
	return p
}

// bridge makes a bridged network of its own.
func bridge(t *testing.T, c *c4.Client, bits int) c4.Network {
	t.Helper()
	n, err := c.CreateNetwork(t.Context(), networkOf(prefix(t, bits), nil))
	succeed(t, err)
	return n
}

// on makes a VM on a network.
func on(t *testing.T, c *c4.Client, name string, n c4.Network) c4.VM {
	t.Helper()
	uid, err := c.Register(t.Context(), c4.RegisterRequest{ClientUID: owner, Name: name, Pledge: small(), HasNetwork: true, Networks: []c4.NetworkRef{{NetworkUID: n.NetworkUID}}})
	succeed(t, err)
	var found c4.VM
	eventually(t, "the VM has booted", func() bool {
		for _, vm := range vmsOf(t, c, owner) {
			if vm.UID == uid && vm.State == c4.Running && vm.Address != "" {
				found = vm
			}
		}
		return found.UID != ""
	})
	return found
}

// greeters are guests that answer every connection that may reach them with
// their name, on port 4000.
type greeters struct {
	mu    sync.Mutex
	lines map[string]net.Listener
	seen  map[string]guest.VM // as of the latest boot
	cut   map[string]bool
	deaf  bool  // to the power button
	fails error // of a boot
	ended sync.WaitGroup
}

func newGreeters() *greeters {
	return &greeters{lines: map[string]net.Listener{}, seen: map[string]guest.VM{}, cut: map[string]bool{}}
}

func (g *greeters) Boot(ctx context.Context, vm guest.VM) error {
	if g.fails != nil {
		return g.fails
	}
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp4", net.JoinHostPort(vm.Address.String(), "4000"))
	if err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.lines[vm.ID], g.seen[vm.ID] = l, vm
	g.ended.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			g.mu.Lock()
			cut := g.cut[vm.ID]
			g.mu.Unlock()
			if !cut && vm.Reachable(netip.MustParseAddrPort(conn.RemoteAddr().String()).Addr()) {
				_, _ = fmt.Fprintf(conn, "%s\n", vm.Name)
				_, _ = io.Copy(conn, conn)
			}
			_ = conn.Close()
		}
	})
	return nil
}

func (g *greeters) Shutdown(_ context.Context, id string) bool {
	if g.deaf {
		return false
	}
	g.PowerOff(id)
	return true
}

func (g *greeters) Cut(id string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.cut[id] = true
	return nil
}

func (g *greeters) Mend(id string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.cut, id)
	return nil
}

func (g *greeters) PowerOff(id string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if l := g.lines[id]; l != nil {
		_ = l.Close()
		delete(g.lines, id)
	}
}

func (g *greeters) Remove(id string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.seen, id)
}

func (g *greeters) Usage(string) (int64, int64) { return 1500, 512 }

func (g *greeters) boot(id string) guest.VM {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.seen[id]
}

// greet connects and returns what the guest says; "" if it says nothing.
func greet(t *testing.T, from, address string, port int) string {
	t.Helper()
	dialer := net.Dialer{}
	if from != "" {
		dialer.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
	}
	conn, err := dialer.DialContext(t.Context(), "tcp4", net.JoinHostPort(address, fmt.Sprint(port)))
	if err != nil {
		return ""
	}
	defer conn.Close()
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return ""
	}
	return line[:len(line)-1]
}

// listens tells whether someone accepts connections there.
func listens(t *testing.T, address string) bool {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp4", address)
	if err == nil {
		_ = conn.Close()
	}
	return err == nil
}

func TestNetworksThatMakeNoSenseAreRefused(t *testing.T) {
	t.Parallel()
	c := dial(t, start(t, 1, nil).Hosts()[0], "")
	for name, spoil := range map[string]func(*c4.Network){
		"no ip":                   func(n *c4.Network) { n.IP = c4.NetworkIP{} },
		"no prefix length":        func(n *c4.Network) { n.IP.Address = "192.168.10.1" },
		"IPv6":                    func(n *c4.Network) { n.IP.Address = "fd00::1/64" },
		"another mode":            func(n *c4.Network) { m := "route"; n.Mode = &m },
		"another type":            func(n *c4.Network) { n.Type = "ovs" },
		"no name":                 func(n *c4.Network) { n.Name = "" },
		"a range of no addresses": func(n *c4.Network) { n.IP.DHCP.Start = "x" },
		"half a range":            func(n *c4.Network) { n.IP.DHCP.End = "" },
		"a range outside":         func(n *c4.Network) { n.IP.DHCP.End = "192.168.11.9" },
		"a range backwards":       func(n *c4.Network) { n.IP.DHCP.Start, n.IP.DHCP.End = n.IP.DHCP.End, n.IP.DHCP.Start },
	} {
		n := networkOf(netip.MustParsePrefix("192.168.10.0/24"), nat())
		spoil(&n)
		if _, err := c.CreateNetwork(t.Context(), n); c4.CodeOf(err) != c4.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	if status, _ := raw(t, start(t, 1, nil).Hosts()[0], "POST", ":7776/api/v1.0/create",
		`{"network_name":"n","type":"libvirt","mode":"nat","ip":{"address":"192.168.10.1/24","dhcp":{"start":"192.168.11.2","end":"192.168.11.9","hosts":[]}}}`); status != 502 {
		t.Errorf("a range outside the subnet answers %d, want 502", status)
	}
}

func TestANetworkIsKeptUntilItIsDeleted(t *testing.T) {
	t.Parallel()
	h := start(t, 1, nil).Hosts()[0]
	c := dial(t, h, "")
	ctx := t.Context()
	n := bridge(t, c, 24)
	if n.NetworkUID == "" || n.DeviceName == "" || n.CreatorUID != owner {
		t.Errorf("created as %+v", n)
	}
	vm := on(t, c, "vm", n)
	got, err := c.Network(ctx, n.NetworkUID)
	succeed(t, err)
	if len(got.IP.DHCP.Hosts) != 1 || got.IP.DHCP.Hosts[0].Address != vm.Address || got.IP.DHCP.Hosts[0].MAC != vm.MAC {
		t.Errorf("leases are %+v, the VM is %+v", got.IP.DHCP.Hosts, vm)
	}
	wantCode(t, c.DeleteNetwork(ctx, n.NetworkUID), c4.InUse)
	h.Down()
	succeed(t, h.Up())
	list, err := c.Networks(ctx)
	succeed(t, err)
	if len(list) != 1 || list[0].NetworkUID != n.NetworkUID {
		t.Errorf("after a reboot: %+v", list)
	}
	succeed(t, c.Unregister(ctx, c4.VMRef{ClientUID: owner, VMUID: vm.UID}))
	succeed(t, c.DeleteNetwork(ctx, n.NetworkUID))
	wantCode(t, c.DeleteNetwork(ctx, n.NetworkUID), c4.NotFound)
	_, err = c.Network(ctx, n.NetworkUID)
	wantCode(t, err, c4.NotFound)
}

func TestAddressesAreUniqueOverAllHosts(t *testing.T) {
	t.Parallel()
	f := start(t, 3, nil)
	p := prefix(t, 28)
	seen := map[string]string{}
	var last c4.VM
	for i, h := range f.Hosts() {
		c := dial(t, h, "")
		mode := nat()
		if i == 2 {
			mode = nil
		}
		n, err := c.CreateNetwork(t.Context(), networkOf(p, mode))
		succeed(t, err)
		for j := range 4 {
			last = on(t, c, fmt.Sprintf("vm-%d-%d", i, j), n)
			if other, taken := seen[last.Address]; taken {
				t.Errorf("%s and %s share %s", other, last.Name, last.Address)
			}
			seen[last.Address] = last.Name
		}
	}
	c := dial(t, f.Hosts()[2], "")
	succeed(t, c.Unregister(t.Context(), c4.VMRef{ClientUID: owner, VMUID: last.UID}))
	n, err := c.Networks(t.Context())
	succeed(t, err)
	if again := on(t, c, "again", n[0]); again.Address != last.Address {
		t.Errorf("the address %s was not given back: %s", last.Address, again.Address)
	}
}

func TestAVMWithoutAFreeAddressRunsWithoutOne(t *testing.T) {
	t.Parallel()
	c := dial(t, start(t, 1, nil).Hosts()[0], "")
	n := bridge(t, c, 29) // a gateway and 5 guests
	for i := range 5 {
		on(t, c, fmt.Sprint("vm-", i), n)
	}
	uid, err := c.Register(t.Context(), c4.RegisterRequest{ClientUID: owner, Name: "late", Pledge: small(), Networks: []c4.NetworkRef{{NetworkUID: n.NetworkUID}}})
	succeed(t, err)
	for _, vm := range vmsOf(t, c, owner) {
		if vm.UID == uid && (vm.State != c4.Running || vm.Address != "" || vm.MAC == "") {
			t.Errorf("it is %+v", vm)
		}
	}
}

func TestAGuestBootsFromItsDisks(t *testing.T) {
	t.Parallel()
	guests := newGreeters()
	c := dial(t, start(t, 1, func(o *fakeatomos.Options) { o.Guests = guests }).Hosts()[0], "")
	ctx := t.Context()
	boot, err := c.CreateImageVolume(ctx, c4.ImageVolumeRequest{CreatorID: owner, Name: "boot", Private: true, Bootable: true, Clonable: true, Alg: "cp", Format: "qcow2", Bus: "virtio", Size: 10, URL: image})
	succeed(t, err)
	seed := seedOf(t, c, "first", "meta")
	n := bridge(t, c, 24)
	uid, err := c.Register(ctx, c4.RegisterRequest{
		ClientUID: owner, Name: "vm", Pledge: small(), Volumes: []c4.Volume{{VolumeID: boot}, {VolumeID: seed}}, Networks: []c4.NetworkRef{{NetworkUID: n.NetworkUID}},
	})
	succeed(t, err)
	ref := c4.VMRef{ClientUID: owner, VMUID: uid}
	var address string
	eventually(t, "the guest is up", func() bool { address = vmsOf(t, c, owner)[0].Address; return address != "" })
	seen := guests.boot(uid)
	if seen.Name != "vm" || seen.Address.String() != address || string(seen.UserData) != "first" || string(seen.MetaData) != "meta" ||
		seen.KubernetesVersion != "v1.36.3" || seen.Processors != 2 || seen.MemoryMiB != 1024 {
		t.Errorf("the guest saw %+v", seen)
	}
	u, err := c.Usage(ctx, ref)
	succeed(t, err)
	if u.CPUMillis != 1500 || u.MemoryMiB != 512 || u.DiskBytes == 0 {
		t.Errorf("usage is %+v", u)
	}
	// Another seed takes effect at the next boot.
	second := seedOf(t, c, "second", "meta")
	succeed(t, c.Detach(ctx, c4.AttachRequest{ClientUID: owner, VMUID: uid, VolumeID: seed}))
	succeed(t, c.Attach(ctx, c4.AttachRequest{ClientUID: owner, VMUID: uid, VolumeID: second}))
	succeed(t, c.Reboot(ctx, ref))
	eventually(t, "the guest has rebooted", func() bool {
		return string(guests.boot(uid).UserData) == "second" && vmsOf(t, c, owner)[0].Address != ""
	})
	succeed(t, c.Unregister(ctx, ref))
	if guests.boot(uid).ID != "" {
		t.Error("the disk of a VM that is gone is remembered")
	}
}

func TestAGuestBehindNATIsReachedFromItsOwnHostOnly(t *testing.T) {
	t.Parallel()
	f := start(t, 2, func(o *fakeatomos.Options) { o.Guests = newGreeters() })
	here, there := f.Hosts()[0], f.Hosts()[1]
	c := dial(t, here, "")
	hidden, err := c.CreateNetwork(t.Context(), networkOf(prefix(t, 24), nat()))
	succeed(t, err)
	open := bridge(t, c, 24)
	a, b, public := on(t, c, "a", hidden), on(t, c, "b", hidden), on(t, c, "public", open)
	far := dial(t, there, "")
	distant := on(t, far, "distant", bridge(t, far, 24))
	for _, tc := range []struct {
		from, to, want string
	}{
		{"", a.Address, ""},
		{there.Address().String(), a.Address, ""},
		{distant.Address, a.Address, ""},
		{here.Address().String(), a.Address, "a"},
		{b.Address, a.Address, "a"},
		{public.Address, a.Address, "a"},
		{"", public.Address, "public"},
		{distant.Address, public.Address, "public"},
	} {
		if got := greet(t, tc.from, tc.to, 4000); got != tc.want {
			t.Errorf("from %q to %s: %q, want %q", tc.from, tc.to, got, tc.want)
		}
	}
}

func TestAForwardLeadsToAGuest(t *testing.T) {
	t.Parallel()
	f := start(t, 1, func(o *fakeatomos.Options) { o.Guests = newGreeters() })
	h := f.Hosts()[0]
	c := dial(t, h, "")
	ctx := t.Context()
	n, err := c.CreateNetwork(ctx, networkOf(prefix(t, 24), nat()))
	succeed(t, err)
	a, b := on(t, c, "a", n), on(t, c, "b", n)
	at := h.Address().String()
	to := func(vm c4.VM) c4.Forward {
		return c4.Forward{CreatorUID: owner, Protocol: "tcp", Port: 6443, Target: vm.Address, TargetVMUID: vm.UID, TargetPort: 4000}
	}
	first, err := c.CreateForward(ctx, to(a))
	succeed(t, err)
	if got := greet(t, "", at, 6443); got != "a" {
		t.Errorf("the forward leads to %q, want a", got)
	}
	_, err = c.CreateForward(ctx, to(b))
	wantCode(t, err, c4.InUse)
	repoint := to(b)
	repoint.Force = true
	second, err := c.CreateForward(ctx, repoint)
	succeed(t, err)
	if got := greet(t, "", at, 6443); got != "b" {
		t.Errorf("the forward leads to %q, want b", got)
	}
	wantCode(t, c.DeleteForward(ctx, first.ForwardUID), c4.NotFound)
	list, err := c.Forwards(ctx)
	succeed(t, err)
	if len(list) != 1 || list[0] != second || second.CreatorUID != owner || second.Force {
		t.Errorf("forwards are %+v, want %+v", list, second)
	}

	h.Down()
	if listens(t, at+":6443") {
		t.Error("a forward of a host that is down listens")
	}
	succeed(t, h.Up())
	c.Close() // connections that the host has cut
	eventually(t, "the forward is back", func() bool { return greet(t, "", at, 6443) == "b" })

	succeed(t, c.Stop(ctx, c4.VMRef{ClientUID: owner, VMUID: b.UID}))
	eventually(t, "a dead target closes the connection", func() bool { return greet(t, "", at, 6443) == "" })
	succeed(t, c.Unregister(ctx, c4.VMRef{ClientUID: owner, VMUID: b.UID}))
	if list, err := c.Forwards(ctx); err != nil || len(list) != 1 {
		t.Errorf("the forward went with its VM: %v, %v", list, err)
	}
	succeed(t, c.DeleteForward(ctx, second.ForwardUID))
	if listens(t, at+":6443") {
		t.Error("a forward that is deleted listens")
	}
}

func TestAConnectionThroughAForwardCarriesBothWaysAndEndsWithPower(t *testing.T) {
	t.Parallel()
	f := start(t, 1, func(o *fakeatomos.Options) { o.Guests = newGreeters() })
	h := f.Hosts()[0]
	c := dial(t, h, "")
	vm := on(t, c, "vm", bridge(t, c, 24))
	_, err := c.CreateForward(t.Context(), c4.Forward{Protocol: "tcp", Port: 6443, TargetVMUID: vm.UID, TargetPort: 4000}) // by VM alone
	succeed(t, err)
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp4", h.Address().String()+":6443")
	succeed(t, err)
	defer conn.Close()
	reader := bufio.NewReader(conn)
	for _, line := range []string{"vm\n", "one\n", "two\n"} {
		if line != "vm\n" {
			_, err = io.WriteString(conn, line)
			succeed(t, err)
		}
		if got, err := reader.ReadString('\n'); err != nil || got != line {
			t.Fatalf("read %q, %v; want %q", got, err, line)
		}
	}
	h.Down()
	if _, err := reader.ReadString('\n'); err == nil {
		t.Error("the connection outlived the host's power")
	}
}

func TestForwardsThatMakeNoSenseAreRefused(t *testing.T) {
	t.Parallel()
	f := start(t, 1, nil)
	c := dial(t, f.Hosts()[0], "")
	for name, spoil := range map[string]func(*c4.Forward){
		"udp":            func(fw *c4.Forward) { fw.Protocol = "udp" },
		"port 0":         func(fw *c4.Forward) { fw.Port = 0 },
		"port 65536":     func(fw *c4.Forward) { fw.Port = 65536 },
		"no target port": func(fw *c4.Forward) { fw.TargetPort = 0 },
		"no target":      func(fw *c4.Forward) { fw.Target = "" },
		"a name":         func(fw *c4.Forward) { fw.Target = "vm" },
	} {
		fw := c4.Forward{Protocol: "tcp", Port: 6443, Target: "192.168.10.2", TargetPort: 6443}
		spoil(&fw)
		if _, err := c.CreateForward(t.Context(), fw); c4.CodeOf(err) != c4.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := c.CreateForward(t.Context(), c4.Forward{Protocol: "tcp", Port: 6443, TargetVMUID: "none", TargetPort: 6443})
	wantCode(t, err, c4.NotFound)
	_, err = c.CreateForward(t.Context(), c4.Forward{Protocol: "tcp", Port: 7777, Target: "192.168.10.2", TargetPort: 6443, Force: true})
	wantCode(t, err, c4.InUse)
	// An address that no guest has leads nowhere, this machine's others least
	// of all.
	open, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp4", "127.0.0.1:0")
	succeed(t, err)
	defer open.Close()
	_, err = c.CreateForward(t.Context(), c4.Forward{Protocol: "tcp", Port: 6443, Target: "127.0.0.1", TargetPort: open.Addr().(*net.TCPAddr).Port})
	succeed(t, err)
	if got := greet(t, "", f.Hosts()[0].Address().String(), 6443); got != "" {
		t.Errorf("it leads to %q", got)
	}
}
