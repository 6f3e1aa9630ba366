package fakeatomos_test

import (
	"context"
	"encoding/json"
	"reflect"
	"slices"
	"testing"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/c4"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos"
)

func addFault(t *testing.T, f *fakeatomos.Fake, fault fakeatomos.Fault) string {
	t.Helper()
	id, err := f.AddFault(fault)
	succeed(t, err)
	return id
}

const registerCall = "POST matcher/register"

func TestALostReplyHasHadItsEffect(t *testing.T) {
	t.Parallel()
	f := start(t, 1, nil)
	c := dial(t, f.Hosts()[0], "")
	addFault(t, f, fakeatomos.Fault{Call: registerCall, Times: 2, Effect: fakeatomos.LoseReply})
	for range 2 {
		_, err := c.Register(t.Context(), c4.RegisterRequest{ClientUID: owner, Name: "vm", Pledge: small()})
		wantCode(t, err, c4.Unknown)
	}
	register(t, c, "vm", small())
	if got := len(vmsOf(t, c, owner)); got != 3 {
		t.Errorf("%d VMs, want 3", got)
	}
	if left := f.Faults(); len(left) != 0 {
		t.Errorf("a fault that is spent is in force: %+v", left)
	}
}

func TestACallTakesEffectAfterItsCallerGaveUp(t *testing.T) {
	t.Parallel()
	f := start(t, 1, nil)
	c := dial(t, f.Hosts()[0], "")
	addFault(t, f, fakeatomos.Fault{Call: registerCall, Times: 1, Effect: fakeatomos.DelayBefore, Delay: 200 * time.Millisecond})
	ctx, giveUp := context.WithCancel(t.Context())
	failed := make(chan error)
	go func() {
		_, err := c.Register(ctx, c4.RegisterRequest{ClientUID: owner, Name: "late", Pledge: small()})
		failed <- err
	}()
	eventually(t, "the call is under way", func() bool { return f.Calls()[f.Hosts()[0].Name()][registerCall] == 1 })
	giveUp()
	wantCode(t, <-failed, c4.Unknown)
	eventually(t, "the register lands", func() bool { return len(vmsOf(t, c, owner)) == 1 })
	entry := f.Journal(0)[0]
	if late := f.Inventory().VM("late")[0]; late.Created.Sub(late.RegisterArrived) < 200*time.Millisecond || !late.RegisterArrived.Equal(entry.Arrived) {
		t.Errorf("arrived %s, took effect %s", late.RegisterArrived, late.Created)
	}
}

func TestAHostThatLosesPowerForgetsCallsUnderWay(t *testing.T) {
	t.Parallel()
	f := start(t, 1, nil)
	h := f.Hosts()[0]
	c := dial(t, h, "")
	addFault(t, f, fakeatomos.Fault{Call: registerCall, Times: 1, Effect: fakeatomos.DelayBefore, Delay: time.Hour})
	failed := make(chan error)
	go func() {
		_, err := c.Register(t.Context(), c4.RegisterRequest{ClientUID: owner, Name: "vm", Pledge: small()})
		failed <- err
	}()
	eventually(t, "the call is under way", func() bool { return f.Calls()[h.Name()][registerCall] == 1 })
	h.Down()
	wantCode(t, <-failed, c4.Unknown)
	succeed(t, h.Up())
	if left := f.Inventory().Resources(); len(left) != 0 {
		t.Errorf("it happened all the same: %v", left)
	}
}

func TestAFaultMatchesSkipsAndEnds(t *testing.T) {
	t.Parallel()
	f := start(t, 2, nil)
	a, b := dial(t, f.Hosts()[0], ""), dial(t, f.Hosts()[1], "")
	addFault(t, f, fakeatomos.Fault{Call: "* matcher/statusjson", Host: f.Hosts()[0].Name(), Skip: 1, Times: 2, Effect: fakeatomos.Refuse, Status: 503})
	for i, want := range []bool{true, false, false, true} {
		_, err := a.Info(t.Context())
		if (err == nil) != want {
			t.Errorf("call %d: %v", i, err)
		}
		if err != nil {
			wantCode(t, err, c4.Unavailable)
		}
		succeed(t, b.Ping(t.Context()))
		_, err = b.Info(t.Context())
		succeed(t, err)
	}
}

func TestEachEffectIsSeenByTheCaller(t *testing.T) {
	t.Parallel()
	const pause = 50 * time.Millisecond
	for _, effect := range fakeatomos.Effects() {
		if effect == fakeatomos.HangBoot || effect == fakeatomos.HideAddress {
			continue // at no call
		}
		t.Run(string(effect), func(t *testing.T) {
			t.Parallel()
			f := start(t, 1, nil)
			c := dial(t, f.Hosts()[0], "")
			fault := fakeatomos.Fault{Call: registerCall, Effect: effect}
			var want c4.Code
			fails, happens, hangs, status := true, true, false, 200
			ctx, giveUp := context.WithCancel(t.Context())
			defer giveUp()
			switch effect {
			case fakeatomos.DelayBefore, fakeatomos.DelayAfter:
				fault.Delay, fails = pause, false
			case fakeatomos.Refuse:
				fault.Status, fault.Body, want, happens, status = 403, `{"error":"license_required"}`, c4.LicenseRequired, false, 403
			case fakeatomos.Pretend:
				fails, happens = false, false
			case fakeatomos.LoseRequest:
				want, happens, status = c4.Unknown, false, 0
			case fakeatomos.Hang, fakeatomos.HangAfter:
				hangs, want = true, c4.Unknown
				if effect == fakeatomos.Hang {
					happens, status = false, 0
				}
			case fakeatomos.MalformedReply, fakeatomos.WrongJSON:
				want = c4.Malformed
			case fakeatomos.LoseReply, fakeatomos.HalfReply:
				want = c4.Unknown
			case fakeatomos.NoContent:
				want, status = c4.CannotPlace, 204 // a lie: the VM is there
			default:
				t.Fatal("an effect without a test")
			}
			id := addFault(t, f, fault)
			began := time.Now()
			ended := make(chan error, 1)
			go func() {
				_, err := c.Register(ctx, c4.RegisterRequest{ClientUID: owner, Name: "vm", Pledge: small()})
				ended <- err
			}()
			if hangs {
				eventually(t, "the call is under way", func() bool { return f.Calls()[f.Hosts()[0].Name()][registerCall] == 1 })
				giveUp()
			}
			err := <-ended
			if fails {
				wantCode(t, err, want)
			} else if err != nil || time.Since(began) < fault.Delay {
				t.Errorf("after %s: %v", time.Since(began), err)
			}
			var entries []fakeatomos.JournalEntry
			eventually(t, "the call is in the journal", func() bool { entries = f.Journal(0); return len(entries) == 1 })
			if e := entries[0]; len(e.Faults) != 1 || e.Faults[0] != id || e.VM != "vm" || e.Owner != owner || e.Applied != happens {
				t.Errorf("the journal has %+v", e)
			} else if lost := effect == fakeatomos.LoseReply || effect == fakeatomos.HangAfter; !lost && e.Status != status {
				t.Errorf("the status is %d, want %d", e.Status, status)
			}
			if got := len(f.Inventory().VM("vm")) == 1; got != happens {
				t.Errorf("it happened: %v, want %v", got, happens)
			}
			f.RemoveFaults(id)
			register(t, c, "next", small())
		})
	}
}

func TestAHostThatPretendsDoesNothing(t *testing.T) {
	t.Parallel()
	const token = "secret"
	f := start(t, 1, func(o *fakeatomos.Options) { o.Token = token })
	c := dial(t, f.Hosts()[0], token)
	ctx := t.Context()
	vm := populate(t, c)
	ref := c4.VMRef{ClientUID: owner, VMUID: vm.UID}
	free, err := c.CreateVolume(ctx, volume("another"))
	succeed(t, err)
	seed, err := c.OpenSeed(ctx, c4.SeedRequest{CreatorID: owner, Name: "half", Private: true, Alg: "no", ExpectedFiles: 2}, []byte("x"))
	succeed(t, err)
	had := f.Inventory()
	held, network := had.Hosts[0].Volumes[0].ID, had.Hosts[0].Networks[0]
	addFault(t, f, fakeatomos.Fault{Effect: fakeatomos.Pretend})
	// ID and error of each call that changes something.
	calls := map[string]func() (string, error){
		registerCall: func() (string, error) {
			return c.Register(ctx, c4.RegisterRequest{ClientUID: owner, Name: "x", Pledge: small()})
		},
		"DELETE matcher/unregister": func() (string, error) { return "-", c.Unregister(ctx, ref) },
		"POST matcher/start":        func() (string, error) { return "-", c.Start(ctx, ref) },
		"POST matcher/stop":         func() (string, error) { return "-", c.Stop(ctx, ref) },
		"POST matcher/reboot":       func() (string, error) { return "-", c.Reboot(ctx, ref) },
		"POST matcher/attach": func() (string, error) {
			return "-", c.Attach(ctx, c4.AttachRequest{ClientUID: owner, VMUID: vm.UID, VolumeID: free})
		},
		"POST matcher/detach": func() (string, error) {
			return "-", c.Detach(ctx, c4.AttachRequest{ClientUID: owner, VMUID: vm.UID, VolumeID: held})
		},
		"POST storage/create":   func() (string, error) { return c.CreateVolume(ctx, volume("x")) },
		"POST storage/destroy":  func() (string, error) { return "-", c.DestroyVolume(ctx, free) },
		"POST storage/export":   func() (string, error) { return "-", c.ExportVolume(ctx, owner, free) },
		"POST storage/unexport": func() (string, error) { return "-", c.UnexportVolume(ctx, owner, free) },
		"POST storage/import": func() (string, error) {
			return c.ImportVolume(ctx, c4.VolumeImportRequest{CreatorID: owner, Name: "x", Path: "/x", Alg: "no", Format: "raw", Bus: "virtio"})
		},
		"POST storage/cloudinit/create": func() (string, error) {
			return c.CreateImageVolume(ctx, c4.ImageVolumeRequest{CreatorID: owner, Name: "x", Alg: "cp", Format: "qcow2", Bus: "virtio", Size: 1, URL: image})
		},
		"POST storage/cloudinit/metadata": func() (string, error) {
			if err := c.CompleteSeed(ctx, seed, []byte("y")); err != nil {
				return "", err
			}
			return c.OpenSeed(ctx, c4.SeedRequest{CreatorID: owner, Name: "x", Alg: "no", ExpectedFiles: 2}, []byte("x"))
		},
		"POST network/create": func() (string, error) {
			n, err := c.CreateNetwork(ctx, networkOf(prefix(t, 24), nil))
			return n.NetworkUID, err
		},
		"DELETE network/delete": func() (string, error) { return "-", c.DeleteNetwork(ctx, network.NetworkUID) },
		"POST network/portforward": func() (string, error) {
			fw, err := c.CreateForward(ctx, c4.Forward{CreatorUID: owner, Protocol: "tcp", Port: 7000, TargetVMUID: vm.UID, TargetPort: 1})
			return fw.ForwardUID, err
		},
		"DELETE network/portforward": func() (string, error) { return "-", c.DeleteForward(ctx, had.Hosts[0].Forwards[0].ForwardUID) },
	}
	before := int64(len(f.Journal(0)))
	for _, call := range fakeatomos.ChangingCalls() {
		do := calls[call]
		if do == nil {
			t.Fatalf("%s is not tested", call)
		}
		if id, err := do(); err != nil || id == "" {
			t.Errorf("%s: %q, %v", call, id, err)
		}
	}
	entries := f.Journal(before)
	if len(entries) < len(calls) {
		t.Errorf("%d calls arrived, want %d", len(entries), len(calls))
	}
	for _, e := range entries {
		if e.Applied {
			t.Errorf("it happened: %+v", e)
		}
	}
	if has := f.Inventory(); !reflect.DeepEqual(has, had) {
		t.Errorf("had %+v, has %+v", had, has)
	}
	if got := vmsOf(t, c, owner); len(got) != 1 || got[0].State != c4.Running {
		t.Errorf("a call that only reads says %+v", got)
	}
}

func TestAFaultMeetsOnlyTheVMAndOwnerItIsFor(t *testing.T) {
	t.Parallel()
	f := start(t, 1, nil)
	c := dial(t, f.Hosts()[0], "")
	ctx := t.Context()
	vm := populate(t, c) // it holds the volumes "boot" and "seed", and "free" is free
	volumes := map[string]string{}
	for _, v := range f.Inventory().Hosts[0].Volumes {
		volumes[v.Name] = v.ID
	}
	network := f.Inventory().Hosts[0].Networks[0]
	forward := f.Inventory().Hosts[0].Forwards[0]
	refused := func(fault fakeatomos.Fault, call func() error) bool {
		fault.Effect, fault.Status = fakeatomos.Refuse, 503
		defer f.RemoveFaults(addFault(t, f, fault))
		return c4.CodeOf(call()) == c4.Unavailable
	}
	stop := func() error { return c.Stop(ctx, c4.VMRef{ClientUID: owner, VMUID: vm.UID}) }
	info := func(name string) func() error {
		return func() error { _, err := c.Volume(ctx, volumes[name]); return err }
	}
	list := func() error { _, _, _, err := c.VMs(ctx, owner, nil); return err }
	for name, tc := range map[string]struct {
		fault fakeatomos.Fault
		call  func() error
		want  bool
	}{
		"the VM by its UID":               {fakeatomos.Fault{VM: "vm"}, stop, true},
		"another VM":                      {fakeatomos.Fault{VM: "vm-2"}, stop, false},
		"a VM by pattern":                 {fakeatomos.Fault{VM: "v?"}, stop, true},
		"its owner":                       {fakeatomos.Fault{Owner: owner}, stop, true},
		"another owner":                   {fakeatomos.Fault{Owner: stranger}, stop, false},
		"the right VM of the wrong owner": {fakeatomos.Fault{VM: "vm", Owner: stranger}, stop, false},
		"the volume that the VM holds":    {fakeatomos.Fault{VM: "vm"}, info("boot"), true},
		"the owner of a volume":           {fakeatomos.Fault{Owner: owner}, info("boot"), true},
		"a free volume, for the VM":       {fakeatomos.Fault{VM: "vm"}, info("free"), false},
		"a free volume, by its name":      {fakeatomos.Fault{VM: "fr*"}, info("free"), true},
		"a list, for a VM":                {fakeatomos.Fault{VM: "*"}, list, false},
		"a list, for its owner":           {fakeatomos.Fault{Owner: owner}, list, true},
		"a register": {fakeatomos.Fault{VM: "new", Owner: owner}, func() error {
			_, err := c.Register(ctx, c4.RegisterRequest{ClientUID: owner, Name: "new", Pledge: small()})
			return err
		}, true},
		"a new volume": {fakeatomos.Fault{VM: "new-*", Owner: owner}, func() error {
			_, err := c.CreateVolume(ctx, volume("new-boot"))
			return err
		}, true},
		"a new seed": {fakeatomos.Fault{VM: "new-*", Owner: owner}, func() error {
			_, err := c.OpenSeed(ctx, c4.SeedRequest{CreatorID: owner, Name: "new-seed", Alg: "no", ExpectedFiles: 2}, nil)
			return err
		}, true},
		"an export": {fakeatomos.Fault{VM: "free", Owner: owner}, func() error { return c.ExportVolume(ctx, owner, volumes["free"]) }, true},
		"a network by its UID": {fakeatomos.Fault{VM: network.Name, Owner: network.CreatorUID}, func() error {
			_, err := c.Network(ctx, network.NetworkUID)
			return err
		}, true},
		"a forward by its target": {fakeatomos.Fault{VM: "vm", Owner: owner}, func() error { return c.DeleteForward(ctx, forward.ForwardUID) }, true},
		"a new forward": {fakeatomos.Fault{VM: "vm", Owner: owner}, func() error {
			_, err := c.CreateForward(ctx, c4.Forward{CreatorUID: owner, Protocol: "tcp", Port: 7000, TargetVMUID: vm.UID, TargetPort: 1})
			return err
		}, true},
	} {
		if got := refused(tc.fault, tc.call); got != tc.want {
			t.Errorf("%s: the fault fires: %v, want %v", name, got, tc.want)
		}
	}
}

// firings tells on which of 200 calls a fault fires.
func firings(t *testing.T, fault fakeatomos.Fault) (fired []bool, count int) {
	t.Helper()
	f := start(t, 1, nil)
	c := dial(t, f.Hosts()[0], "")
	fault.Effect, fault.Status = fakeatomos.Refuse, 503
	addFault(t, f, fault)
	for range 200 {
		err := c.Ping(t.Context())
		fired = append(fired, err != nil)
		if err != nil {
			count++
		}
	}
	return fired, count
}

func TestTheSameSeedFiresTheSameWay(t *testing.T) {
	t.Parallel()
	one, count := firings(t, fakeatomos.Fault{Probability: 0.3, Seed: 7})
	same, _ := firings(t, fakeatomos.Fault{Probability: 0.3, Seed: 7})
	other, _ := firings(t, fakeatomos.Fault{Probability: 0.3, Seed: 8})
	if !slices.Equal(one, same) {
		t.Error("the same seed fires another way")
	}
	if slices.Equal(one, other) {
		t.Error("another seed fires the same way")
	}
	if count < 30 || count > 90 {
		t.Errorf("fired %d times in 200, which 0.3 does not explain", count)
	}
	limited, count := firings(t, fakeatomos.Fault{Probability: 0.3, Seed: 7, Skip: 10, Times: 2})
	if count != 2 || slices.Contains(limited[:10], true) {
		t.Errorf("with skip and times it fires %d times, on %v", count, limited[:20])
	}
}

func TestAHangEndsWithTheHostsPower(t *testing.T) {
	t.Parallel()
	f := start(t, 1, nil)
	h := f.Hosts()[0]
	c := dial(t, h, "")
	addFault(t, f, fakeatomos.Fault{Effect: fakeatomos.Hang})
	failed := make(chan error)
	go func() { failed <- c.Ping(t.Context()) }()
	eventually(t, "the call is under way", func() bool { return f.Calls()[h.Name()]["GET matcher/"] == 1 })
	h.Down()
	wantCode(t, <-failed, c4.Unknown)
}

func TestFaultsThatMakeNoSenseAreRefused(t *testing.T) {
	t.Parallel()
	f := start(t, 1, nil)
	for _, fault := range []fakeatomos.Fault{
		{}, {Effect: "Explode"}, {Effect: fakeatomos.LoseReply, Call: "["}, {Effect: fakeatomos.LoseReply, Skip: -1},
		{Effect: fakeatomos.LoseReply, Times: -1}, {Effect: fakeatomos.LoseReply, Delay: time.Second}, {Effect: fakeatomos.DelayAfter},
		{Effect: fakeatomos.LoseReply, VM: "["}, {Effect: fakeatomos.LoseReply, Probability: 1.1}, {Effect: fakeatomos.LoseReply, Probability: -0.1},
		{Effect: fakeatomos.HangBoot, Call: registerCall}, {Effect: fakeatomos.Refuse}, {Effect: fakeatomos.Refuse, Status: 99}, {Effect: fakeatomos.DelayAfter, Delay: 1, Status: 500},
	} {
		if _, err := f.AddFault(fault); err == nil {
			t.Errorf("%+v is accepted", fault)
		}
	}
}

func TestAFaultIsTheSameAfterJSON(t *testing.T) {
	t.Parallel()
	want := fakeatomos.Fault{ID: "1", Name: "n", Call: "POST storage/*", Host: "h", VM: "v*", Owner: owner, Skip: 1, Times: 2, Probability: 0.5, Seed: 3, Effect: fakeatomos.DelayBefore, Delay: 1500 * time.Millisecond}
	raw, err := json.Marshal(want)
	succeed(t, err)
	var got fakeatomos.Fault
	succeed(t, json.Unmarshal(raw, &got))
	if got != want {
		t.Errorf("%s became %+v", raw, got)
	}
	for _, bad := range []string{`{"efect":"LoseReply"}`, `{"delay":5}`, `{"delay":"-1s"}`, `{"delay":"x"}`} {
		if json.Unmarshal([]byte(bad), &got) == nil {
			t.Errorf("%s is accepted", bad)
		}
	}
}
