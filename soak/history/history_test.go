package history_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	fake "elemento.cloud/cluster-api-provider-elemento/fakeatomos/history"
	"elemento.cloud/cluster-api-provider-elemento/soak/history"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func at(seconds float64) time.Time {
	return start.Add(time.Duration(seconds * float64(time.Second)))
}

func write(t *testing.T, dir, file string, events ...history.Event) {
	t.Helper()
	w, err := fake.Open(filepath.Join(dir, file))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		w.Add(e)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

func appendTo(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func names(events []history.Event) (all []string) {
	for _, e := range events {
		all = append(all, e.Name)
	}
	return all
}

func readAll(t *testing.T, dir string) (events []history.Event) {
	t.Helper()
	if err := history.Read(dir, func(e history.Event) error { events = append(events, e); return nil }); err != nil {
		t.Fatal(err)
	}
	return events
}

func TestTheFilesOfARunAreOneHistoryInTheOrderInWhichThingsWereOver(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, history.AtomOS,
		history.Event{Time: at(1), Name: "1"},
		history.Event{Time: at(4.1), Name: "4.1"}, // lines may change places
		history.Event{Time: at(4), Name: "4"},
		history.Event{Time: at(0), Ended: at(30), Name: "0 to 30"},
	)
	write(t, dir, history.Harness, history.Event{Time: at(2), Name: "2"}, history.Event{Time: at(40), Name: "40"})
	appendTo(t, filepath.Join(dir, "daemon-1.log"), `{"msg":"audit","method":"/elemento.daemon.v1.VMService/DeleteVM","began":"2026-01-02T03:04:08Z","ended":"2026-01-02T03:04:08.5Z"}`+"\n")
	if got, want := names(readAll(t, dir)), []string{"1", "2", "DeleteVM", "4", "4.1", "0 to 30", "40"}; !slices.Equal(got, want) {
		t.Errorf("the order is %q, want %q", got, want)
	}
}

func TestALongHistoryIsInOrderToo(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var events [3][]history.Event
	for i := range 20000 {
		events[i%3] = append(events[i%3], history.Event{Time: at(float64(i) / 10)})
	}
	// One file has all of its events at the end of the time of the others.
	for i := range events {
		write(t, dir, fmt.Sprintf("%d.jsonl", i), events[i]...)
	}
	write(t, dir, "late.jsonl", history.Event{Time: at(5000)})
	all := readAll(t, dir)
	if len(all) != 20001 {
		t.Fatalf("there are %d events", len(all))
	}
	if !slices.IsSortedFunc(all, func(a, b history.Event) int { return a.Time.Compare(b.Time) }) {
		t.Error("they are not in order")
	}
}

func TestCallsAreTakenFromLogs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	appendTo(t, filepath.Join(dir, "manager.log"), `klog says something
{"ts":1767323045.5,"msg":"Starting manager"}
{"ts":1767323046.5,"msg":"call","v":4,"method":"EnsureVM","client":"u","host":"host-1","vm":"vm-1","daemon":"127.0.0.1:1","requestID":"r","outcome":"DeadlineExceeded","began":"2026-01-02T03:04:06.000000001Z","ended":"2026-01-02T03:04:36Z","lost":true}
{"msg":"call","outcome":"the line of somebody else"}
{"msg":"call","method":"SetVMPower","client":"u","host":"host-1","vm":"vm-1","outcome":"OK","began":"2026-01-02T03:05:06Z","ended":"2026-01-02T03:05:07Z","action":"POWER_ACTION_ON"}
`)
	appendTo(t, filepath.Join(dir, "daemon-1.log"), `{"time":"2026-01-02T03:04:36Z","level":"INFO","msg":"audit","method":"/elemento.daemon.v1.VMService/EnsureVM","client":"u","host":"host-1","vm":"vm-1","requestID":"r","outcome":"OK","began":"2026-01-02T03:04:06Z","ended":"2026-01-02T03:04:37Z","power":"POWER_STATE_OFF","uid":"x"}
{"time":"2026-01-02T03:04:36Z","level":"INFO","msg":"audit","method":"/elemento.dae`)
	events := readAll(t, dir)
	if len(events) != 3 {
		t.Fatalf("the events are %+v", events)
	}
	m, d, p := events[0], events[1], events[2]
	if r := history.ResultOf(p); p.Name != "SetVMPower" || r.Action != "POWER_ACTION_ON" {
		t.Errorf("that of power is %+v", p)
	}
	if m.Kind != fake.RPC || m.End != "manager" || m.Name != "EnsureVM" || m.VM != "vm-1" || m.Host != "host-1" || m.Owner != "u" ||
		m.Peer != "127.0.0.1:1" || m.ID != "r" || m.Code != "DeadlineExceeded" || !history.ResultOf(m).Lost || m.Time.Nanosecond() != 1 {
		t.Errorf("the manager's is %+v", m)
	}
	if r := history.ResultOf(d); d.End != "daemon" || d.Name != "EnsureVM" || d.Code != "OK" || r.UID != "x" || r.Power != "POWER_STATE_OFF" || r.Lost {
		t.Errorf("the daemon's is %+v", d)
	}
}

func TestAHistoryIsFollowedWhileItIsWritten(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ctx, stop := context.WithCancel(t.Context())
	seen := make(chan string, 10)
	ended := make(chan error)
	go func() {
		ended <- history.Follow(ctx, dir, func(e history.Event) error { seen <- e.Name; return nil })
	}()
	past := time.Now().Add(-time.Hour)
	write(t, dir, history.Harness, history.Event{Time: past.Add(time.Second), Name: "second"})
	write(t, dir, history.AtomOS, history.Event{Time: past, Name: "first"})
	got := []string{<-seen, <-seen}
	if !slices.Contains(got, "first") || !slices.Contains(got, "second") {
		t.Errorf("saw %q", got)
	}
	write(t, dir, history.AtomOS, history.Event{Name: "now"}, history.Event{Time: time.Now().Add(-time.Millisecond), Name: "before"})
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if last := []string{<-seen, <-seen}; !slices.Equal(last, []string{"before", "now"}) {
		t.Errorf("at the end it saw %q", last)
	}
}

func TestWhatIsNoHistoryIsSaid(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	appendTo(t, filepath.Join(dir, history.AtomOS), "nonsense\n")
	if err := history.Read(dir, func(history.Event) error { return nil }); err == nil {
		t.Error("nonsense was read")
	}
	enough := errors.New("enough")
	dir = t.TempDir()
	write(t, dir, history.AtomOS, history.Event{Name: "1"}, history.Event{Name: "2"})
	if err := history.Read(dir, func(history.Event) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("the reader's error is %v", err)
	}
	if events := readAll(t, filepath.Join(dir, "nowhere")); len(events) != 0 {
		t.Errorf("a history that is nowhere has events %v", events)
	}
}
