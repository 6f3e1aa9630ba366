package validate_test

import (
	"testing"
	"time"

	fake "elemento.cloud/cluster-api-provider-elemento/fakeatomos/history"
	"elemento.cloud/cluster-api-provider-elemento/soak/history"
	"elemento.cloud/cluster-api-provider-elemento/soak/validate"
)

func TestOneVMAtATime(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]story{
		"one": {vm(1, "made", "h1", "a", "1"), later(60)},
		"one after the other": {
			vm(1, "made", "h1", "a", "1"), vm(2, "removed", "h1", "a", "1"), vm(3, "made", "h1", "a", "2"),
			vm(4, "vanished", "h1", "a", "2"), vm(5, "made", "h2", "a", "3"), later(60),
		},
		"others": {vm(1, "made", "h1", "a", "1"), vm(1, "made", "h1", "b", "2")},
		"the same, told again by a fake that has started again": {
			vm(1, "made", "h1", "a", "1"), vm(2, "made", "h1", "a", "1"), later(60),
		},
		"one of another client": {
			vm(1, "made", "h1", "a", "1"),
			{Time: at(2), Kind: fake.VM, Event: "made", Host: "h1", VM: "a", UID: "2", Owner: "other"}, later(60),
		},
		"a second one, while a cleanup stands for the first": {
			vm(1, "made", "h1", "a", "1"), cleanup(2, "added", "a", "h1"), vm(3, "made", "h2", "a", "2"),
			vm(100, "removed", "h1", "a", "1"), cleanup(101, "deleted", "a", "h1"), later(200),
		},
		"a second one, and the news of the cleanup come a moment late": {
			vm(1, "made", "h1", "a", "1"), vm(3, "made", "h2", "a", "2"), cleanup(4, "added", "a", "h1"),
			vm(10, "removed", "h1", "a", "1"), cleanup(11, "deleted", "a", "h1"), later(60),
		},
	} {
		t.Run(name, func(t *testing.T) { t.Parallel(); isGood(t, validate.NewOneVM(), s) })
	}
}

func TestTwoVMsOfAMachineAreFound(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]story{
		"on one host":        {vm(1, "made", "h1", "a", "1"), vm(2, "made", "h1", "a", "2")},
		"for a moment":       {vm(1, "made", "h1", "a", "1"), vm(2, "made", "h1", "a", "2"), vm(2.1, "removed", "h1", "a", "2"), later(60)},
		"on two hosts":       {vm(1, "made", "h1", "a", "1"), vm(2, "made", "h2", "a", "2"), later(60)},
		"one of them is off": {vm(1, "made", "h1", "a", "1"), vm(1.5, "off", "h1", "a", "1"), vm(2, "made", "h2", "a", "2"), later(60)},
		"and the cleanup is for another": {
			vm(1, "made", "h1", "a", "1"), cleanup(1.5, "added", "b", "h1"), vm(2, "made", "h2", "a", "2"), later(60),
		},
		"and the cleanup came after": {
			vm(-9, "made", "h1", "a", "1"), vm(-8, "made", "h2", "a", "2"), cleanup(1, "added", "a", "h1"), later(60),
		},
		"and the cleanup has gone before the VM": {
			vm(1, "made", "h1", "a", "1"), cleanup(2, "added", "a", "h1"), vm(3, "made", "h2", "a", "2"), cleanup(30, "deleted", "a", "h1"), later(60),
		},
	} {
		t.Run(name, func(t *testing.T) { t.Parallel(); isBad(t, validate.NewOneVM(), s, "VM a is there 2 times") })
	}
}

func TestTwoVMsAreToldOfWhileTheRunGoesOn(t *testing.T) {
	t.Parallel()
	v := validate.NewOneVM()
	for _, e := range (story{vm(1, "made", "h1", "a", "1"), vm(2, "made", "h2", "a", "2"), later(6)}) {
		if found := v.Observe(e); len(found) > 0 {
			t.Fatalf("it is not certain yet: %v", found)
		}
	}
	if found := v.Observe(later(7.1)); len(found) != 1 {
		t.Errorf("when it is certain, it says %v", found)
	}
	if found := v.Finish(); len(found) != 0 {
		t.Errorf("it says it again: %v", found)
	}
}

func TestVMsWhoseMachinesLiveAreLeftAlone(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]story{
		"its machine is deleted": {
			machine(1, "added", "a", "h1"), vm(2, "made", "h1", "a", "1"), machine(10, "modified", "a", "h1", 10), vm(11, "removed", "h1", "a", "1"), later(60),
		},
		"its machine is deleted, and the news come a moment late": {
			machine(1, "added", "a", "h1"), vm(2, "made", "h1", "a", "1"), vm(11, "removed", "h1", "a", "1"), machine(12, "modified", "a", "h1", 10), later(60),
		},
		"nobody tells of machines any more": {
			recorded(0), machine(1, "added", "a", "h1"), vm(2, "made", "h1", "a", "1"), {Time: at(10), Kind: fake.Object, Event: "unrecorded"}, vm(11, "removed", "h1", "a", "1"), later(60),
		},
		"it has no machine": {vm(2, "made", "h1", "a", "1"), vm(3, "removed", "h1", "a", "1"), later(60)},
		"its machine has gone elsewhere": {
			machine(1, "added", "a", "h1"), vm(2, "made", "h1", "a", "1"), machine(10, "modified", "a", "h2"), vm(11, "removed", "h1", "a", "1"), later(60),
		},
		"it is what a cleanup names": {
			machine(1, "added", "a", "h1"), vm(2, "made", "h1", "a", "1"), cleanup(3, "added", "a", "h1"), vm(11, "removed", "h1", "a", "1"), later(60),
		},
	} {
		t.Run(name, func(t *testing.T) { t.Parallel(); isGood(t, validate.NewNoLivingDeleted(), s) })
	}
	isBad(t, validate.NewNoLivingDeleted(), story{
		machine(1, "added", "a", "h1"), vm(2, "made", "h1", "a", "1"), vm(11, "removed", "h1", "a", "1"), machine(30, "modified", "a", "h1", 29), later(60),
	}, "lives")
}

func TestTheDoubleOfALivingVMMayBeRemovedAndOneThatVanishesIsNobodysDoing(t *testing.T) {
	t.Parallel()
	v := validate.NewNoLivingDeleted()
	if found := judge(t, v, story{
		machine(1, "added", "a", "h1"), vm(2, "made", "h1", "a", "1"), vm(3, "made", "h1", "a", "2"),
		vm(4, "removed", "h1", "a", "1"), vm(5, "vanished", "h1", "a", "2"), later(60),
	}); len(found) > 0 {
		t.Errorf("it says %v", found)
	}
}

func ensured(from, to float64, vm string) history.Event {
	return history.Event{Time: at(from), Ended: at(to), Kind: fake.RPC, End: "manager", Name: "EnsureVM", Host: "h1", VM: vm, Owner: owner, Code: "OK"}
}

func TestNothingIsMadeForTheDead(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]story{
		"the living": {machine(1, "added", "a", "h1"), ensured(1, 2, "a"), volume(2, "made", "h1", "a-boot"), vm(3, "made", "h1", "a", "1"), later(60)},
		"what was under way": {
			machine(1, "added", "a", "h1"), machine(2, "modified", "a", "h1", 2), vm(3, "made", "h1", "a", "1"), ensured(2.5, 4, "a"), later(60),
		},
		"one that was moved": {
			machine(1, "added", "a", "h1"), object(2, "added", "ElementoMachine", "moved", map[string]any{"vmName": "a", "host": "h1"}),
			machine(3, "deleted", "a", "h1"), ensured(9, 10, "a"), vm(10, "made", "h1", "a", "1"), later(60),
		},
	} {
		t.Run(name, func(t *testing.T) { t.Parallel(); isGood(t, validate.NewNothingForTheDead(), s) })
	}
	for name, s := range map[string]story{
		"a VM":     {machine(1, "added", "a", "h1"), machine(2, "deleted", "a", "h1", 1), vm(3, "made", "h1", "a", "1"), later(60)},
		"a volume": {machine(1, "added", "a", "h1"), machine(2, "deleted", "a", "h1", 1), volume(3, "made", "h1", "a-data-x"), later(60)},
		"a call":   {machine(1, "added", "a", "h1"), machine(2, "modified", "a", "h1", 2), ensured(8, 9, "a"), later(60)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			isBad(t, validate.NewNothingForTheDead(), s, "ElementoMachine ns/a-machine was")
		})
	}
}

func sample(seconds float64, errors map[string]float64) history.Event {
	return history.ErrorsSample(at(seconds), "manager", errors)
}

func TestReconcileErrorsAreExcusedByFaultsOnly(t *testing.T) {
	t.Parallel()
	none, some := map[string]float64{"machine": 0, "cluster": 1}, map[string]float64{"machine": 2, "cluster": 1}
	fault := func(seconds float64, event string) history.Event {
		return history.Event{Time: at(seconds), Kind: fake.Fault, Event: event, ID: "1", Name: "f"}
	}
	limits := validate.Limits{Fault: 20 * time.Second}
	zero := sample(0, map[string]float64{})
	for name, s := range map[string]story{
		"none":                   {zero, sample(10, map[string]float64{}), later(20)},
		"a fault":                {sample(0, nil), fault(1, "added"), sample(10, none), fault(11, "removed"), sample(12, none)},
		"a fault not long ago":   {sample(0, nil), fault(1, "added"), fault(2, "removed"), sample(10, nil), sample(21, some)},
		"a host without power":   {sample(0, nil), host(1, "down", "h1"), sample(100, some)},
		"a process that was cut": {sample(0, nil), {Time: at(1), Kind: fake.Process, Event: "killed", Name: "daemon-1"}, sample(100, some)},
	} {
		t.Run(name, func(t *testing.T) { t.Parallel(); isGood(t, validate.NewNoReconcileErrors(limits), s) })
	}
	for name, s := range map[string]story{
		"no fault":           {sample(0, nil), host(1, "up", "h1"), sample(10, some)},
		"before the history": {sample(0, some), sample(10, some)},
		"a fault long ago":   {sample(0, nil), fault(1, "added"), fault(2, "removed"), sample(30, nil), sample(60, some)},
		"a moment long ago":  {sample(0, nil), fault(1, "fired"), sample(30, nil), sample(60, some)},
		"a fault afterwards": {sample(0, nil), sample(10, some), fault(100, "added"), fault(101, "removed")},
		"a manager that was started again": {
			sample(0, nil), fault(1, "added"), sample(2, map[string]float64{"machine": 5}), fault(3, "removed"), sample(50, map[string]float64{"machine": 5}), sample(60, map[string]float64{"machine": 1}),
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			isBad(t, validate.NewNoReconcileErrors(limits), s, "there was no fault")
		})
	}
}
