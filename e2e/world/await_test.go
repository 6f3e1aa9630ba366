package world

import (
	"context"
	"errors"
	"testing"
	"time"
)

func TestWhatKnowsNoContextIsTakenAwayUntilItGivesUp(t *testing.T) {
	t.Parallel()
	broken := errors.New("it is broken")
	for name, c := range map[string]struct {
		// before and after are how it ends before the context does, or once it was
		// cleared away; nil where it does not.
		before, after func(made chan<- error)
		patience      time.Duration
		want          error
		cleared       int
	}{
		"made in time":   {before: ends(nil)},
		"failed in time": {before: ends(broken), want: broken},
		"failed then":    {after: ends(broken), patience: time.Hour, want: context.Canceled, cleared: 1},
		"made too late":  {after: ends(nil), patience: time.Hour, want: context.Canceled, cleared: 2},
		"deaf":           {want: context.Canceled, cleared: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			made := make(chan error, 1)
			if c.before != nil {
				c.before(made)
			} else {
				cancel()
			}
			cleared := 0
			err := await(ctx, made, func(context.Context) error {
				if cleared++; cleared == 1 && c.after != nil {
					c.after(made)
				}
				return nil
			}, c.patience)
			if !errors.Is(err, c.want) {
				t.Errorf("it ends with %v, not %v", err, c.want)
			}
			if cleared != c.cleared {
				t.Errorf("it was cleared away %d times, not %d", cleared, c.cleared)
			}
		})
	}
}

func ends(err error) func(chan<- error) {
	return func(made chan<- error) { made <- err }
}
