package poll_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/e2e/poll"
)

var errInTheWay = errors.New("something is in the way")

func TestItIsLookedUntilItIsDone(t *testing.T) {
	t.Parallel()
	for _, end := range []error{nil, errors.New("it has failed")} {
		looks := 0
		err := poll.Until(t.Context(), time.Millisecond, func(context.Context) (bool, error) {
			if looks++; looks < 3 {
				return false, errInTheWay
			}
			return true, end
		})
		if !errors.Is(err, end) || errors.Is(err, errInTheWay) || looks != 3 {
			t.Errorf("after %d looks it ended with %v, want %v", looks, err, end)
		}
	}
}

func TestWhatDoesNotComeIsTold(t *testing.T) {
	t.Parallel()
	enough := errors.New("it has taken too long")
	for _, way := range []error{nil, errInTheWay} {
		ctx, cancel := context.WithCancelCause(t.Context())
		err := poll.Until(ctx, time.Hour, func(context.Context) (bool, error) {
			cancel(enough)
			return false, way
		})
		if !errors.Is(err, enough) || way != nil && !errors.Is(err, way) {
			t.Errorf("it ended with %v, want %v because of %v", err, enough, way)
		}
	}
}
