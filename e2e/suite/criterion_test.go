package suite

import (
	"context"
	"errors"
	"testing"
	"time"
)

func TestWhatIsDoneInAWorldEndsWhenAProcessOfItEndsByItself(t *testing.T) {
	t.Parallel()
	failed, why := make(chan struct{}), errors.New("the manager has ended")
	ctx, end := whileItStands(t.Context(), failed, func() error { return why })
	defer end()
	if ctx.Err() != nil {
		t.Fatalf("it ends in a world that stands: %v", context.Cause(ctx))
	}
	close(failed)
	select {
	case <-ctx.Done():
	case <-time.After(time.Minute):
		t.Fatal("it goes on")
	}
	if got := context.Cause(ctx); !errors.Is(got, why) {
		t.Errorf("it ends because of %v", got)
	}
}

func TestAWorldThatFailsLaterIsNobodysMatter(t *testing.T) {
	t.Parallel()
	ctx, end := whileItStands(t.Context(), make(chan struct{}), func() error { return nil })
	end()
	if !errors.Is(context.Cause(ctx), context.Canceled) {
		t.Errorf("what is over ends because of %v", context.Cause(ctx))
	}
}
