package validate_test

import (
	"testing"
	"time"

	fake "elemento.cloud/cluster-api-provider-elemento/fakeatomos/history"
	"elemento.cloud/cluster-api-provider-elemento/soak/history"
	"elemento.cloud/cluster-api-provider-elemento/soak/validate"
)

func elementoCluster(seconds float64, event string) history.Event {
	return object(seconds, event, "ElementoCluster", "c", map[string]any{
		"network":      map[string]any{"name": "c-net", "managed": map[string]any{"cidr": "10.0.0.0/24"}},
		"endpointHost": "h1", "controlPlaneEndpoint": map[string]any{"host": "1.2.3.4", "port": 6443},
	})
}

func network(seconds float64, event, host, name string) history.Event {
	return history.Event{Time: at(seconds), Kind: fake.Network, Event: event, Host: host, Name: name, UID: name + host, Owner: owner}
}

func forward(seconds float64, event, host, vm string) history.Event {
	return history.Event{
		Time: at(seconds), Kind: fake.Forward, Event: event, Host: host, UID: "f-" + vm, Owner: owner, VM: vm,
		Detail: fake.Detail(map[string]int{"port": 6443, "targetPort": 6443}),
	}
}

func TestWhatHasAnOwnerMayStay(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]story{
		"a VM with all that belongs to it": {
			elementoCluster(0, "added"), network(0.1, "made", "h1", "c-net"), forward(0.2, "made", "h1", "a"),
			machine(1, "added", "a", "h1"), volume(2, "made", "h1", "a-boot"), volume(2, "made", "h1", "a-seed"), vm(3, "made", "h1", "a", "1"), later(600),
		},
		"nothing is left": {
			elementoCluster(0, "added"), network(0.1, "made", "h1", "c-net"), forward(0.2, "made", "h1", "a"),
			machine(1, "added", "a", "h1"), volume(2, "made", "h1", "a-boot"), vm(3, "made", "h1", "a", "1"),
			vm(10, "removed", "h1", "a", "1"), volume(11, "removed", "h1", "a-boot"), machine(12, "deleted", "a", "h1"),
			forward(13, "removed", "h1", "a"), network(14, "removed", "h1", "c-net"), elementoCluster(15, "deleted"), later(600),
		},
		"a VM whose machine is not known yet": {vm(1, "made", "h1", "a", "1"), machine(2, "added", "a", "h1"), later(600)},
		"a VM that a cleanup stands for": {
			machine(1, "added", "a", "h1"), vm(3, "made", "h1", "a", "1"), host(4, "down", "h1"), cleanup(9, "added", "a", "h1"), machine(10, "deleted", "a", "h1"),
			host(500, "up", "h1"), vm(501, "removed", "h1", "a", "1"), cleanup(502, "deleted", "a", "h1"), later(600),
		},
		"a cleanup for a host that is away": {
			machine(1, "added", "a", "h1"), vm(3, "made", "h1", "a", "1"), host(4, "isolated", "h1"), cleanup(9, "added", "a", "h1"), machine(10, "deleted", "a", "h1"), later(6000),
		},
		"a moved machine's VM": {
			machine(1, "added", "a", "h1"), vm(2, "made", "h1", "a", "1"),
			object(3, "added", "ElementoMachine", "moved", map[string]any{"vmName": "a", "host": "h1"}), machine(4, "deleted", "a", "h1"), later(600),
		},
		"a network of somebody else": {network(1, "made", "h1", "theirs"), vm(2, "made", "h1", "a", "1"), vm(3, "removed", "h1", "a", "1"), later(600)},
		"a VM whose machine was given its host while nobody told of objects": {
			recorded(0), machine(1, "added", "a", ""), unrecorded(2), vm(3, "made", "h1", "a", "1"), later(100), machine(101, "modified", "a", "h1"), recorded(101), later(600),
		},
		"what comes to be at the end":        {vm(1, "made", "h1", "a", "1"), later(3)},
		"a VM without a Machine for a while": {vm(1, "made", "h1", "a", "1"), volume(1, "made", "h1", "a-boot"), vm(300, "removed", "h1", "a", "1"), volume(300, "removed", "h1", "a-boot"), later(600)},
	} {
		t.Run(name, func(t *testing.T) { t.Parallel(); isGood(t, validate.NewNothingLeft(validate.Limits{}), s) })
	}
}

// recorded tells that objects are told of from now on.
func recorded(seconds float64) history.Event {
	return history.Event{Time: at(seconds), Kind: fake.Object, Event: "recorded"}
}

// unrecorded tells that they are not any more.
func unrecorded(seconds float64) history.Event {
	return history.Event{Time: at(seconds), Kind: fake.Object, Event: "unrecorded"}
}

func TestWhatIsLeftIsUnknownWhereNobodyTellsOfItsOwners(t *testing.T) {
	t.Parallel()
	v := validate.NewNothingLeft(validate.Limits{})
	if found := judge(t, v, story{vm(1, "made", "h1", "a", "1"), later(600)}); len(found) > 0 {
		t.Errorf("it says %v", found)
	}
	if _, unknown := v.Judged(); unknown == "" {
		t.Error("it does not say that it cannot tell")
	}
}

func TestWhatOutlivesItsOwnerIsFound(t *testing.T) {
	t.Parallel()
	made := story{
		elementoCluster(0, "added"), network(0.1, "made", "h1", "c-net"), forward(0.2, "made", "h1", "a"),
		machine(1, "added", "a", "h1"), volume(2, "made", "h1", "a-boot"), volume(2, "made", "h1", "a-seed"), vm(3, "made", "h1", "a", "1"),
	}
	ends := map[string]history.Event{
		"vm a": vm(10, "removed", "h1", "a", "1"), "volume a-boot": volume(10, "removed", "h1", "a-boot"), "volume a-seed": volume(10, "removed", "h1", "a-seed"),
		"forward of port 6443": forward(10, "removed", "h1", "a"), "network c-net": network(10, "removed", "h1", "c-net"),
	}
	for left := range ends {
		t.Run(left, func(t *testing.T) {
			t.Parallel()
			s := append(story{}, made...)
			for name, end := range ends {
				if name != left {
					s = append(s, end)
				}
			}
			s = append(s, machine(12, "deleted", "a", "h1"), elementoCluster(12, "deleted"), later(600))
			isBad(t, validate.NewNothingLeft(validate.Limits{}), s, left+" is on h1 and its owner is gone")
		})
	}
	for name, c := range map[string]struct {
		s    story
		says string
	}{
		"on a host that the machine has left": {
			story{machine(1, "added", "a", "h1"), volume(2, "made", "h1", "a-boot"), machine(3, "modified", "a", "h2"), later(600)}, "volume a-boot is on h1",
		},
		"a cleanup whose host is back": {
			story{vm(0, "made", "h1", "x", "1"), vm(0, "removed", "h1", "x", "1"), host(1, "down", "h1"), cleanup(2, "added", "a", "h1"), host(3, "up", "h1"), later(600)}, "ElementoCleanup",
		},
		"what was left while nobody told of objects": {
			story{recorded(0), machine(1, "added", "a", "h1"), vm(2, "made", "h1", "a", "1"), unrecorded(3), machine(50, "deleted", "a", "h1"), recorded(51), later(100)}, "vm a is on h1",
		},
		"at the end only: what nobody ever owned": {story{recorded(0), vm(1, "made", "h1", "a", "1"), later(600)}, "nobody has ever owned it"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			isBad(t, validate.NewNothingLeft(validate.Limits{}), c.s, c.says)
		})
	}
}

func TestWhatIsLeftIsToldOfOnceAndWhenItsTimeIsOver(t *testing.T) {
	t.Parallel()
	v := validate.NewNothingLeft(validate.Limits{Left: 10 * time.Second})
	told := 0.0
	s := story{machine(1, "added", "a", "h1"), vm(2, "made", "h1", "a", "1"), machine(5, "deleted", "a", "h1")}
	for i := range 100 {
		s = append(s, later(float64(6+i)))
	}
	for _, e := range s {
		if found := v.Observe(e); len(found) > 0 {
			if told != 0 || len(found) > 1 {
				t.Fatalf("it is told again: %v", found)
			}
			told = e.Time.Sub(begin).Seconds()
		}
	}
	if told < 15 || told > 17 {
		t.Errorf("it is told at %v", told)
	}
	if found := v.Finish(); len(found) > 0 {
		t.Errorf("it is told again at the end: %v", found)
	}
}
