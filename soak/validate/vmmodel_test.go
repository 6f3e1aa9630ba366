package validate_test

import (
	"testing"

	fake "elemento.cloud/cluster-api-provider-elemento/fakeatomos/history"
	"elemento.cloud/cluster-api-provider-elemento/soak/history"
	"elemento.cloud/cluster-api-provider-elemento/soak/validate"
)

const (
	isRunning = "POWER_STATE_RUNNING"
	isOff     = "POWER_STATE_OFF"
	missing   = "REASON_VM_NOT_FOUND"
)

// call is a call for VM a on host h1.
func call(from, to float64, method, code string, result history.Result) history.Event {
	return history.Event{
		Time: at(from), Ended: at(to), Kind: fake.RPC, End: "manager", Name: method, Host: "h1", VM: "a", Owner: owner, Code: code, Detail: fake.Detail(result),
	}
}

func ensure(from, to float64, uid, power string) history.Event {
	return call(from, to, "EnsureVM", "OK", history.Result{UID: uid, Power: power})
}

func get(from, to float64, uid, power string) history.Event {
	if uid == "" {
		return call(from, to, "GetVM", missing, history.Result{})
	}
	return call(from, to, "GetVM", "OK", history.Result{UID: uid, Power: power})
}

func remove(from, to float64, gone bool) history.Event {
	return call(from, to, "DeleteVM", "OK", history.Result{Gone: gone})
}

func power(from, to float64, action string) history.Event {
	return call(from, to, "SetVMPower", "OK", history.Result{Action: "POWER_ACTION_" + action})
}

func lose(from, to float64, method string) history.Event {
	return call(from, to, method, "Unavailable", history.Result{Lost: true})
}

func TestCallsThatAgreeWithOneVMAreGood(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]story{
		"a whole life": {
			get(0, 1, "", ""), ensure(1, 2, "x", isOff), get(3, 4, "x", isRunning), ensure(5, 6, "x", isRunning),
			remove(7, 8, false), get(8.5, 9, "x", isOff), remove(9, 10, true), get(11, 12, "", ""), ensure(13, 14, "y", isRunning), later(100),
		},
		"calls at the same time": {get(1.5, 1.8, "", ""), ensure(1, 2, "x", isOff), get(2.1, 5, "", ""), remove(3, 6, true), later(100)},
		"a lost request that had its effect": {
			lose(0, 1, "EnsureVM"), get(2, 3, "x", isRunning), lose(4, 5, "DeleteVM"), get(6, 7, "x", isRunning), get(8, 9, "", ""), later(100),
		},
		"a lost request that had none": {lose(0, 1, "EnsureVM"), get(2, 3, "", ""), ensure(4, 5, "x", isOff), lose(6, 7, "DeleteVM"), get(8, 9, "x", isRunning)},
		"a lost request that has it late": {
			lose(0, 1, "EnsureVM"), get(2, 3, "", ""), get(50, 51, "x", isRunning), later(100),
		},
		"no room, then room":              {call(0, 1, "EnsureVM", "REASON_NO_CAPACITY", history.Result{}), get(1, 2, "", ""), ensure(3, 4, "x", isOff)},
		"a VM that vanishes":              {ensure(0, 1, "x", isOff), vm(5, "vanished", "h1", "a", "x"), get(6, 7, "", ""), ensure(8, 9, "y", isOff)},
		"a VM that crashes":               {ensure(0, 1, "x", isRunning), vm(5, "crashed", "h1", "a", "x"), get(6, 7, "x", isOff), call(8, 9, "SetVMPower", "OK", history.Result{}), get(10, 11, "x", isRunning)},
		"a VM that somebody else removes": {vm(0.5, "made", "h1", "a", "x"), ensure(0, 1, "x", isOff), vm(5, "removed", "h1", "a", "x"), get(6, 7, "", ""), ensure(8, 9, "y", isOff)},
		"a double that goes":              {vm(0.5, "made", "h1", "a", "x"), vm(0.6, "made", "h1", "a", "y"), ensure(0, 1, "x", isOff), vm(5, "removed", "h1", "a", "y"), get(6, 7, "x", isOff)},
		"a host without power":            {ensure(0, 1, "x", isRunning), host(2, "down", "h1"), call(3, 4, "GetVM", "REASON_HOST_UNREACHABLE", history.Result{}), host(5, "up", "h1"), get(6, 7, "x", isOff), get(8, 9, "x", isRunning)},
		"a host whose VMs vanish":         {ensure(0, 1, "x", isRunning), host(2, "down", "h1"), vm(3, "vanished", "h1", "a", "x"), get(6, 7, "", "")},
		"another host":                    {ensure(0, 1, "x", isRunning), {Time: at(2), Ended: at(3), Kind: fake.RPC, Name: "GetVM", Host: "h2", VM: "a", Owner: owner, Code: missing}},
		"a deletion that nobody saw end":  {ensure(0, 1, "x", isRunning), {Time: at(2), Kind: fake.Process, Event: "killed", Name: "elemento"}, {Time: at(3), Kind: fake.Process, Event: "killed", Name: "daemon-1"}, get(4, 5, "", "")},
		"a VM that is switched": {
			ensure(0, 1, "x", isRunning), power(2, 3, "OFF"), get(4, 5, "x", isRunning), get(6, 7, "x", isOff), power(8, 9, "OFF"), get(10, 11, "x", isOff),
			power(12, 13, "ON"), get(14, 15, "x", isOff), get(16, 17, "x", isRunning), power(18, 19, "ON"), get(20, 21, "x", isRunning),
		},
		"a VM that boots again":        {ensure(0, 1, "x", isRunning), power(2, 3, "REBOOT"), get(4, 5, "x", isRunning), get(6, 7, "x", isOff), get(8, 9, "x", isRunning)},
		"a VM on its way, called back": {ensure(0, 1, "x", isRunning), remove(2, 3, false), power(4, 5, "ON"), get(6, 7, "x", isRunning), get(8, 9, "x", isOff)},
		"a switch that may have been":  {ensure(0, 1, "x", isRunning), call(2, 3, "SetVMPower", "REASON_WRONG_STATE", history.Result{Action: "POWER_ACTION_OFF"}), get(4, 5, "x", isOff)},
		"a volume attached":            {ensure(0, 1, "x", isRunning), call(2, 3, "AttachVolume", "OK", history.Result{}), remove(4, 5, true), call(6, 7, "DetachVolume", missing, history.Result{})},
		"what a daemon tells too": {
			ensure(0, 3, "x", isOff), {Time: at(1), Ended: at(4), Kind: fake.RPC, End: "daemon", Name: "EnsureVM", Host: "h1", VM: "a", Owner: owner, Code: "OK", Detail: fake.Detail(history.Result{UID: "x", Power: isOff})},
		},
	} {
		t.Run(name, func(t *testing.T) { t.Parallel(); isGood(t, validate.NewVMModel(), s) })
	}
}

func TestCallsThatAgreeWithNoVMAreFound(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]story{
		"it is gone, and there":              {ensure(0, 1, "x", isOff), remove(2, 3, true), get(4, 5, "x", isOff)},
		"it is there, and not":               {ensure(0, 1, "x", isOff), get(2, 3, "", "")},
		"it is there, and was removed":       {vm(0.5, "made", "h1", "a", "x"), ensure(0, 1, "x", isOff), vm(2.5, "removed", "h1", "a", "x"), remove(2, 3, false), get(4, 5, "", ""), get(6, 7, "x", isOff)},
		"it is another one":                  {ensure(0, 1, "x", isOff), ensure(2, 3, "y", isOff)},
		"it is there and has no room":        {ensure(0, 1, "x", isOff), call(2, 3, "EnsureVM", "REASON_NO_CAPACITY", history.Result{})},
		"it goes off by itself":              {ensure(0, 1, "x", isRunning), get(2, 3, "x", isOff)},
		"it goes off though switched on":     {ensure(0, 1, "x", isRunning), power(2, 3, "ON"), get(4, 5, "x", isOff)},
		"it goes off after it came up":       {ensure(0, 1, "x", isRunning), power(2, 3, "OFF"), get(4, 5, "x", isOff), power(6, 7, "ON"), get(8, 9, "x", isRunning), get(10, 11, "x", isOff)},
		"it runs though switched off":        {ensure(0, 1, "x", isRunning), power(2, 3, "OFF"), get(4, 5, "x", isOff), get(6, 7, "x", isRunning)},
		"it is another one that is switched": {ensure(0, 1, "x", isRunning), call(2, 3, "SetVMPower", "OK", history.Result{Action: "POWER_ACTION_ON", UID: "y", Power: isRunning})},
		"it comes from nowhere":              {get(0, 1, "", ""), get(2, 3, "x", isRunning)},
		"it is crashed and runs":             {ensure(0, 1, "x", isRunning), vm(2, "crashed", "h1", "a", "x"), get(3, 4, "x", isRunning)},
		"a lost request makes one that was":  {ensure(0, 1, "x", isRunning), lose(2, 3, "EnsureVM"), get(4, 5, "", "")},
		"a volume for nobody":                {remove(0, 1, true), call(2, 3, "AttachVolume", "OK", history.Result{})},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			isBad(t, validate.NewVMModel(), s, "are not those of one VM")
		})
	}
}

func TestAVMIsJudgedAMinuteAfterItIsGone(t *testing.T) {
	t.Parallel()
	v := validate.NewVMModel()
	for _, e := range (story{ensure(0, 1, "x", isOff), get(2, 3, "", ""), remove(4, 5, true), later(60)}) {
		if found := v.Observe(e); len(found) > 0 {
			t.Fatalf("it is not certain yet: %v", found)
		}
	}
	if found := v.Observe(later(70)); len(found) != 1 {
		t.Errorf("it says %v", found)
	}
	if found := v.Finish(); len(found) > 0 {
		t.Errorf("it says it again: %v", found)
	}
}

func TestAVMWithManyLostCallsIsJudgedQuickly(t *testing.T) {
	t.Parallel()
	s := story{ensure(0, 1, "x", isOff)}
	for i := range 1000 {
		s = append(s, lose(float64(2+i), float64(3+i), []string{"EnsureVM", "DeleteVM", "SetVMPower"}[i%3]))
	}
	isGood(t, validate.NewVMModel(), s)
}

func TestAVMWithTooManyCallsIsUnknown(t *testing.T) {
	t.Parallel()
	v := validate.NewVMModel()
	s := story{ensure(0, 1, "x", isOff)}
	for i := range 6000 {
		s = append(s, call(float64(2+i), float64(2+i), "AttachVolume", "REASON_IN_USE", history.Result{}))
	}
	if found := judge(t, v, s); len(found) > 0 {
		t.Errorf("it says %v", found)
	}
	if _, unknown := v.Judged(); unknown == "" {
		t.Error("it does not say that it cannot tell")
	}
}
