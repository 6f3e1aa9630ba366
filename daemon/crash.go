package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"sync"
)

// crash is a panic, and where it happened. What runs beside a call hands it to the call,
// which fails; a look that nobody waits for leaves it in the log, and the next one comes.
type crash struct {
	value any
	stack []byte
}

// caught runs f and returns the crash in which it ended, nil for none.
func caught(f func()) (c *crash) {
	defer func() {
		if p := recover(); p != nil {
			c = crashOf(p)
		}
	}()
	f()
	return nil
}

// crashOf is the crash that a panic with that value tells of. It is asked for while the
// stack is still that of the panic.
func crashOf(p any) *crash {
	if c, is := p.(*crash); is { // of a goroutine
		return c
	}
	return &crash{p, debug.Stack()}
}

// write tells a log of the crash. Its value may hold anything, so only where it happened
// is told.
func (c *crash) write(ctx context.Context, log *slog.Logger, message string, about ...any) {
	kind := fmt.Sprintf("%T", c.value)
	if e, ok := c.value.(runtime.Error); ok {
		kind = e.Error()
	}
	log.ErrorContext(ctx, message, append(about, "requestID", requestID(ctx), "kind", kind, "stack", string(c.stack))...)
}

// atOnce runs f for 0 to n-1 at the same time and waits for all. It panics where one of
// them has.
func atOnce(n int, f func(i int)) {
	crashes := make([]*crash, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { crashes[i] = caught(func() { f(i) }) })
	}
	wg.Wait()
	for _, c := range crashes {
		if c != nil {
			panic(c)
		}
	}
}

// guarded runs what nobody waits for.
func (h *host) guarded(ctx context.Context, f func()) {
	if c := caught(f); c != nil {
		c.write(ctx, h.log, "panic beside calls", "host", h.ID)
	}
}
