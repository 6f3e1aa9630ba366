package main

import (
	"context"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/utils/ptr"

	"elemento.cloud/cluster-api-provider-elemento/reports"
)

func (s *scenario) remove(ctx context.Context, f4 *reports.Examination) {
	s.seen.look(ctx)
	s.cluster.Remove(ctx, f4, s.clastix)
	f4.Step("no container or volume of a guest is left in Docker", func() {
		left := s.seen.ofGuests(ctx)
		f4.Figure(reports.Figure{Name: "containers and volumes of guests", Value: float64(len(left)), AtMost: ptr.To(0.0), Command: "docker ps --all, docker volume ls"})
		Expect(left).To(BeEmpty())
	})
}

// nothingInDocker demands, when all was taken down, that nothing of the world is left in
// Docker: kind's own is gone too.
func (s *scenario) nothingInDocker(ctx SpecContext, _ Report) {
	if s.seen.network == "" {
		return // it did not come so far
	}
	s.site.Report.Step("nothing of the run is left in Docker", func() {
		left, all := s.seen.left(ctx)
		s.site.Report.Figure(
			reports.Figure{Name: "containers, volumes and networks that the run had in Docker", Value: float64(all), Command: "docker ps, volume ls, network ls"},
			reports.Figure{Name: "of these left", Value: float64(len(left)), AtMost: ptr.To(0.0), Command: "docker ps --all, volume ls, network ls"},
		)
		Expect(left).To(BeEmpty())
	})
}
