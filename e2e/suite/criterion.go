package suite

import (
	"context"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

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
	It(title, Label(criterion), func(ctx SpecContext) {
		e := s.Report.Begin(id)
		DeferCleanup(func() {
			if r := CurrentSpecReport(); r.Failed() {
				e.Fail(r.Failure.Message)
			}
		})
		examine(ctx, e)
		Expect(e.Conclude()).To(Equal(reports.Passed), "the criterion %s", id)
	})
}
