package fakeatomos_test

import (
	"testing"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/c4"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos"
)

func TestAFakeIsSteeredFromAnotherProcess(t *testing.T) {
	t.Parallel()
	f := start(t, 1, func(o *fakeatomos.Options) { o.Control = "127.0.0.1:0" })
	h := f.Hosts()[0]
	c := dial(t, h, "")
	ready := f.Ready()
	if len(ready.Hosts) != 1 || ready.Hosts[0].URL != h.URL() || ready.Hosts[0].Fingerprint != h.Fingerprint() || ready.Hosts[0].Domain != "d1" {
		t.Errorf("ready says %+v", ready)
	}
	control := fakeatomos.Connect(ready.Control)
	ctx := t.Context()
	vm := register(t, c, "vm", small())

	inventory, err := control.Inventory(ctx)
	succeed(t, err)
	if got := inventory.VM("vm"); len(got) != 1 || got[0].UID != vm.VMUID || got[0].Owner != owner ||
		got[0].RunningSince.Before(got[0].RegisterArrived) || got[0].RegisterArrived.IsZero() {
		t.Errorf("the inventory has %+v", got)
	}
	succeed(t, control.SetMaintenance(ctx, h.Name(), true))
	if info, err := c.Info(ctx); err != nil || !info.Maintenance {
		t.Errorf("maintenance is not shown: %v", err)
	}
	succeed(t, control.SetMaintenance(ctx, h.Name(), false))
	if info, err := c.Info(ctx); err != nil || info.Maintenance {
		t.Errorf("maintenance is still shown: %v", err)
	}
	succeed(t, control.Down(ctx, h.Name()))
	wantCode(t, c.Ping(ctx), c4.Unreachable)
	succeed(t, control.Up(ctx, h.Name()))
	succeed(t, c.Ping(ctx))
	if err := control.Down(ctx, "none"); err == nil {
		t.Error("a host that does not exist went down")
	}

	fault := fakeatomos.Fault{Call: "* matcher/stop", Effect: fakeatomos.DelayAfter, Delay: time.Millisecond, Times: 3}
	fault.ID, err = control.AddFault(ctx, fault)
	succeed(t, err)
	if list, err := control.Faults(ctx); err != nil || len(list) != 1 || list[0] != fault {
		t.Errorf("faults are %+v, %v; want %+v", list, err, fault)
	}
	if _, err := control.AddFault(ctx, fakeatomos.Fault{Effect: "Explode"}); err == nil {
		t.Error("a fault that makes no sense is accepted")
	}
	succeed(t, control.RemoveFaults(ctx, fault.ID))
	_, err = control.AddFault(ctx, fault)
	succeed(t, err)
	succeed(t, control.RemoveFaults(ctx, ""))
	if list, err := control.Faults(ctx); err != nil || len(list) != 0 {
		t.Errorf("faults are %+v, %v", list, err)
	}

	succeed(t, c.Stop(ctx, vm))
	calls, err := control.Calls(ctx)
	succeed(t, err)
	if got := calls[h.Name()]; got[registerCall] != 1 || got["POST matcher/stop"] != 1 || got["GET matcher/statusjson"] != 2 {
		t.Errorf("counted %v", got)
	}
}

func TestEveryEventComesThroughTheControlListener(t *testing.T) {
	t.Parallel()
	guests := newGreeters()
	f := start(t, 2, func(o *fakeatomos.Options) { o.Control, o.Guests = "127.0.0.1:0", guests })
	h, other := f.Hosts()[0], f.Hosts()[1].Name()
	c := dial(t, h, "")
	control := fakeatomos.Connect(f.ControlURL())
	ctx := t.Context()
	register(t, c, "vm", small())
	register(t, c, "gone", small())
	host := func() fakeatomos.HostInventory { return f.Inventory().Hosts[0] }
	pings := func() bool { return c.Ping(ctx) == nil }
	fits := func() bool { a, err := c.CanAllocate(ctx, small()); return err == nil && a.CanAllocate }
	third := func() error {
		_, err := c.Register(ctx, c4.RegisterRequest{ClientUID: owner, Name: "third", Pledge: small()})
		return err
	}
	tested := map[string]bool{}
	check := func(event string, err error, holds func() bool) {
		t.Helper()
		tested[event] = true
		if err != nil {
			t.Errorf("%s: %v", event, err)
		} else if !holds() {
			t.Errorf("%s has not happened: %+v", event, f.Inventory())
		}
	}
	check("host isolate", control.Isolate(ctx, h.Name()), func() bool { return !pings() && host().Isolated && host().Up })
	check("host reconnect", control.Reconnect(ctx, h.Name()), pings)
	check("host maintenance", control.SetMaintenance(ctx, h.Name(), true), func() bool { return host().Maintenance })
	check("host capacity", control.SetCapacity(ctx, h.Name(), 1, 1), func() bool { return !fits() })
	check("host capacity", control.SetCapacity(ctx, h.Name(), 0, 0), fits)
	check("host community", control.SetCommunity(ctx, h.Name(), true), func() bool { return c4.CodeOf(third()) == c4.LicenseRequired })
	check("host clock", control.ShiftClock(ctx, h.Name(), -24*time.Hour), func() bool {
		return control.SetCommunity(ctx, h.Name(), false) == nil && third() == nil && time.Since(vmsOf(t, c, owner)[2].Created) > 23*time.Hour
	})
	check("host slow", control.SetSlow(ctx, h.Name(), 50*time.Millisecond), func() bool {
		began := time.Now()
		return pings() && time.Since(began) >= 50*time.Millisecond
	})
	check("host slow", control.SetSlow(ctx, h.Name(), 0), pings)
	check("host boots", control.SetBootTime(ctx, h.Name(), 50*time.Millisecond), func() bool {
		succeed(t, c.Unregister(ctx, c4.VMRef{ClientUID: owner, VMUID: f.Inventory().VM("gone")[0].UID}))
		register(t, c, "gone", small())
		starts := f.Inventory().VM("gone")[0].RunningSince.IsZero()
		eventually(t, "the VM runs", func() bool { return f.Inventory().VM("gone")[0].State == c4.Running })
		vm := f.Inventory().VM("gone")[0]
		return starts && vm.RunningSince.Sub(vm.Created) >= 50*time.Millisecond
	})
	check("host blank", control.SetBlank(ctx, h.Name(), time.Hour), func() bool {
		listed := len(vmsOf(t, c, owner)) > 0
		succeed(t, control.Down(ctx, h.Name()))
		succeed(t, control.Up(ctx, h.Name()))
		hidden := len(vmsOf(t, c, owner)) == 0
		succeed(t, control.SetBlank(ctx, h.Name(), 0))
		succeed(t, control.Down(ctx, h.Name()))
		succeed(t, control.Up(ctx, h.Name()))
		return listed && hidden && len(vmsOf(t, c, owner)) > 0
	})
	cut := func() bool {
		guests.mu.Lock()
		defer guests.mu.Unlock()
		return guests.cut[f.Inventory().VM("vm")[0].UID]
	}
	check("vm cut", control.CutVM(ctx, h.Name(), "vm"), cut)
	check("vm mend", control.MendVM(ctx, "", "vm"), func() bool { return !cut() })
	check("vm crash", control.CrashVM(ctx, h.Name(), "vm"), func() bool { return f.Inventory().VM("vm")[0].State == c4.ShutOff })
	check("vm change", control.ChangeVM(ctx, "", "vm", fakeatomos.Change{Slots: 3}), func() bool { return f.Inventory().VM("vm")[0].Slots == 3 })
	check("vm vanish", control.VanishVM(ctx, "", "gone", true), func() bool { return len(f.Inventory().VM("gone")) == 0 })
	check("domain down", control.DomainDown(ctx, "d1"), func() bool { return !host().Up && !f.Inventory().Hosts[1].Up })
	check("domain up", control.DomainUp(ctx, "d1"), func() bool { return host().Up && f.Inventory().Hosts[1].Up })
	check("host wipe", control.Wipe(ctx, h.Name(), true), func() bool { return !host().Up && len(host().VMs) == 0 })
	check("host up", control.Up(ctx, h.Name()), pings)
	check("host down", control.Down(ctx, other), func() bool { return !f.Inventory().Hosts[1].Up })
	for kind, events := range map[string][]string{"host": fakeatomos.HostEvents(), "domain": fakeatomos.DomainEvents(), "vm": fakeatomos.VMEvents()} {
		for _, event := range events {
			if !tested[kind+" "+event] {
				t.Errorf("%s %s has no test", kind, event)
			}
		}
	}
	for what, err := range map[string]error{
		"a VM":     control.CrashVM(ctx, "", "none"),
		"a domain": control.DomainUp(ctx, "none"),
		"a host":   control.Isolate(ctx, "none"),
		"a change": control.ChangeVM(ctx, "", "vm", fakeatomos.Change{}),
	} {
		if err == nil {
			t.Errorf("%s that is not there is accepted", what)
		}
	}
}

func TestTheJournalTellsWhatChanged(t *testing.T) {
	t.Parallel()
	f := start(t, 1, func(o *fakeatomos.Options) { o.Control = "127.0.0.1:0" })
	h := f.Hosts()[0]
	c := dial(t, h, "")
	began := time.Now()
	vm := register(t, c, "vm", small())
	vmsOf(t, c, owner) // reading is not in the journal
	succeed(t, c.Stop(t.Context(), vm))
	wantCode(t, c.Stop(t.Context(), vm), c4.WrongState)
	wantCode(t, c.Unregister(t.Context(), c4.VMRef{ClientUID: stranger, VMUID: vm.VMUID}), c4.NotFound)
	entries, err := fakeatomos.Connect(f.ControlURL()).Journal(t.Context(), 0)
	succeed(t, err)
	want := []fakeatomos.JournalEntry{
		{Call: registerCall, Name: "vm", Owner: owner, Status: 200},
		{Call: "POST matcher/stop", Name: "vm", Owner: owner, Status: 200},
		{Call: "POST matcher/stop", Name: "vm", Owner: owner, Status: 409},
		{Call: "DELETE matcher/unregister", Name: "", Owner: stranger, Status: 404},
	}
	if len(entries) != len(want) {
		t.Fatalf("the journal has %+v", entries)
	}
	last := began
	for i, e := range entries {
		w := want[i]
		if e.Seq != int64(i+1) || e.Host != h.Name() || e.ID != vm.VMUID || e.Call != w.Call || e.Name != w.Name || e.Owner != w.Owner || e.Status != w.Status {
			t.Errorf("entry %d is %+v, want %+v", i, e, w)
		}
		if e.Arrived.Before(last) || e.Answered.Before(e.Arrived) {
			t.Errorf("entry %d arrived %s and was answered %s", i, e.Arrived, e.Answered)
		}
		last = e.Answered
	}
	if rest := f.Journal(3); len(rest) != 1 || rest[0].Seq != 4 {
		t.Errorf("after 3: %+v", rest)
	}
	if rest := f.Journal(4); len(rest) != 0 {
		t.Errorf("after 4: %+v", rest)
	}
}
