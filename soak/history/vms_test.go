package history

import (
	"path/filepath"
	"slices"
	"testing"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/fakeatomos/history"
)

func TestTheFakesHistoryTellsHowManyVMsThereWere(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file, err := history.Open(filepath.Join(dir, AtomOS))
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	at := func(s int) time.Time { return begin.Add(time.Duration(s) * time.Second) }
	tell := func(s int, event, vm, uid string) {
		file.Add(Event{Time: at(s), Kind: history.VM, Event: event, VM: vm, UID: uid, Host: "host-1", Owner: "poc"})
	}
	tell(0, "made", "a", "1")
	tell(1, "booted", "a", "1")
	tell(2, "made", "b", "2")
	tell(3, "made", "c", "3")
	tell(3, "made", "c", "3") // told again
	tell(4, "booted", "b", "2")
	tell(5, "removed", "a", "1")
	tell(6, "made", "b", "4") // a second one of the name
	tell(7, "removed", "b", "2")
	file.Add(Event{Time: at(3), Kind: history.VM, Event: "made", VM: "x", UID: "9", Host: "host-1", Owner: "another"})
	file.Add(Event{Time: at(2), Ended: at(5), Kind: history.Call, Call: "POST matcher/register", VM: "b", Owner: "poc"})
	file.Add(Event{Time: at(2), Ended: at(5), Kind: history.Call, Call: "POST matcher/start", VM: "b", Owner: "poc"})
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}

	vms, err := ReadVMs(dir, "poc")
	if err != nil {
		t.Fatal(err)
	}
	if twice := vms.Twice(); !slices.Equal(twice, []string{"b"}) {
		t.Errorf("made twice: %v, want b", twice)
	}
	for since, want := range map[int]int{0: 3, 4: 3, 7: 2} {
		if most := vms.Most(at(since)); most != want {
			t.Errorf("since second %d there were %d at a time, want %d", since, most, want)
		}
	}
	for s, want := range map[int]int{0: 1, 1: 0, 3: 2, 4: 1, 6: 2} {
		if n := vms.Booting(at(s)); n != want {
			t.Errorf("in second %d %d were booting, want %d", s, n, want)
		}
	}
	for s, want := range map[int]int{1: 0, 2: 1, 4: 1, 5: 0} {
		if n := vms.Registering(at(s)); n != want {
			t.Errorf("in second %d %d were being registered, want %d", s, n, want)
		}
	}
	if n := vms.Since(at(2)); n != 2 {
		t.Errorf("after second 2 %d were made, want 2", n)
	}
	if _, err := ReadVMs(dir, "nobody"); err == nil {
		t.Error("a history without VMs is none that says so")
	}
}
