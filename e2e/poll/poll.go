// Package poll waits for what comes by itself and that nobody tells.
package poll

import (
	"context"
	"fmt"
	"time"
)

// Until looks now, and again after a pause each, until what it looks at is done, or ctx is
// over. It returns the error of the look that was done. Where ctx was over first, that is
// the error, after what the last look found in the way.
func Until(ctx context.Context, pause time.Duration, look func(context.Context) (done bool, err error)) error {
	for {
		done, err := look(ctx)
		if done {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			if err == nil {
				return context.Cause(ctx)
			}
			return fmt.Errorf("%w: %w", err, context.Cause(ctx))
		}
	}
}
