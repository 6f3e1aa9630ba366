package daemon

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/c4"
)

func TestWhatMayLandIsRememberedForItsTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tn := newTenant(&host{spawn: func(context.Context, func(context.Context)) {}}, "client")
		want := func(is bool, vms ...string) {
			t.Helper()
			for _, vm := range vms {
				if tn.mayLand(vm) != is {
					t.Errorf("something of VM %s may land: %t, want %t", vm, !is, is)
				}
			}
		}
		want(false, "a")
		tn.suspect("a")
		tn.unseen.add("b-boot")
		tn.unseen.add("c-data-x")
		want(true, "a", "b", "c")
		want(false, "b-boot", "c-data", "d")
		time.Sleep(landsSoon)
		want(false, "a")
		if !tn.suspects.may("a", landsLate) {
			t.Error("a double of VM a would not be noticed any more")
		}
		want(true, "b", "c")

		before := time.Now()
		time.Sleep(time.Millisecond)
		tn.unseen.add("b-boot")
		tn.unseen.landed("b-boot", before) // the look is older than the request
		want(true, "b")
		tn.unseen.landed("b-boot", time.Now())
		want(false, "b")
		time.Sleep(landsLate)
		want(false, "c")
		tn.unseen.add("d-seed")
		if n := len(tn.unseen.since); n != 1 {
			t.Errorf("%d requests are remembered, want 1", n)
		}
	})
}

func TestOnlyARequestWithoutAnAnswerMayLand(t *testing.T) {
	t.Parallel()
	for _, code := range c4.Codes() {
		if got, want := unanswered(&c4.Error{Code: code}), code == c4.Unknown; got != want {
			t.Errorf("%s may land: %t, want %t", code, got, want)
		}
	}
	for _, err := range []error{nil, errors.New("something else"), &c4.Error{Code: c4.Unknown, Unsent: true}} {
		if unanswered(err) {
			t.Errorf("%v may land", err)
		}
	}
}
