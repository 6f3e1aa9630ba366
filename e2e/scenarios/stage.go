package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"elemento.cloud/cluster-api-provider-elemento/e2e/suite"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos"
)

// check is nil when something holds, and says otherwise what does not.
type check func(context.Context) error

// stage is what a scenario has in hand.
type stage struct {
	*suite.Site
	troupe   *troupe
	scenario scenario
	// Rand is the source of its random choices.
	Rand *rand.Rand
	// Cluster is the standing one that it acts on.
	Cluster *standing

	// broken is when it broke something first; took is how long it took from the
	// last change for the worse, or back to the better, to convergence.
	broken, changed time.Time
	took            time.Duration
	undo            []func(context.Context) error
	guards          []*guard
	faults          []fault
}

// fault is one that was set, and how often it has to fire at least.
type fault struct {
	id, what string
	times    int
}

// breaks does something bad. undo, which may be nil, ends it; it is done at the
// latest when the scenario is over, unless heals has done it before.
func (s *stage) breaks(what string, do func() error, undo func(context.Context) error) {
	GinkgoHelper()
	s.change(what, do)
	if undo != nil {
		s.undo = append(s.undo, undo)
	}
}

// heals ends all that was broken, the last first.
func (s *stage) heals(ctx context.Context, what string) {
	GinkgoHelper()
	s.change(what, func() error { return s.undoAll(ctx) })
}

// change does something of which the time to convergence is counted.
func (s *stage) change(what string, do func() error) {
	GinkgoHelper()
	By(what)
	s.troupe.watched.mark(s.scenario.name+": "+what, "begin")
	s.changed = time.Now()
	if s.broken.IsZero() {
		s.broken = s.changed
	}
	if err := do(); err != nil {
		Fail(what + ": " + err.Error())
	}
}

func (s *stage) undoAll(ctx context.Context) error {
	var errs []error
	for _, undo := range slices.Backward(s.undo) {
		errs = append(errs, undo(ctx))
	}
	s.undo = nil
	return errors.Join(errs...)
}

// converges waits until something holds, for two cycles at most, and counts the
// time since the last change.
func (s *stage) converges(ctx context.Context, what string, holds check) {
	GinkgoHelper()
	s.await(ctx, what, cycles*cycle, holds)
	s.took = max(s.took, time.Since(s.changed))
	s.troupe.watched.mark(s.scenario.name+": "+what, "end")
}

// within waits until something holds that may take so long and no longer.
func (s *stage) within(ctx context.Context, limit time.Duration, what string, holds check) {
	GinkgoHelper()
	s.await(ctx, what, limit, holds)
}

func (s *stage) await(ctx context.Context, what string, limit time.Duration, holds check) {
	GinkgoHelper()
	By(what)
	said := time.Now()
	Eventually(func() error {
		if err := s.World.Err(); err != nil {
			return StopTrying(err.Error())
		}
		err := holds(ctx)
		if err != nil && time.Since(said) > 30*time.Second {
			said = time.Now()
			fmt.Fprintf(GinkgoWriter, "%s waits: %s: %v\n", said.Format(time.TimeOnly), what, err)
		}
		return errors.Join(err, s.broke())
	}, limit, 250*time.Millisecond).WithContext(ctx).Should(Succeed(), what)
}

// stays demands that something holds for so long.
func (s *stage) stays(ctx context.Context, span time.Duration, what string, holds check) {
	GinkgoHelper()
	By(what)
	Consistently(func() error { return holds(ctx) }, span, 250*time.Millisecond).WithContext(ctx).Should(Succeed(), what)
}

// guard watches over something that must hold all the while.
type guard struct {
	what string
	end  context.CancelFunc
	done chan struct{}

	mu  sync.Mutex
	err error
}

// always demands that something holds from now to the end of the scenario, or
// until the returned function is called.
func (s *stage) always(ctx context.Context, what string, holds check) (until func()) {
	GinkgoHelper()
	ctx, cancel := context.WithCancel(ctx)
	g := &guard{what: what, end: cancel, done: make(chan struct{})}
	s.guards = append(s.guards, g)
	go func() {
		defer close(g.done)
		tick := time.NewTicker(500 * time.Millisecond)
		defer tick.Stop()
		for {
			err := holds(ctx)
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				g.mu.Lock()
				g.err = fmt.Errorf("at %s: %w", time.Now().Format(time.TimeOnly), err)
				g.mu.Unlock()
				return
			}
			select {
			case <-ctx.Done():
			case <-tick.C:
			}
		}
	}()
	return func() { cancel(); <-g.done }
}

// broke says what no longer holds of that which must.
func (s *stage) broke() error {
	for _, g := range s.guards {
		g.mu.Lock()
		err := g.err
		g.mu.Unlock()
		if err != nil {
			return StopTrying(fmt.Sprintf("%s: %v", g.what, err))
		}
	}
	return nil
}

// end ends what was watched over, undoes what is still broken, and demands that all
// that was to go wrong has, and that the standing cluster is as it was made.
func (s *stage) end(ctx context.Context) {
	for _, g := range s.guards {
		g.end()
		<-g.done
	}
	if err := s.broke(); err != nil {
		Fail(err.Error())
	}
	if len(s.undo) > 0 {
		s.heals(ctx, "all is mended")
	}
	if err := s.fired(); err != nil {
		Fail(err.Error())
	}
	if s.Cluster != nil {
		s.converges(ctx, "the cluster is as it was", s.Cluster.whole(s))
	}
	if s.took == 0 {
		Fail("the scenario has converged to nothing; it must say converges at least once")
	}
}

// restore mends what a scenario that failed has left broken.
func (s *stage) restore(ctx context.Context) {
	for _, g := range s.guards {
		g.end()
		<-g.done
	}
	Expect(s.undoAll(ctx)).To(Succeed(), "mending what the scenario broke")
	Expect(s.Fake.RemoveFaults(ctx, "")).To(Succeed())
}

// fault has the fake do something wrong, until it is healed. The scenario fails if
// that has not happened as often as the fault says, or at all: then it shows nothing.
func (s *stage) fault(ctx context.Context, f fakeatomos.Fault) (id string) {
	GinkgoHelper()
	f.Seed = int64(s.Rand.Uint64() >> 1)
	what := string(f.Effect)
	if f.Call != "" {
		what += " on " + f.Call
	}
	s.breaks(what, func() (err error) {
		id, err = s.Fake.AddFault(ctx, f)
		return err
	}, func(ctx context.Context) error { return s.Fake.RemoveFaults(ctx, id) })
	s.faults = append(s.faults, fault{id: id, what: what, times: max(f.Times, 1)})
	return id
}

// fired says which of the faults has not.
func (s *stage) fired() error {
	fired, err := s.troupe.watched.fired()
	if err != nil {
		return err
	}
	var errs []error
	for _, f := range s.faults {
		if n := len(fired[f.id]); n < f.times {
			errs = append(errs, fmt.Errorf("%s has happened %d times, want %d: the scenario has shown nothing", f.what, n, f.times))
		}
	}
	return errors.Join(errs...)
}

// each holds when all do.
func each(checks ...check) check {
	return func(ctx context.Context) error {
		for _, c := range checks {
			if err := c(ctx); err != nil {
				return err
			}
		}
		return nil
	}
}

// not holds when the other does not, and there was time to find out.
func not(what string, c check) check {
	return func(ctx context.Context) error {
		if c(ctx) == nil {
			return errors.New(what)
		}
		return ctx.Err()
	}
}

// either holds when one does.
func either(checks ...check) check {
	return func(ctx context.Context) error {
		var errs []error
		for _, c := range checks {
			err := c(ctx)
			if err == nil {
				return nil
			}
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	}
}
