package validate_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	fake "elemento.cloud/cluster-api-provider-elemento/fakeatomos/history"
	"elemento.cloud/cluster-api-provider-elemento/soak/history"
	"elemento.cloud/cluster-api-provider-elemento/soak/validate"
)

// begin is when every story begins.
var begin = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func at(seconds float64) time.Time {
	return begin.Add(time.Duration(seconds * float64(time.Second)))
}

// story is a history that a test writes, in order.
type story []history.Event

// judge tells a validator of a story and returns what is wrong with it.
func judge(t *testing.T, v validate.Validator, s story) []validate.Violation {
	t.Helper()
	var found []validate.Violation
	last := time.Time{}
	for i, e := range s {
		if known := history.Known(e); known.Before(last) {
			t.Fatalf("event %d of the story is not in order", i)
		} else {
			last = known
		}
		found = append(found, v.Observe(e)...)
	}
	return append(found, v.Finish()...)
}

// isGood demands that a validator has nothing to say of a story that it could judge.
func isGood(t *testing.T, v validate.Validator, s story) {
	t.Helper()
	if found := judge(t, v, s); len(found) > 0 {
		t.Errorf("%s complains: %v", v.Name(), found)
	}
	if judged, unknown := v.Judged(); judged == 0 || unknown != "" {
		t.Errorf("%s has judged %d and says %q", v.Name(), judged, unknown)
	}
}

// isBad demands one violation that says so.
func isBad(t *testing.T, v validate.Validator, s story, says string) {
	t.Helper()
	found := judge(t, v, s)
	if len(found) != 1 || !strings.Contains(found[0].What, says) {
		t.Errorf("%s says %v, want one that says %q", v.Name(), found, says)
		return
	}
	if found[0].Validator != v.Name() || found[0].Time.IsZero() || len(found[0].Events) == 0 {
		t.Errorf("the violation is not complete: %+v", found[0])
	}
}

const owner = "client"

func vm(seconds float64, event, host, name, uid string) history.Event {
	return history.Event{Time: at(seconds), Kind: fake.VM, Event: event, Host: host, VM: name, UID: uid, Owner: owner}
}

func volume(seconds float64, event, host, name string) history.Event {
	return history.Event{Time: at(seconds), Kind: fake.Volume, Event: event, Host: host, Name: name, UID: name + "-id", Owner: owner}
}

func host(seconds float64, event, name string) history.Event {
	return history.Event{Time: at(seconds), Kind: fake.Host, Event: event, Host: name}
}

// object is an event of an object of ours.
func object(seconds float64, event, kind, name string, spec map[string]any, deleted ...float64) history.Event {
	metadata := map[string]any{"name": name, "namespace": "ns", "uid": name, "creationTimestamp": at(0)}
	if len(deleted) > 0 {
		metadata["deletionTimestamp"] = at(deleted[0])
	}
	raw, err := json.Marshal(map[string]any{"kind": kind, "metadata": metadata, "spec": spec})
	if err != nil {
		panic(err)
	}
	return history.Event{Time: at(seconds), Kind: fake.Object, Event: event, Name: "ns/" + name, UID: name, Detail: raw}
}

// machine is an ElementoMachine of a VM on a host.
func machine(seconds float64, event, vm, host string, deleted ...float64) history.Event {
	return object(seconds, event, "ElementoMachine", vm+"-machine", map[string]any{"vmName": vm, "host": host}, deleted...)
}

func cleanup(seconds float64, event, vm, host string) history.Event {
	return object(seconds, event, "ElementoCleanup", fmt.Sprintf("%s-on-%s", vm, host), map[string]any{"vmName": vm, "host": host})
}

// later is an event of no meaning, so that time passes.
func later(seconds float64) history.Event {
	return history.Event{Time: at(seconds), Kind: fake.Step, Event: "begin"}
}
