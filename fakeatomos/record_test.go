package fakeatomos_test

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/c4"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos/history"
)

// recorded is a fake that keeps a history, and how to read it.
func recorded(t *testing.T, edit func(*fakeatomos.Options)) (*fakeatomos.Fake, func() []history.Event) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "atomos.jsonl")
	kept, err := history.Open(path)
	succeed(t, err)
	t.Cleanup(func() { // after the fake's end
		if err := kept.Close(); err != nil {
			t.Error(err)
		}
	})
	f := start(t, 1, func(o *fakeatomos.Options) {
		o.History = kept
		if edit != nil {
			edit(o)
		}
	})
	return f, func() (events []history.Event) {
		t.Helper()
		_, err := history.Read(path, 0, func(e history.Event) error { events = append(events, e); return nil })
		succeed(t, err)
		return events
	}
}

// of are the events of a kind about something of that name.
func of(events []history.Event, kind history.Kind, name string) (found []string) {
	for _, e := range events {
		if e.Kind == kind && (e.VM == name || e.Name == name || e.Host == name) {
			found = append(found, e.Event)
		}
	}
	return found
}

func wantEvents(t *testing.T, events []history.Event, kind history.Kind, name, want string) {
	t.Helper()
	if got := strings.Join(of(events, kind, name), " "); got != want {
		t.Errorf("of %s %s the history has %q, want %q", kind, name, got, want)
	}
}

func TestTheHistoryHasTheWholeLifeOfEveryVM(t *testing.T) {
	t.Parallel()
	f, read := recorded(t, func(o *fakeatomos.Options) { o.Guests, o.BootTime = newGreeters(), 5*time.Millisecond })
	h := f.Hosts()[0]
	c := dial(t, h, "")
	ctx := t.Context()
	n := bridge(t, c, 24)
	vms := map[string]c4.VM{}
	for _, name := range []string{"stopped", "rebooted", "crashed", "changed", "vanished", "attached"} {
		vms[name] = on(t, c, name, n)
	}
	ref := func(name string) c4.VMRef { return c4.VMRef{ClientUID: owner, VMUID: vms[name].UID} }
	up := func(name string) func() bool {
		return func() bool { vm := f.Inventory().VM(name)[0]; return !vm.BootedAt.IsZero() }
	}
	succeed(t, c.Stop(ctx, ref("stopped")))
	eventually(t, "it is off", func() bool { return f.Inventory().VM("stopped")[0].State == c4.ShutOff })
	succeed(t, c.Start(ctx, ref("stopped")))
	eventually(t, "it is up", up("stopped"))
	succeed(t, c.Unregister(ctx, ref("stopped")))
	succeed(t, c.Reboot(ctx, ref("rebooted")))
	eventually(t, "it is up", up("rebooted"))
	succeed(t, f.CrashVM("", "crashed"))
	succeed(t, f.ChangeVM("", "changed", fakeatomos.Change{Slots: 1}))
	succeed(t, f.VanishVM("", "vanished", false))
	data, err := c.CreateVolume(ctx, volume("data"))
	succeed(t, err)
	succeed(t, c.Attach(ctx, c4.AttachRequest{ClientUID: owner, VMUID: vms["attached"].UID, VolumeID: data}))
	succeed(t, c.Detach(ctx, c4.AttachRequest{ClientUID: owner, VMUID: vms["attached"].UID, VolumeID: data}))
	h.Down()
	succeed(t, h.Up())
	for _, name := range []string{"rebooted", "crashed", "changed", "attached"} {
		eventually(t, "it is up again", up(name))
	}
	h.Wipe(true)

	events := read()
	const born, reborn, wiped = "made started running booted", " started running booted", " crashed vanished"
	for name, life := range map[string]string{
		"stopped":  born + " stopping off" + reborn + " off removed",
		"rebooted": born + " rebooted running booted crashed" + reborn + wiped,
		"crashed":  born + " crashed" + reborn + wiped,
		"changed":  born + " changed crashed" + reborn + wiped,
		"vanished": born + " off vanished",
		"attached": born + " changed changed crashed" + reborn + wiped,
	} {
		wantEvents(t, events, history.VM, name, life)
	}
	for _, e := range events {
		if vm := vms[e.VM]; e.Kind == history.VM && (e.UID != vm.UID || e.Owner != owner || e.Host != h.Name() || e.Address != vm.Address || e.Time.IsZero()) {
			t.Errorf("an event is %+v, of %+v", e, vm)
		}
	}
	wantEvents(t, events, history.Host, h.Name(), "up down up down wiped")
	wantEvents(t, events, history.Volume, "data", "made removed")
	wantEvents(t, events, history.Network, n.Name, "made removed")
	if !slices.IsSortedFunc(events, func(a, b history.Event) int {
		if a.Kind == history.Call || b.Kind == history.Call {
			return 0 // is written when it ends and told by its begin
		}
		return a.Time.Compare(b.Time)
	}) {
		t.Error("the events are out of order")
	}
}

func TestTheHistoryHasVolumesSeedsNetworksAndForwards(t *testing.T) {
	t.Parallel()
	f, read := recorded(t, nil)
	c := dial(t, f.Hosts()[0], "")
	ctx := t.Context()
	vm := populate(t, c)
	inv := f.Inventory().Hosts[0]
	succeed(t, c.Unregister(ctx, c4.VMRef{ClientUID: owner, VMUID: vm.UID}))
	first := inv.Forwards[0]
	second, err := c.CreateForward(ctx, c4.Forward{CreatorUID: owner, Protocol: "tcp", Port: first.Port, Target: "127.0.0.1", TargetPort: 1, Force: true})
	succeed(t, err)
	succeed(t, c.DeleteForward(ctx, second.ForwardUID))
	for _, v := range inv.Volumes {
		if v.Name != "free" {
			succeed(t, c.DestroyVolume(ctx, v.ID))
		}
	}
	succeed(t, c.DeleteNetwork(ctx, inv.Networks[0].NetworkUID))
	events := read()
	wantEvents(t, events, history.Volume, "boot", "made removed")
	wantEvents(t, events, history.Volume, "seed", "made changed changed removed") // a file each
	wantEvents(t, events, history.Volume, "free", "made changed")                 // exported
	wantEvents(t, events, history.Network, inv.Networks[0].Name, "made removed")
	wantEvents(t, events, history.Forward, f.Hosts()[0].Name(), "made removed made removed")
	for _, e := range events {
		if e.Kind != history.Call && e.Kind != history.Host && (e.UID == "" || e.Owner != owner && e.Kind != history.Network || e.Host == "") {
			t.Errorf("who and what is missing: %+v", e)
		}
	}
}

func TestTheHistoryHasEveryCallAsItsHostSawIt(t *testing.T) {
	t.Parallel()
	f, read := recorded(t, nil)
	h := f.Hosts()[0]
	c := dial(t, h, "")
	id := addFault(t, f, fakeatomos.Fault{Name: "lost", Call: registerCall, Times: 1, Effect: fakeatomos.LoseReply})
	_, err := c.Register(t.Context(), c4.RegisterRequest{ClientUID: owner, Name: "vm", Pledge: small()})
	wantCode(t, err, c4.Unknown)
	for range 3 {
		vmsOf(t, c, owner)
		vmsOf(t, c, stranger)
	}
	vm := f.Inventory().VM("vm")[0]
	wantCode(t, c.Start(t.Context(), c4.VMRef{ClientUID: owner, VMUID: vm.UID}), c4.WrongState)
	vmsOf(t, c, owner)
	succeed(t, f.CrashVM("", "vm"))
	vmsOf(t, c, owner)
	type line struct {
		call, owner, vm, uid string
		status               int
		applied              bool
	}
	var got []line
	for _, e := range read() {
		if e.Kind != history.Call {
			continue
		}
		got = append(got, line{e.Call, e.Owner, e.VM, e.UID, e.Status, e.Applied})
		if e.Host != h.Name() || e.Ended.Before(e.Time) || e.Call == registerCall && (len(e.Faults) != 1 || e.Faults[0] != id) {
			t.Errorf("a call is %+v", e)
		}
	}
	const running = "GET matcher/running"
	if want := []line{
		{registerCall, owner, "vm", vm.UID, 200, true},
		{running, owner, "", "", 200, false}, {running, stranger, "", "", 200, false}, // and not what says the same again
		{"POST matcher/start", owner, "vm", vm.UID, 409, false},
		{running, owner, "", "", 200, false},
	}; !slices.Equal(got, want) {
		t.Errorf("the history has %+v, want %+v", got, want)
	}
}

func TestTheHistoryHasEveryFault(t *testing.T) {
	t.Parallel()
	f, read := recorded(t, func(o *fakeatomos.Options) {
		o.Faults = []fakeatomos.Fault{{Name: "from the start", Effect: fakeatomos.Refuse, Status: 503, Call: "GET matcher/", Times: 2}}
	})
	h := f.Hosts()[0]
	c := dial(t, h, "")
	for range 2 {
		wantCode(t, c.Ping(t.Context()), c4.Unavailable)
	}
	id := addFault(t, f, fakeatomos.Fault{Effect: fakeatomos.HangBoot})
	register(t, c, "vm", small())
	f.RemoveFaults("")
	events := read()
	wantEvents(t, events, history.Fault, "from the start", "added fired fired removed")
	wantEvents(t, events, history.Fault, id, "added fired removed")
	for _, e := range events {
		var fault fakeatomos.Fault
		if e.Kind != history.Fault {
			continue
		}
		if err := json.Unmarshal(e.Detail, &fault); err != nil || fault.ID != e.ID {
			t.Errorf("%+v: the fault is %s", e, e.Detail)
		}
		if boots := e.ID == id; e.Event == "fired" && (e.Host != h.Name() || boots != (e.VM == "vm" && e.Owner == owner && e.UID != "") || boots != (e.Call == "")) {
			t.Errorf("it fired at %+v", e)
		}
	}
}

func TestTheHistoryHasWhatBefallsAHost(t *testing.T) {
	t.Parallel()
	f, read := recorded(t, nil)
	h := f.Hosts()[0]
	h.Isolate()
	succeed(t, h.Reconnect())
	h.SetMaintenance(true)
	h.SetMaintenance(false)
	h.SetSlow(time.Millisecond)
	h.SetCapacity(1, 1)
	h.SetCommunity(true)
	h.ShiftClock(time.Hour)
	f.Close()
	wantEvents(t, read(), history.Host, h.Name(), "up isolated reachable maintenance normal slow capacity community clock down")
}
