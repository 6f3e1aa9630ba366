package daemon

import (
	"context"
	"sync"
	"time"
)

// shared is a question that many ask: whoever asks gets an answer that was
// asked for after he came, and all who wait share it. So the load on a host
// does not grow with the number of callers, and no caller acts on what was
// true before it came.
type shared[T any] struct {
	ask func(context.Context) (T, error)
	// spawn runs a function that ends by itself soon.
	spawn func(context.Context, func(context.Context))

	mu     sync.Mutex
	asking bool
	next   *answer[T]
}

type answer[T any] struct {
	ready chan struct{}
	value T
	err   error
	crash *crash
}

// lookTimeout bounds a question. It is what it takes to tell that a host which
// swallows packets is not there.
const lookTimeout = 5 * time.Second

// get returns an answer asked for from now on, or the context's error. It panics where
// asking has.
func (s *shared[T]) get(ctx context.Context) (T, error) {
	s.mu.Lock()
	a := s.next
	if a == nil {
		a = &answer[T]{ready: make(chan struct{})}
		s.next = a
		if !s.asking {
			s.asking = true
			s.spawn(ctx, s.work)
		}
	}
	s.mu.Unlock()
	select {
	case <-a.ready:
		if a.crash != nil {
			panic(a.crash)
		}
		return a.value, a.err
	case <-ctx.Done():
		var none T
		return none, context.Cause(ctx)
	}
}

// work asks for as long as somebody waits for the next answer.
func (s *shared[T]) work(ctx context.Context) {
	for {
		s.mu.Lock()
		a := s.next
		s.next = nil
		s.asking = a != nil
		s.mu.Unlock()
		if a == nil {
			return
		}
		func() {
			ctx, cancel := context.WithTimeout(ctx, lookTimeout)
			defer cancel()
			defer close(a.ready)
			a.crash = caught(func() { a.value, a.err = s.ask(ctx) })
		}()
	}
}
