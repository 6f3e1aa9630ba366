package daemon

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/daemon/rpc"
)

func TestPanicOfWhatRunsForACallFailsTheCallAndNotTheDaemon(t *testing.T) {
	t.Parallel()
	var running sync.WaitGroup
	defer running.Wait()
	spawn := func(_ context.Context, f func(context.Context)) { running.Go(func() { f(t.Context()) }) }
	breaks := func() int { var none map[string]*host; return len(none["host"].ID) }
	for what, call := range map[string]func(){
		"each":     func() { each([]*host{{}, {}}, func(int, *host) { breaks() }) },
		"together": func() { _ = together(2, func(int) error { breaks(); return nil }) },
		"both": func() {
			each([]*host{{}}, func(int, *host) { _ = together(2, func(int) error { breaks(); return nil }) })
		},
		"a question": func() {
			s := shared[int]{ask: func(context.Context) (int, error) { return breaks(), nil }, spawn: spawn}
			_, _ = s.get(t.Context())
		},
	} {
		t.Run(what, func(t *testing.T) {
			var log bytes.Buffer
			s := &service{log: slog.New(slog.NewTextHandler(&log, nil))}
			err := func() (err error) {
				defer s.recover(t.Context(), "method", &err)
				call()
				return nil
			}()
			if reasonOf(err) != rpc.Reason_REASON_HOST_FAILED {
				t.Errorf("got %v", err)
			}
			if !strings.Contains(log.String(), "nil pointer") || !strings.Contains(log.String(), "crash_test.go") {
				t.Errorf("the log does not say what happened and where: %s", log.String())
			}
		})
	}
}

func TestAQuestionThatPanicsIsAskedAgain(t *testing.T) {
	t.Parallel()
	ctx, end := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer end()
	spawn := func(_ context.Context, f func(context.Context)) { running.Go(func() { f(ctx) }) }
	var log bytes.Buffer
	h := &host{interval: time.Millisecond, spawn: spawn, log: slog.New(slog.NewTextHandler(&log, nil))}
	asked := make(chan int)
	n := 0
	v := newTenant(h, "client")
	v.vms.ask = func(context.Context) (observation, error) {
		n++
		select {
		case asked <- n:
		case <-ctx.Done():
		}
		panic("no answer")
	}
	defer v.poller.subscribe(make(chan struct{}, 1))()
	for want := range 3 {
		if got := <-asked; got != want+1 {
			t.Errorf("question %d, want %d", got, want+1)
		}
	}
}
