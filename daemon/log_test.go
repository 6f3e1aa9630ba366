package daemon_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/metadata"

	"elemento.cloud/cluster-api-provider-elemento/daemon/rpc"
)

// line is what those who judge a run read of a daemon's log.
type line struct {
	Level     slog.Level
	Msg       string
	Method    string
	Caller    string
	Client    string
	Host      string
	VM        string
	RequestID string
	Outcome   string
	Began     time.Time
	Ended     time.Time
	Gone      *bool
	Power     string
	UID       *string
}

// lines returns the lines of calls, in order.
func (l *logs) lines(t *testing.T) (calls []line) {
	t.Helper()
	for text := range strings.Lines(l.String()) {
		var one line
		if err := json.Unmarshal([]byte(text), &one); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if one.Msg == "call" || one.Msg == "audit" {
			calls = append(calls, one)
		}
	}
	return calls
}

func TestEveryCallLeavesOneLine(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	d := s.daemon()
	p, began := d.provider(), time.Now()
	ctx := metadata.AppendToOutgoingContext(within(t, soon), "x-request-id", "request-7")

	made, err := p.EnsureVM(ctx, ensure("host-1", "vm-1"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.other().EnsureVM(ctx, ensure("host-1", "vm-2")); err == nil {
		t.Fatal("the other caller was let in")
	}
	if _, err := p.GetVM(ctx, &rpc.GetVMRequest{ClientUid: owner, Host: "host-1", VmName: "vm-1"}); err != nil {
		t.Fatal(err)
	}
	if _, err := p.GetVM(ctx, &rpc.GetVMRequest{ClientUid: owner, Host: "host-1", VmName: "vm-2"}); err == nil {
		t.Fatal("there is a second VM")
	}
	watch, stop := context.WithCancel(within(t, soon))
	stream, err := p.WatchVMs(watch, &rpc.WatchVMsRequest{ClientUid: owner})
	if err == nil {
		_, err = stream.Recv()
	}
	if err != nil {
		t.Fatal(err)
	}
	stop()
	eventually(t, "the watch has left its line", func() bool { return len(s.logs.lines(t)) == 5 })
	p.deleteVM(t, "host-1", "vm-1", time.Time{})
	if _, err := p.EnsureForward(ctx, &rpc.EnsureForwardRequest{ClientUid: owner, Endpoint: &rpc.Endpoint{Host: "host-1", Port: 6443}, TargetHost: "host-1", TargetVmName: "vm-1", TargetPort: 6443}); err == nil {
		t.Fatal("a forward to no VM")
	}

	yes, uid, none := true, made.Vm.Uid, (*string)(nil)
	const running = "POWER_STATE_RUNNING"
	got := s.logs.lines(t)
	want := []line{
		{Msg: "audit", Method: "EnsureVM", Caller: "provider", Host: "host-1", VM: "vm-1", Outcome: "OK", Power: running, UID: &uid},
		{Msg: "audit", Method: "EnsureVM", Caller: "other", Host: "host-1", VM: "vm-2", Outcome: "REASON_CLIENT_FORBIDDEN", UID: none},
		{Msg: "call", Method: "GetVM", Caller: "provider", Host: "host-1", VM: "vm-1", Outcome: "OK", Power: running, UID: &uid},
		{Msg: "call", Method: "GetVM", Caller: "provider", Host: "host-1", VM: "vm-2", Outcome: "REASON_VM_NOT_FOUND", UID: none},
		{Msg: "call", Method: "WatchVMs", Caller: "provider", Outcome: "OK"},
		{Msg: "audit", Method: "DeleteVM", Caller: "provider", Host: "host-1", VM: "vm-1", Outcome: "OK", Gone: &yes},
		{Msg: "audit", Method: "EnsureForward", Caller: "provider", Host: "host-1", VM: "vm-1", Outcome: "REASON_VM_NOT_FOUND"},
	}
	if len(got) != len(want) {
		t.Fatalf("%d lines, want %d: %+v", len(got), len(want), got)
	}
	for i, w := range want {
		g := got[i]
		if g.Began.Before(began.Truncate(0)) || g.Ended.Before(g.Began) || g.Ended.After(time.Now()) {
			t.Errorf("%s: from %s to %s", w.Method, g.Began, g.Ended)
		}
		if w.Client = owner; g.Client != w.Client {
			t.Errorf("%s: client %q", w.Method, g.Client)
		}
		if (g.Level == slog.LevelInfo) != (w.Msg == "audit") {
			t.Errorf("%s: %q at level %s", w.Method, w.Msg, g.Level)
		}
		if asked := w.Method != "WatchVMs" && w.Method != "DeleteVM"; asked && g.RequestID != "request-7" || g.RequestID == "" {
			t.Errorf("%s: request ID %q", w.Method, g.RequestID)
		}
		if g.Msg != w.Msg || g.Method != w.Method || g.Caller != w.Caller || g.Host != w.Host || g.VM != w.VM || g.Outcome != w.Outcome || g.Power != w.Power {
			t.Errorf("got %+v, want %+v", g, w)
		}
		if !same(g.UID, w.UID) || !same(g.Gone, w.Gone) {
			t.Errorf("%s: uid %v and gone %v, want %v and %v", w.Method, g.UID, g.Gone, w.UID, w.Gone)
		}
	}
}

func same[T comparable](a, b *T) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}

func TestWhatIsAskedOfAHostForARequestLeavesLinesWithItsID(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	p := s.daemon().provider()
	v := watch(t, p) // which has the host asked again and again
	ctx := metadata.AppendToOutgoingContext(within(t, soon), "x-request-id", "request-8")
	if _, err := p.EnsureVM(ctx, ensure("host-1", "vm-1")); err != nil {
		t.Fatal(err)
	}
	v.until("the VM is there", func() bool { return len(v.vms) == 1 })
	type asked struct{ Msg, RequestID, Host, C4, Outcome, Level string }
	registered := 0
	for text := range strings.Lines(s.logs.String()) {
		var a asked
		if err := json.Unmarshal([]byte(text), &a); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		switch {
		case a.Msg != "asked a host":
		case a.RequestID == "":
			t.Errorf("a line of no request: %s", text)
		case a.C4 == "POST matcher/register":
			registered++
			if want := (asked{a.Msg, "request-8", "host-1", a.C4, "OK", "DEBUG"}); a != want {
				t.Errorf("got %+v, want %+v", a, want)
			}
		}
	}
	if registered != 1 {
		t.Errorf("%d lines tell of the register, want one", registered)
	}
}

func TestAHostThatFallsSilentAndOneThatAnswersAgainAreInTheLog(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	watch(t, s.daemon().provider())
	said := func(level, msg string) int {
		n := 0
		for text := range strings.Lines(s.logs.String()) {
			if strings.Contains(text, `"level":"`+level+`","msg":"`+msg+`","host":"host-1","domain":"d1"`) {
				n++
			}
		}
		return n
	}
	eventually(t, "the host is there", func() bool { return said("INFO", "a host answers") == 1 })
	h := must(s.fake.Host("host-1"))
	h.Down()
	eventually(t, "its silence is told of", func() bool { return said("WARN", "a host does not answer") > 0 })
	if err := h.Up(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "its return is told of", func() bool { return said("INFO", "a host answers") > 1 })
	before := said("INFO", "a host answers")
	h.SetMaintenance(true)
	eventually(t, "its maintenance is told of", func() bool {
		return said("INFO", "a host answers") > before && strings.Contains(s.logs.String(), `"state":"maintenance"`)
	})
	if n := said("WARN", "a host does not answer"); n != 1 {
		t.Errorf("its silence is told of %d times, want once", n)
	}
}
