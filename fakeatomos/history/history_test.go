package history_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/fakeatomos/history"
)

func TestWhatIsWrittenIsRead(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "run.jsonl")
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	write(t, path, history.Event{Time: at, Kind: history.VM, Event: "made", VM: "vm-1", Detail: history.Detail(map[string]int{"slots": 2})})
	write(t, path, history.Event{Kind: history.Host, Event: "down", Host: "host-1"})

	events, _ := read(t, path, 0)
	if len(events) != 2 || events[0].VM != "vm-1" || !events[0].Time.Equal(at) || string(events[0].Detail) != `{"slots":2}` {
		t.Fatalf("read %+v", events)
	}
	if events[1].Time.IsZero() {
		t.Error("an event without a time did not happen now")
	}
}

func TestALineThatIsStillBeingWrittenIsReadTheNextTime(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "run.jsonl")
	write(t, path, history.Event{Kind: history.VM, VM: "vm-1"})
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(whole, whole[:10]...), 0o600); err != nil {
		t.Fatal(err)
	}
	events, offset := read(t, path, 0)
	if len(events) != 1 {
		t.Fatalf("read %+v", events)
	}
	if err := os.WriteFile(path, append(whole, whole...), 0o600); err != nil {
		t.Fatal(err)
	}
	if events, _ = read(t, path, offset); len(events) != 1 {
		t.Fatalf("then read %+v", events)
	}
}

func TestAHistoryIsContinuedWhereItsWriterWasKilledInALine(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "run.jsonl")
	write(t, path, history.Event{Kind: history.VM, VM: "vm-1"})
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(whole, whole[:20]...), 0o600); err != nil {
		t.Fatal(err)
	}
	write(t, path, history.Event{Kind: history.VM, VM: "vm-2"})
	events, _ := read(t, path, 0)
	if len(events) != 2 || events[1].VM != "vm-2" {
		t.Fatalf("read %+v", events)
	}
}

func TestNobodyHasToKeepAHistory(t *testing.T) {
	t.Parallel()
	var none *history.Writer
	none.Add(history.Event{Kind: history.VM})
	if err := none.Close(); err != nil {
		t.Error(err)
	}
}

func write(t *testing.T, path string, e history.Event) {
	t.Helper()
	w, err := history.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	w.Add(e)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string, from int64) (events []history.Event, offset int64) {
	t.Helper()
	offset, err := history.Read(path, from, func(e history.Event) error { events = append(events, e); return nil })
	if err != nil {
		t.Fatal(err)
	}
	return events, offset
}
