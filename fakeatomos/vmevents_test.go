package fakeatomos_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/c4"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos/guest"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos/history"
)

func TestAVMThatCrashesIsOffUntilItIsStarted(t *testing.T) {
	t.Parallel()
	f := start(t, 1, func(o *fakeatomos.Options) { o.Guests, o.StopTime = newGreeters(), time.Hour })
	h := f.Hosts()[0]
	c := dial(t, h, "")
	vm := populate(t, c)
	succeed(t, f.CrashVM("", "vm"))
	if got := stateOf(t, c); got != c4.ShutOff {
		t.Errorf("it is %s", got)
	}
	if greet(t, h.Address().String(), vm.Address, 4000) != "" {
		t.Error("its guest runs on")
	}
	succeed(t, c.Start(t.Context(), c4.VMRef{ClientUID: owner, VMUID: vm.UID}))
	eventually(t, "it is up again", func() bool { return greet(t, h.Address().String(), vm.Address, 4000) == "vm" })
}

func TestAVMThatVanishesLeavesItsVolumesOrNot(t *testing.T) {
	t.Parallel()
	for name, volumes := range map[string]bool{"alone": false, "with its volumes": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := start(t, 1, func(o *fakeatomos.Options) { o.Guests = newGreeters() })
			c := dial(t, f.Hosts()[0], "")
			vm := populate(t, c)
			shared := volume("shared")
			shared.Shareable = true
			id, err := c.CreateVolume(t.Context(), shared)
			succeed(t, err)
			succeed(t, f.ChangeVM("", vm.UID, fakeatomos.Change{AttachVolume: id}))
			_, err = c.Register(t.Context(), c4.RegisterRequest{ClientUID: owner, Name: "other", Pledge: small(), Volumes: []c4.Volume{{VolumeID: id}}})
			succeed(t, err)
			succeed(t, f.VanishVM(f.Hosts()[0].Name(), vm.UID, volumes))
			if got := vmsOf(t, c, owner); len(got) != 1 || got[0].Name != "other" {
				t.Errorf("there is %+v", got)
			}
			wantCode(t, c.Unregister(t.Context(), c4.VMRef{ClientUID: owner, VMUID: vm.UID}), c4.NotFound)
			var left []string
			list, err := c.Volumes(t.Context(), owner)
			succeed(t, err)
			for _, v := range list {
				left = append(left, v.Name)
			}
			want := []string{"boot", "seed", "free", "shared"}
			if volumes {
				want = []string{"free", "shared"}
			}
			if !slices.Equal(left, want) {
				t.Errorf("the volumes %q are left, want %q", left, want)
			}
		})
	}
}

func TestAVMIsChangedByHand(t *testing.T) {
	t.Parallel()
	f := start(t, 1, nil)
	c := dial(t, f.Hosts()[0], "")
	ctx := t.Context()
	vm := populate(t, c)
	data, err := c.CreateVolume(ctx, volume("data"))
	succeed(t, err)
	second, err := c.CreateNetwork(ctx, networkOf(prefix(t, 24), nat()))
	succeed(t, err)
	succeed(t, f.ChangeVM("", "vm", fakeatomos.Change{Slots: 5, MemoryMiB: 4096, AttachVolume: data, AttachNetwork: second.NetworkUID}))
	got := vmsOf(t, c, owner)[0]
	if got.Slots != 5 || got.MemoryMiB != 4096 || len(got.Volumes) != 3 || len(got.Networks) != 2 || got.State != c4.Running {
		t.Errorf("the VM is %+v", got)
	}
	if in := f.Inventory().VM("vm")[0]; len(in.Threads) != 5 {
		t.Errorf("it has the threads %v", in.Threads)
	}
	succeed(t, f.ChangeVM("", "vm", fakeatomos.Change{Slots: 1, DetachVolume: data, DetachNetwork: second.NetworkUID}))
	got = vmsOf(t, c, owner)[0]
	if got.Slots != 1 || got.MemoryMiB != 4096 || len(got.Volumes) != 2 || len(got.Networks) != 1 || got.Address != vm.Address {
		t.Errorf("the VM is %+v", got)
	}
	before := f.Inventory()
	for _, bad := range []fakeatomos.Change{
		{}, {Slots: -1}, {MemoryMiB: -1}, {Slots: 300}, {MemoryMiB: 1 << 40}, {AttachVolume: "none"}, {DetachVolume: data},
		{AttachNetwork: "none"}, {DetachNetwork: second.NetworkUID}, {Slots: 2, AttachVolume: data, AttachNetwork: "none"},
		{AttachNetwork: second.NetworkUID, DetachNetwork: "none"},
	} {
		if f.ChangeVM("", "vm", bad) == nil {
			t.Errorf("%+v is accepted", bad)
		}
	}
	if after := f.Inventory(); !slices.Equal(after.VM("vm")[0].Volumes, before.VM("vm")[0].Volumes) || after.VM("vm")[0].Slots != 1 {
		t.Errorf("a change that is refused made %+v", after.VM("vm")[0])
	}
	succeed(t, c.DestroyVolume(ctx, data))
}

func TestWhatBefallsNoVMIsAnError(t *testing.T) {
	t.Parallel()
	f := start(t, 2, nil)
	register(t, dial(t, f.Hosts()[0], ""), "vm", small())
	elsewhere := f.Hosts()[1].Name()
	for what, err := range map[string]error{
		"no VM":             f.CrashVM("", "none"),
		"another host's":    f.VanishVM(elsewhere, "vm", true),
		"a host of no name": f.ChangeVM("none", "vm", fakeatomos.Change{Slots: 1}),
	} {
		if err == nil {
			t.Errorf("%s is accepted", what)
		}
	}
	if len(f.Inventory().VM("vm")) != 1 {
		t.Error("the VM is gone")
	}
}

func TestSeveralVMsOfOneNameAreAllMeant(t *testing.T) {
	t.Parallel()
	f := start(t, 2, nil)
	for _, h := range f.Hosts() {
		register(t, dial(t, h, ""), "vm", small())
	}
	succeed(t, f.CrashVM("", "vm"))
	for _, vm := range f.Inventory().VM("vm") {
		if vm.State != c4.ShutOff {
			t.Errorf("%+v runs on", vm)
		}
	}
	succeed(t, f.VanishVM(f.Hosts()[0].Name(), "vm", false))
	if left := f.Inventory().VM("vm"); len(left) != 1 {
		t.Errorf("left are %+v", left)
	}
}

func TestABootThatHangsIsEndedByAReboot(t *testing.T) {
	t.Parallel()
	for name, guests := range map[string]bool{"with a guest": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			greeters := newGreeters()
			f := start(t, 1, func(o *fakeatomos.Options) {
				if guests {
					o.Guests = greeters
				}
			})
			c := dial(t, f.Hosts()[0], "")
			n := bridge(t, c, 24)
			addFault(t, f, fakeatomos.Fault{VM: "hangs", Owner: owner, Times: 1, Effect: fakeatomos.HangBoot})
			on(t, c, "other", n)
			uid, err := c.Register(t.Context(), c4.RegisterRequest{ClientUID: owner, Name: "hangs", Pledge: small(), Networks: []c4.NetworkRef{{NetworkUID: n.NetworkUID}}})
			succeed(t, err)
			eventually(t, "it has begun to boot", func() bool { return len(f.Faults()) == 0 })
			ref := c4.VMRef{ClientUID: owner, VMUID: uid}
			succeed(t, c.Stop(t.Context(), ref)) // which it does not heed
			if vm := vmsOf(t, c, owner)[1]; vm.State != c4.Running || vm.Address != "" || greeters.boot(uid).ID != "" {
				t.Errorf("a VM whose boot hangs is %+v", vm)
			}
			succeed(t, c.Reboot(t.Context(), ref))
			eventually(t, "it is up", func() bool { return vmsOf(t, c, owner)[1].Address != "" })
			succeed(t, c.Stop(t.Context(), ref))
			eventually(t, "it is off", func() bool { return vmsOf(t, c, owner)[1].State == c4.ShutOff })
		})
	}
}

func TestAnAddressThatIsHiddenIsNeverGiven(t *testing.T) {
	t.Parallel()
	f := start(t, 1, func(o *fakeatomos.Options) { o.Guests = newGreeters() })
	h := f.Hosts()[0]
	c := dial(t, h, "")
	n := bridge(t, c, 24)
	addFault(t, f, fakeatomos.Fault{VM: "vm", Times: 1, Effect: fakeatomos.HideAddress})
	uid, err := c.Register(t.Context(), c4.RegisterRequest{ClientUID: owner, Name: "vm", Pledge: small(), Networks: []c4.NetworkRef{{NetworkUID: n.NetworkUID}}})
	succeed(t, err)
	var address string
	eventually(t, "the guest is up", func() bool {
		vm := f.Inventory().VM("vm")[0]
		address = vm.Address
		return !vm.BootedAt.IsZero()
	})
	if got := greet(t, h.Address().String(), address, 4000); got != "vm" {
		t.Errorf("the guest says %q", got)
	}
	shown, err := c.Network(t.Context(), n.NetworkUID)
	succeed(t, err)
	if vm := vmsOf(t, c, owner)[0]; vm.State != c4.Running || vm.Address != "" || len(shown.IP.DHCP.Hosts) != 0 {
		t.Errorf("C4 shows %+v and the leases %+v", vm, shown.IP.DHCP.Hosts)
	}
	succeed(t, c.Reboot(t.Context(), c4.VMRef{ClientUID: owner, VMUID: uid}))
	eventually(t, "the next boot shows it", func() bool { return vmsOf(t, c, owner)[0].Address == address })
}

func TestTheNetworkOfAVMIsCutAndMended(t *testing.T) {
	t.Parallel()
	f := start(t, 1, func(o *fakeatomos.Options) { o.Guests = newGreeters() })
	h := f.Hosts()[0]
	vm := populate(t, dial(t, h, ""))
	says := func() string { return greet(t, h.Address().String(), vm.Address, 4000) }
	succeed(t, f.CutVM("", "vm"))
	if got := says(); got != "" {
		t.Errorf("without a network the guest says %q", got)
	}
	if now := f.Inventory().VM("vm")[0]; now.State != c4.Running {
		t.Errorf("it is %s", now.State)
	}
	succeed(t, f.MendVM("", "vm"))
	if got := says(); got != "vm" {
		t.Errorf("with its network again the guest says %q", got)
	}
	if err := f.CutVM("", "none"); err == nil {
		t.Error("a VM that is not there was cut off")
	}
	if err := start(t, 1, nil).CutVM("", "vm"); err == nil {
		t.Error("what has no guest was cut off")
	}
}

func TestAGuestThatDoesNotHeedTheButtonRunsOn(t *testing.T) {
	t.Parallel()
	guests := newGreeters()
	guests.deaf = true
	f, events := recorded(t, func(o *fakeatomos.Options) { o.Guests = guests })
	h := f.Hosts()[0]
	c := dial(t, h, "")
	vm := populate(t, c)
	ref := c4.VMRef{ClientUID: owner, VMUID: vm.UID}
	succeed(t, c.Stop(t.Context(), ref))
	eventually(t, "the host has given up", func() bool { return c.Reboot(t.Context(), ref) == nil }) // it resets the guest
	eventually(t, "it is up again", func() bool { return vmsOf(t, c, owner)[0].Address != "" })
	if got := greet(t, h.Address().String(), vm.Address, 4000); got != "vm" {
		t.Errorf("the guest says %q", got)
	}
	succeed(t, c.Unregister(t.Context(), ref))
	wantEvents(t, events(), history.VM, "vm", "made started running booted stopping running rebooted running booted off removed")
}

func TestAGuestThatEndsByItselfLeavesItsVMOff(t *testing.T) {
	t.Parallel()
	guests := newGreeters()
	f, events := recorded(t, func(o *fakeatomos.Options) { o.Guests = guests })
	c := dial(t, f.Hosts()[0], "")
	vm := populate(t, c)
	guests.boot(vm.UID).Ended()
	guests.boot(vm.UID).Ended() // again changes nothing
	if got := stateOf(t, c); got != c4.ShutOff {
		t.Errorf("it is %s", got)
	}
	succeed(t, c.Start(t.Context(), c4.VMRef{ClientUID: owner, VMUID: vm.UID}))
	eventually(t, "it is up again", func() bool { return vmsOf(t, c, owner)[0].Address != "" })
	wantEvents(t, events(), history.VM, "vm", "made started running booted crashed started running booted")
}

func TestAVMWhoseGuestIsNotStartedRunsWithoutAnAddress(t *testing.T) {
	t.Parallel()
	guests := newGreeters()
	guests.fails = fmt.Errorf("no such image: %w", guest.ErrNotStarted)
	f, events := recorded(t, func(o *fakeatomos.Options) { o.Guests = guests })
	c := dial(t, f.Hosts()[0], "")
	n := bridge(t, c, 24)
	uid, err := c.Register(t.Context(), c4.RegisterRequest{ClientUID: owner, Name: "vm", Pledge: small(), Networks: []c4.NetworkRef{{NetworkUID: n.NetworkUID}}})
	succeed(t, err)
	failed := func() bool { return slices.Contains(of(events(), history.VM, "vm"), "failed") }
	eventually(t, "the history has it", failed)
	ref := c4.VMRef{ClientUID: owner, VMUID: uid}
	succeed(t, c.Stop(t.Context(), ref)) // which nobody heeds
	if vm := vmsOf(t, c, owner)[0]; vm.State != c4.Running || vm.Address != "" {
		t.Errorf("the VM is %+v", vm)
	}
	succeed(t, c.Unregister(t.Context(), ref))
	wantEvents(t, events(), history.VM, "vm", "made started running failed off removed")
}
