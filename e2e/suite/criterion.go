package suite

import (
	"context"
	"fmt"
	"sync"

	. "github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"

	"elemento.cloud/cluster-api-provider-elemento/reports"
)

// Criterion describes the spec that answers a criterion of the checklist.
func (s *Site) Criterion(id string, examine func(context.Context, *reports.Examination)) {
	title := id
	for _, c := range reports.Checklist() {
		if c.ID == id {
			title += ": " + c.Title
		}
	}
	It(title, Label(Told), func(ctx SpecContext) {
		e := s.Report.Begin(id)
		DeferCleanup(func() {
			// After an interrupt it stays unknown.
			if r := CurrentSpecReport(); r.State.Is(types.SpecStateFailed | types.SpecStatePanicked | types.SpecStateTimedout) {
				e.Fail(r.Failure.Message)
			}
		})
		whole, end := whileItStands(ctx, s.World.Failed(), s.World.Err)
		defer end()
		examine(whole, e)
		if ctx.Err() != nil {
			return // interrupted: what was not looked at is not judged
		}
		if whole.Err() != nil {
			Fail(context.Cause(whole).Error())
		}
		if verdict := e.Conclude(); !e.Well() {
			Fail(fmt.Sprintf("%s: the verdict is %q; the report says why", id, verdict))
		}
	})
}

// whileItStands cancels what is done in a world when that has failed, until the function
// that it returns is called: what is waited for would not come.
func whileItStands(ctx context.Context, failed <-chan struct{}, why func() error) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	var watching sync.WaitGroup
	watching.Go(func() {
		select {
		case <-failed:
			cancel(fmt.Errorf("a process of the world ended by itself: %w", why()))
		case <-ctx.Done():
		}
	})
	return ctx, func() {
		cancel(nil)
		watching.Wait()
	}
}
