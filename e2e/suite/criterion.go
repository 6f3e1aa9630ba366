package suite

import (
	"context"
	"fmt"

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
		examine(ctx, e)
		if ctx.Err() != nil {
			return // interrupted: what was not looked at is not judged
		}
		if verdict := e.Conclude(); !e.Well() {
			Fail(fmt.Sprintf("%s: the verdict is %q; the report says why", id, verdict))
		}
	})
}
