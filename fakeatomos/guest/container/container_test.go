package container_test

import (
	"encoding/base64"
	"errors"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/c4"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos/guest"
	guests "elemento.cloud/cluster-api-provider-elemento/fakeatomos/guest/container"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos/history"
)

func TestAGuestHasItsAddressItsSeedAndItsName(t *testing.T) {
	s := newLab(t).start(nil)
	ref := s.register(s.c4, order{name: "node-1", userData: "#cloud-config\n"})
	address := s.up(s.c4, ref)
	if want := s.vm(s.c4, ref).Address; address != want || !s.subnet.Contains(netip.MustParseAddr(address)) {
		t.Errorf("it is at %s, its VM at %s in %s", address, want, s.subnet)
	}
	if got := s.ask(address, "/hostname"); got != "node-1" {
		t.Errorf("it is called %q", got)
	}
	for name, want := range map[string]string{"user-data": "#cloud-config\n", "meta-data": "instance-id: node-1", "network-config": ""} {
		if got := s.file(address, "/var/lib/cloud/seed/nocloud/"+name); got != want {
			t.Errorf("its %s is %q, want %q", name, got, want)
		}
	}
	c := s.container(ref)
	if mac := s.vm(s.c4, ref).MAC; s.engineTakesMACs() && s.file(address, "/sys/class/net/eth0/address") != mac+"\n" {
		t.Errorf("its MAC is not its VM's, %s", mac)
	}
	if !c.HostConfig.Privileged || c.Config.Labels[guests.NameLabel] != "node-1" || len(c.Mounts) != 1 || c.Mounts[0].Destination != "/var" {
		t.Errorf("the container is %+v %+v", c.HostConfig, c.Mounts)
	}
	s.must(s.c4.Unregister(t.Context(), ref))
	if left := s.left(); len(left) > 0 {
		t.Errorf("its removal left %q", left)
	}
}

func TestAContainerIsCalledAsItsVMUnlessAnotherOneIs(t *testing.T) {
	first := newLab(t)
	s, other := first.start(nil), newSerialLab(t).start(nil)
	name := first.name + "-node"
	called := func(s *site) string {
		ref := s.register(s.c4, order{name: name})
		s.up(s.c4, ref)
		return s.container(ref).Name
	}
	if got := called(s); got != "/"+name {
		t.Errorf("the first is called %s, want /%s", got, name)
	}
	if got := called(other); !strings.HasPrefix(got, "/vm-"+name+"-") {
		t.Errorf("the second is called %s", got)
	}
}

func TestAGuestHasTheSizeOfItsVM(t *testing.T) {
	s := newLab(t).start(nil)
	ref := s.register(s.c4, order{name: "vm", slots: 3, memoryMiB: 48})
	address := s.up(s.c4, ref)
	r := s.container(ref).HostConfig.Resources
	if r.Memory != 48<<20 || float64(r.CPUQuota)/float64(r.CPUPeriod) != 3 {
		t.Errorf("the limits are %+v", r)
	}
	s.ask(address, "/hold?mib=20")
	s.ask(address, "/spin?for=300ms")
	var used c4.VMUsage
	s.eventually("it is seen to work", func() bool {
		var err error
		used, err = s.c4.Usage(t.Context(), ref)
		s.must(err)
		return used.CPUMillis > 0
	})
	if used.MemoryMiB < 20 || used.MemoryMiB > 48 || used.CPUMillis > 3000 {
		t.Errorf("it uses %+v", used)
	}
	s.must(s.fake.ChangeVM("", "vm", fakeatomos.Change{Slots: 2, MemoryMiB: 50}))
	s.must(s.c4.Reboot(t.Context(), ref))
	s.eventually("it has booted again", func() bool { return s.ask(address, "/boots") == "2 2" })
	if r := s.container(ref).HostConfig.Resources; r.Memory != 50<<20 || float64(r.CPUQuota)/float64(r.CPUPeriod) != 2 {
		t.Errorf("after a change of the VM the limits are %+v", r)
	}
	s.ask(address, "/hold?mib=200") // more than there is
	s.eventually("it dies of hunger", func() bool { return s.vm(s.c4, ref).State == c4.ShutOff })
	if used, err := s.c4.Usage(t.Context(), ref); err != nil || used.CPUMillis != 0 || used.MemoryMiB != 0 {
		t.Errorf("without power it uses %+v, %v", used, err)
	}
}

func TestADiskOutlivesPower(t *testing.T) {
	s := newLab(t).start(nil)
	ref := s.register(s.c4, order{name: "vm"})
	address := s.up(s.c4, ref)
	boots := func() string { return s.ask(address, "/boots") } // as its two disks count
	wantBoots := func(want string) {
		t.Helper()
		s.eventually(want+" boots", func() bool { return boots() == want })
	}
	off := func() bool { return s.vm(s.c4, ref).State == c4.ShutOff }
	wantBoots("1 1")
	s.must(s.c4.Stop(t.Context(), ref))
	s.eventually("it has shut down", off)
	if c := s.container(ref); c.State.Running {
		t.Error("its container runs on")
	}
	s.must(s.c4.Start(t.Context(), ref))
	wantBoots("2 2")
	s.must(s.c4.Reboot(t.Context(), ref))
	wantBoots("3 3")
	s.must(s.fake.CrashVM("", "vm"))
	if boots() != "" || !off() {
		t.Error("it survived a crash")
	}
	s.must(s.c4.Start(t.Context(), ref))
	wantBoots("4 4")
	s.host.Down()
	if boots() != "" {
		t.Error("it outlived its host's power")
	}
	s.must(s.host.Up())
	wantBoots("5 5")
	s.must(s.fake.VanishVM("", "vm", true))
	if left := s.left(); len(left) > 0 {
		t.Errorf("a VM that vanished left %q", left)
	}
}

func TestAGuestMaySwitchItselfOffAndReboot(t *testing.T) {
	s := newLab(t).start(nil)
	ref := s.register(s.c4, order{name: "vm"})
	address := s.up(s.c4, ref)
	s.ask(address, "/reboot")
	s.eventually("it is back", func() bool { return s.ask(address, "/boots") == "2 2" })
	if vm := s.vm(s.c4, ref); vm.State != c4.Running {
		t.Errorf("after a reboot of its own it is %s", vm.State)
	}
	s.ask(address, "/off")
	s.eventually("its VM is off", func() bool { return s.vm(s.c4, ref).State == c4.ShutOff })
	s.must(s.c4.Start(t.Context(), ref))
	s.eventually("it is back", func() bool { return s.ask(address, "/boots") == "3 3" })
}

func TestAGuestThatIsDeafRunsUntilItsPowerIsCut(t *testing.T) {
	s := newLab(t).start(func(g *guests.Options, _ *fakeatomos.Options) { g.ShutdownTimeout = 50 * time.Millisecond })
	ref := s.register(s.c4, order{name: "vm", userData: "deaf"})
	address := s.up(s.c4, ref)
	s.must(s.c4.Stop(t.Context(), ref))
	s.eventually("its host has given up", func() bool { return s.c4.Reboot(t.Context(), ref) == nil }) // which resets it
	s.eventually("it has booted again", func() bool { return s.ask(address, "/boots") == "2 2" })
	s.must(s.c4.Stop(t.Context(), ref))
	s.must(s.c4.Unregister(t.Context(), ref))
}

func TestAGuestWhoseNetworkIsCutRunsOn(t *testing.T) {
	s := newRootLab(t).start(nil)
	ref := s.register(s.c4, order{name: "vm"})
	address := s.up(s.c4, ref)
	routes := s.file(address, "/proc/net/route")
	s.must(s.fake.CutVM("", "vm"))
	if s.ask(address, "/boots") != "" {
		t.Error("it answers without a network")
	}
	if c := s.container(ref); !c.State.Running {
		t.Error("it does not run")
	}
	s.must(s.c4.Reboot(t.Context(), ref))
	s.eventually("it has rebooted", func() bool { return s.vm(s.c4, ref).Address != "" && s.listens(ref) })
	if s.ask(address, "/boots") != "" {
		t.Error("it answers after a reboot, without a network")
	}
	s.must(s.fake.MendVM("", "vm"))
	s.eventually("it answers again", func() bool { return s.ask(address, "/boots") == "2 2" })
	if now := s.file(address, "/proc/net/route"); now != routes {
		t.Errorf("its routes were\n%s and are\n%s", routes, now)
	}
}

func TestAGuestWhoseNetworkWasCutBeforeItsFirstBootHasNone(t *testing.T) {
	s := newRootLab(t).start(func(_ *guests.Options, o *fakeatomos.Options) {
		o.Faults = []fakeatomos.Fault{{Effect: fakeatomos.HangBoot, Times: 1}}
	})
	ref := s.register(s.c4, order{name: "vm"})
	s.eventually("its boot hangs", func() bool { return len(s.fake.Faults()) == 0 })
	s.must(s.fake.CutVM("", "vm"))
	s.eventually("it is reset", func() bool { return s.c4.Reboot(t.Context(), ref) == nil })
	var address string
	s.eventually("it has booted", func() bool {
		address = s.vm(s.c4, ref).Address
		return address != "" && s.listens(ref)
	})
	if s.ask(address, "/boots") != "" {
		t.Error("it answers without a network")
	}
	s.must(s.fake.MendVM("", "vm"))
	s.eventually("it answers", func() bool { return s.ask(address, "/boots") == "1 1" })
}

func TestTheNetworkOfAGuestThatIsElsewhereIsNotCut(t *testing.T) {
	l := newSerialLab(t) // DOCKER_HOST is everybody's
	boot := func(name string, address byte) (*guests.Guests, guest.VM) {
		t.Helper()
		g, err := guests.New(t.Context(), guests.Options{Network: l.name, Instance: l.name + name, Images: map[string]string{bootImage: l.image}})
		l.must(err)
		t.Cleanup(g.Close)
		vm := guest.VM{ID: strings.TrimPrefix(l.name, "elemento-test-") + name, Name: name, Image: bootImage, Bridged: true, Processors: 1, MemoryMiB: 64, Address: l.at(address)}
		l.must(g.Boot(t.Context(), vm))
		return g, vm
	}
	_, here := boot("here", 8)
	// An engine of another machine tells of processes whose numbers are others' here.
	t.Setenv("DOCKER_HOST", l.elsewhere(l.container(c4.VMRef{VMUID: here.ID}).State.Pid))
	g, there := boot("there", 9)
	up := func(vm guest.VM, boots string) {
		t.Helper()
		l.eventually(vm.Name+" is up", func() bool { return l.ask(vm.Address.String(), "/boots") == boots })
	}
	up(there, "1 1")
	if err := g.Cut(there.ID); !errors.Is(err, guests.ErrElsewhere) {
		t.Errorf("it is cut: %v", err)
	}
	up(here, "1 1")
	g.PowerOff(there.ID)
	l.must(g.Boot(t.Context(), there)) // as if nobody had wanted it cut
	up(there, "2 2")
}

func TestABootThatHangsHasNoGuest(t *testing.T) {
	s := newLab(t).start(func(_ *guests.Options, o *fakeatomos.Options) {
		o.Faults = []fakeatomos.Fault{{Effect: fakeatomos.HangBoot, Times: 1}}
	})
	ref := s.register(s.c4, order{name: "vm"})
	s.eventually("the boot hangs", func() bool { return len(s.fake.Faults()) == 0 })
	if left := s.left(); len(left) > 0 {
		t.Errorf("there is %q", left)
	}
	s.eventually("it can be reset", func() bool { return s.c4.Reboot(t.Context(), ref) == nil })
	s.up(s.c4, ref)
}

func TestWhatCannotBootSaysWhy(t *testing.T) {
	l := newLab(t)
	kept := filepath.Join(t.TempDir(), "history.jsonl")
	writer, err := history.Open(kept)
	l.must(err)
	t.Cleanup(func() { l.must(writer.Close()) })
	s := l.start(func(g *guests.Options, o *fakeatomos.Options) {
		o.History = writer
		g.Images["other"] = "elemento.cloud/no-such-image:1"
	})
	nat := c4.NAT
	for name, c := range map[string]struct {
		order order
		want  error
	}{
		"nat":     {order{mode: &nat}, guests.ErrNAT},
		"outside": {order{subnet: netip.MustParsePrefix("192.0.2.0/24")}, guests.ErrAddress},
		"imaged":  {order{image: "other"}, guests.ErrNoImage},
	} {
		c.order.name = name
		ref := s.register(s.c4, c.order)
		s.eventually("the history says that the guest failed", func() bool {
			why := ""
			_, err := history.Read(kept, 0, func(e history.Event) error {
				if e.Kind == history.VM && e.VM == name && e.Event == "failed" {
					why = string(e.Detail)
				}
				return nil
			})
			return err == nil && strings.Contains(why, c.want.Error())
		})
		if vm := s.vm(s.c4, ref); vm.State != c4.Running || vm.Address != "" {
			t.Errorf("%s: the VM is %+v", name, vm)
		}
		s.must(s.c4.Unregister(t.Context(), ref))
	}
}

func TestTheErrorsOfABootAreTyped(t *testing.T) {
	l := newLab(t)
	g, err := guests.New(t.Context(), guests.Options{Network: l.name})
	l.must(err)
	defer g.Close()
	for want, vm := range map[error]guest.VM{
		guests.ErrNoImage: {ID: "a", Name: "a", Bridged: true},
		guests.ErrNAT:     {ID: "b", Name: "b", KubernetesVersion: "v0.0.0", Address: l.subnet.Addr().Next()},
		guests.ErrAddress: {ID: "c", Name: "c", KubernetesVersion: "v0.0.0", Address: netip.MustParseAddr("192.0.2.1"), Bridged: true},
	} {
		if err := g.Boot(t.Context(), vm); !errors.Is(err, want) || !errors.Is(err, guest.ErrNotStarted) {
			t.Errorf("got %v, want %v", err, want)
		}
	}
	if _, err := guests.New(t.Context(), guests.Options{Network: l.name + "-not"}); err == nil {
		t.Error("a network that is not there is accepted")
	}
	if _, err := guests.New(t.Context(), guests.Options{}); err == nil {
		t.Error("no network is accepted")
	}
}

func TestGuestsOfAFakeThatWasKilled(t *testing.T) {
	for name, kept := range map[string]bool{"that keeps its state": true, "that forgets": false} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			addresses, err := fakeatomos.FreeAddresses(1)
			l.must(err)
			stateDir := ""
			if kept {
				stateDir = t.TempDir()
			}
			c, kill := l.process(stateDir, addresses[0])
			ref := l.register(c, order{name: "vm", userData: base64.StdEncoding.EncodeToString([]byte("x"))})
			address := l.up(c, ref)
			kill()
			if l.ask(address, "/boots") != "1 1" {
				t.Error("its guest went with it")
			}
			_, kill = l.process(stateDir, addresses[0])
			if !kept {
				if left := l.left(); len(left) > 0 {
					t.Errorf("the next one leaves %q", left)
				}
				return
			}
			l.eventually("the VM has booted again, from its disk", func() bool { return l.ask(address, "/boots") == "2 2" })
			kill()
			// The last one forgets, and so it removes what it finds.
			_, kill = l.process("", addresses[0])
			kill()
		})
	}
}

func TestTheDisksOfAFakeThatEndsAreKeptWithItsState(t *testing.T) {
	l := newLab(t)
	dir := t.TempDir()
	var ref c4.VMRef
	t.Run("first", func(t *testing.T) {
		first := *l
		first.T = t
		s := first.start(func(g *guests.Options, o *fakeatomos.Options) { o.StateDir, g.KeepDisks = dir, true })
		ref = s.register(s.c4, order{name: "vm"})
		s.up(s.c4, ref)
	})
	if c := l.container(ref); c.State.Running {
		t.Error("the guest outlived its fake")
	}
	s := l.start(func(_ *guests.Options, o *fakeatomos.Options) { o.StateDir = dir })
	address := s.up(s.c4, ref)
	if got := s.ask(address, "/boots"); got != "2 2" {
		t.Errorf("its boots are %s", got)
	}
}
