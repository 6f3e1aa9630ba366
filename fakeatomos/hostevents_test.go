package fakeatomos_test

import (
	"context"
	"testing"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/c4"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos"
)

func TestTheVMsOfAnIsolatedHostRunOn(t *testing.T) {
	t.Parallel()
	f := start(t, 1, func(o *fakeatomos.Options) { o.Guests = newGreeters() })
	h := f.Hosts()[0]
	c := dial(t, h, "")
	vm := populate(t, c)
	since := f.Inventory().VM("vm")[0].RunningSince
	h.Isolate()
	h.Isolate() // again changes nothing
	wantCode(t, c.Ping(t.Context()), c4.Unreachable)
	if got := greet(t, h.Address().String(), vm.Address, 4000); got != "vm" {
		t.Errorf("the guest says %q", got)
	}
	if now := f.Inventory().Hosts[0]; !now.Up || !now.Isolated || now.VMs[0].State != c4.Running {
		t.Errorf("the host is %+v", now)
	}
	succeed(t, h.Reconnect())
	succeed(t, h.Reconnect()) // again changes nothing
	if after := vmsOf(t, c, owner)[0]; after.UID != vm.UID || after.State != c4.Running || !f.Inventory().VM("vm")[0].RunningSince.Equal(since) {
		t.Errorf("the VM was %+v and is %+v", vm, after)
	}
}

func TestACallToAHostThatIsIsolatedMeanwhileHasItsEffect(t *testing.T) {
	t.Parallel()
	f := start(t, 1, nil)
	h := f.Hosts()[0]
	c := dial(t, h, "")
	addFault(t, f, fakeatomos.Fault{Call: registerCall, Times: 1, Effect: fakeatomos.DelayBefore, Delay: 200 * time.Millisecond})
	failed := make(chan error)
	go func() {
		_, err := c.Register(t.Context(), c4.RegisterRequest{ClientUID: owner, Name: "late", Pledge: small()})
		failed <- err
	}()
	eventually(t, "the call is under way", func() bool { return f.Calls()[h.Name()][registerCall] == 1 })
	h.Isolate()
	wantCode(t, <-failed, c4.Unknown)
	eventually(t, "the register lands", func() bool { return len(f.Inventory().VM("late")) == 1 })
}

func TestPowerAndIsolationAreApart(t *testing.T) {
	t.Parallel()
	f := start(t, 1, nil)
	h := f.Hosts()[0]
	c := dial(t, h, "")
	register(t, c, "vm", small())
	h.Isolate()
	h.Down()
	succeed(t, h.Up())
	wantCode(t, c.Ping(t.Context()), c4.Unreachable)
	if got := f.Inventory().VM("vm")[0].State; got != c4.Running {
		t.Errorf("the VM of a host that came back isolated is %s", got)
	}
	h.Down()
	succeed(t, h.Reconnect())
	wantCode(t, c.Ping(t.Context()), c4.Unreachable)
	succeed(t, h.Up())
	succeed(t, c.Ping(t.Context()))
}

func TestASlowHostHoldsEveryCallUp(t *testing.T) {
	t.Parallel()
	f := start(t, 1, nil)
	h := f.Hosts()[0]
	c := dial(t, h, "")
	h.SetSlow(time.Hour)
	ctx, giveUp := context.WithCancel(t.Context())
	failed := make(chan error)
	go func() { failed <- c.Ping(ctx) }()
	eventually(t, "the call is under way", func() bool { return f.Calls()[h.Name()]["GET matcher/"] == 1 })
	giveUp()
	wantCode(t, <-failed, c4.Unknown)
	const pause = 60 * time.Millisecond
	h.SetSlow(pause)
	began := time.Now()
	register(t, c, "vm", small())
	if took := time.Since(began); took < pause {
		t.Errorf("took %s", took)
	}
	h.SetSlow(0)
	began = time.Now()
	succeed(t, c.Ping(t.Context()))
	if took := time.Since(began); took >= time.Minute {
		t.Errorf("took %s", took)
	}
}

func TestCapacityThatIsGoneIsGoneForNewVMs(t *testing.T) {
	t.Parallel()
	f := start(t, 1, nil)
	h := f.Hosts()[0]
	c := dial(t, h, "")
	ctx := t.Context()
	register(t, c, "first", small()) // 2 slots, 1024 MiB
	try := func() error {
		_, err := c.Register(ctx, c4.RegisterRequest{ClientUID: owner, Name: "more", Pledge: small()})
		return err
	}
	for _, tc := range []struct {
		slots     int
		memoryMiB int64
		fits      bool
	}{{1, 1, false}, {3, 0, false}, {0, 2047, false}, {4, 2048, true}, {5, 4096, false}, {0, 0, true}} {
		h.SetCapacity(tc.slots, tc.memoryMiB)
		room, err := c.CanAllocate(ctx, small())
		succeed(t, err)
		if room.CanAllocate != tc.fits {
			t.Errorf("%+v: the host says %+v", tc, room)
		}
		if err := try(); tc.fits != (err == nil) {
			t.Errorf("%+v: %v", tc, err)
		} else if err != nil {
			wantCode(t, err, c4.CannotPlace)
		}
	}
	h.SetCapacity(0, 1)
	info, err := c.Info(ctx)
	succeed(t, err)
	if info.Mem.Avail != 0 || len(vmsOf(t, c, owner)) != 3 {
		t.Errorf("the host shows %+v and has %d VMs", info.Mem, len(vmsOf(t, c, owner)))
	}
}

func TestAHostThatBecomesCommunityTakesNoThirdVM(t *testing.T) {
	t.Parallel()
	f := start(t, 1, nil)
	h := f.Hosts()[0]
	c := dial(t, h, "")
	for _, name := range []string{"a", "b", "c"} {
		register(t, c, name, small())
	}
	h.SetCommunity(true)
	_, err := c.Register(t.Context(), c4.RegisterRequest{ClientUID: owner, Name: "d", Pledge: small()})
	wantCode(t, err, c4.LicenseRequired)
	h.SetCommunity(false)
	register(t, c, "d", small())
}

func TestAClockThatJumpsDatesWhatIsMade(t *testing.T) {
	t.Parallel()
	f := start(t, 1, nil)
	h := f.Hosts()[0]
	c := dial(t, h, "")
	h.ShiftClock(-3 * time.Hour)
	h.ShiftClock(time.Hour) // on top
	register(t, c, "vm", small())
	id, err := c.CreateVolume(t.Context(), volume("v"))
	succeed(t, err)
	_, err = c.Volume(t.Context(), id) // at once: it was made now, not two hours ago
	succeed(t, err)
	shown := vmsOf(t, c, owner)[0].Created
	if ago := time.Since(shown); ago < 2*time.Hour-time.Minute || ago > 2*time.Hour+time.Minute {
		t.Errorf("the VM is dated %s ago", ago)
	}
	if truth := f.Inventory().VM("vm")[0].Created; time.Since(truth) > time.Minute {
		t.Errorf("the inventory says %s", truth)
	}
	h.ShiftClock(2 * time.Hour)
	if again := vmsOf(t, c, owner)[0].Created; !again.Equal(shown) {
		t.Errorf("the VM is dated %s and was %s", again, shown)
	}
}

func TestAHostComesBackWithoutItsVMs(t *testing.T) {
	t.Parallel()
	for name, disks := range map[string]bool{"its disks survive": false, "its disks are lost": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			guests := newGreeters()
			f := start(t, 1, func(o *fakeatomos.Options) { o.Guests, o.StateDir = guests, t.TempDir() })
			h := f.Hosts()[0]
			c := dial(t, h, "")
			vm := populate(t, c)
			had := f.Inventory().Hosts[0]
			h.Wipe(disks)
			wantCode(t, c.Ping(t.Context()), c4.Unreachable)
			succeed(t, h.Up())
			has := f.Inventory().Hosts[0]
			if len(vmsOf(t, c, owner)) != 0 || len(has.VMs) != 0 || guests.boot(vm.UID).ID != "" {
				t.Errorf("it has VMs: %+v", has.VMs)
			}
			if disks && len(has.Volumes)+len(has.Networks)+len(has.Forwards) > 0 {
				t.Errorf("it has %+v", has)
			}
			if !disks && (len(has.Volumes) != len(had.Volumes) || len(has.Networks) != 1 || len(has.Forwards) != 1) {
				t.Errorf("it had %+v and has %+v", had, has)
			}
		})
	}
}

func TestAWholeDomainGoesAndComesBack(t *testing.T) {
	t.Parallel()
	f := start(t, 3, func(o *fakeatomos.Options) { o.Hosts[1].Domain = "d2" })
	up := func() (names string) {
		for _, h := range f.Inventory().Hosts {
			if h.Up {
				names += h.Name + " "
			}
		}
		return names
	}
	succeed(t, f.DomainDown("d1"))
	if got := up(); got != "host-b " {
		t.Errorf("up are %s", got)
	}
	succeed(t, f.DomainUp("d1"))
	if got := up(); got != "host-a host-b host-c " {
		t.Errorf("up are %s", got)
	}
	if f.DomainDown("d3") == nil || f.DomainUp("") == nil {
		t.Error("a domain without hosts is taken for one")
	}
}
