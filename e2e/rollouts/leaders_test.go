package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
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

func TestAWatchThatIsRefusedIsMadeAgainInPeace(t *testing.T) {
	t.Parallel()
	refused := make(chan time.Time, 10_000)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Has("watch") {
			select {
			case refused <- time.Now():
			default:
			}
			http.Error(w, "starting", http.StatusForbidden)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "spec": {"holderIdentity": "one"}}`)
	}))
	t.Cleanup(server.Close)
	l, err := watchLeaders(t.Context(), &rest.Config{Host: server.URL, QPS: -1}, client.ObjectKey{Namespace: "a", Name: "lease"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.end)
	const times = 10
	first := <-refused
	for range times - 2 {
		<-refused
	}
	if took := (<-refused).Sub(first); took < (times-2)*between {
		t.Errorf("an API server that refuses was asked %d times in %s", times, took)
	}
}
