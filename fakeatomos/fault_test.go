package fakeatomos_test

import (
	"context"
	"encoding/json"
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
		t.Run(string(effect), func(t *testing.T) {
			t.Parallel()
			f := start(t, 1, nil)
			c := dial(t, f.Hosts()[0], "")
			fault := fakeatomos.Fault{Call: registerCall, Effect: effect}
			var want c4.Code
			fails, happens := true, true
			switch effect {
			case fakeatomos.DelayBefore, fakeatomos.DelayAfter:
				fault.Delay, fails = pause, false
			case fakeatomos.Refuse:
				fault.Status, fault.Body, want, happens = 403, `{"error":"license_required"}`, c4.LicenseRequired, false
			case fakeatomos.MalformedReply:
				want = c4.Malformed
			case fakeatomos.LoseReply:
				want = c4.Unknown
			default:
				t.Fatal("an effect without a test")
			}
			id := addFault(t, f, fault)
			began := time.Now()
			_, err := c.Register(t.Context(), c4.RegisterRequest{ClientUID: owner, Name: "vm", Pledge: small()})
			if fails {
				wantCode(t, err, want)
			} else if err != nil || time.Since(began) < pause {
				t.Errorf("after %s: %v", time.Since(began), err)
			}
			if got := len(f.Inventory().VM("vm")) == 1; got != happens {
				t.Errorf("it happened: %v, want %v", got, happens)
			}
			if entries := f.Journal(0); len(entries) != 1 || len(entries[0].Faults) != 1 || entries[0].Faults[0] != id {
				t.Errorf("the journal has %+v", entries)
			}
			f.RemoveFaults(id)
			register(t, c, "next", small())
		})
	}
}

func TestFaultsThatMakeNoSenseAreRefused(t *testing.T) {
	t.Parallel()
	f := start(t, 1, nil)
	for _, fault := range []fakeatomos.Fault{
		{}, {Effect: "Explode"}, {Effect: fakeatomos.LoseReply, Call: "["}, {Effect: fakeatomos.LoseReply, Skip: -1},
		{Effect: fakeatomos.LoseReply, Times: -1}, {Effect: fakeatomos.LoseReply, Delay: time.Second}, {Effect: fakeatomos.DelayAfter},
		{Effect: fakeatomos.Refuse}, {Effect: fakeatomos.Refuse, Status: 99}, {Effect: fakeatomos.DelayAfter, Delay: 1, Status: 500},
	} {
		if _, err := f.AddFault(fault); err == nil {
			t.Errorf("%+v is accepted", fault)
		}
	}
}

func TestAFaultIsTheSameAfterJSON(t *testing.T) {
	t.Parallel()
	want := fakeatomos.Fault{ID: "1", Call: "POST storage/*", Host: "h", Skip: 1, Times: 2, Effect: fakeatomos.DelayBefore, Delay: 1500 * time.Millisecond}
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
