package daemon

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestAnswersAreSharedAndNeverOlderThanTheirQuestion(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int64
		s := shared[time.Time]{
			ask: func(context.Context) (time.Time, error) {
				asked.Add(1)
				began := time.Now()
				time.Sleep(time.Second)
				return began, nil
			},
			spawn: func(ctx context.Context, f func(context.Context)) { go f(ctx) },
		}
		for i := range 100 { // over 990 ms, while the first question is under way
			go func() {
				time.Sleep(time.Duration(i) * 10 * time.Millisecond)
				came := time.Now()
				answer, err := s.get(t.Context())
				if err != nil || answer.Before(came) {
					t.Errorf("came at %s and got an answer of %s, %v", came, answer, err)
				}
			}()
		}
		time.Sleep(time.Minute)
		if n := asked.Load(); n != 2 {
			t.Errorf("asked %d times, want 2", n)
		}
	})
}

func TestWhoeverGivesUpDoesNotTakeTheAnswerFromOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := shared[int]{
			ask:   func(ctx context.Context) (int, error) { time.Sleep(time.Second); return 7, ctx.Err() },
			spawn: func(_ context.Context, f func(context.Context)) { go f(context.Background()) },
		}
		hasty, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		go func() {
			if _, err := s.get(hasty); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v", err)
			}
		}()
		synctest.Wait()
		if n, err := s.get(t.Context()); n != 7 || err != nil {
			t.Errorf("got %d, %v", n, err)
		}
	})
}

func TestALockIsHeldByOneAndForgottenByAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var l keyLock[string]
		var inside atomic.Int64
		for range 20 {
			go func() {
				unlock, ok := l.lock(t.Context(), "key")
				if !ok || inside.Add(1) != 1 {
					t.Error("two hold the lock")
				}
				time.Sleep(time.Second)
				inside.Add(-1)
				unlock()
			}()
		}
		synctest.Wait()
		hasty, cancel := context.WithTimeout(t.Context(), time.Second/2)
		defer cancel()
		if _, ok := l.lock(hasty, "key"); ok {
			t.Error("got a lock that is held")
		}
		if _, ok := l.lock(t.Context(), "other"); !ok {
			t.Error("another key is locked too")
		}
		time.Sleep(time.Minute)
		l.mu.Lock()
		defer l.mu.Unlock()
		if len(l.held) != 1 { // "other"
			t.Errorf("%d keys are remembered", len(l.held))
		}
	})
}
