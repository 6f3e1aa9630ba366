package main

import (
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/utils/ptr"
)

func TestTheTimeWithoutALeaderIsTold(t *testing.T) {
	t.Parallel()
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	l := &leaders{}
	see := func(second int, holder string, lasts int32) {
		l.see(&coordinationv1.Lease{Spec: coordinationv1.LeaseSpec{HolderIdentity: ptr.To(holder), LeaseDurationSeconds: ptr.To(lasts)}}, begin.Add(time.Duration(second)*time.Second))
	}
	see(0, "one", 15)
	see(2, "one", 15)
	if _, _, is := l.after("one"); is {
		t.Error("somebody follows one that holds the Lease")
	}
	see(4, "", 1) // given up
	if now, lasts := l.now(); now.holder != "one" || lasts != 15*time.Second {
		t.Errorf("the last holder is %q, with a Lease of %s", now.holder, lasts)
	}
	see(7, "two", 15)
	next, ended, is := l.after("one")
	if !is || next.holder != "two" || next.from.Sub(ended) != 3*time.Second {
		t.Errorf("after one comes %q, %s later", next.holder, next.from.Sub(ended))
	}
	see(9, "two", 15)
	see(30, "three", 15) // two has died
	if next, ended, _ := l.after("two"); next.from.Sub(ended) != 21*time.Second {
		t.Errorf("after one that has died it took %s", next.from.Sub(ended))
	}
}
