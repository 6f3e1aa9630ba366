package main

import (
	"context"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
	"elemento.cloud/cluster-api-provider-elemento/reports"
)

func (s *scenario) remove(ctx context.Context, f4 *reports.Examination) {
	full, err := s.site.Hosts.Take(ctx)
	Expect(err).NotTo(HaveOccurred())
	s.seen.look(ctx)
	f4.Step("the manifest's objects deleted as Clastix, the cluster first", func() { s.cluster.Delete(ctx, s.clastix) })
	f4.Step("nothing is left on AtomOS", func() {
		after := s.site.Unchanged(ctx, s.before)
		f4.Figure(
			reports.Figure{Name: "resources on AtomOS before", Value: float64(len(s.before)), Command: "C4, each host"},
			reports.Figure{Name: "resources on AtomOS with the cluster", Value: float64(len(full)), Command: "C4, each host"},
			reports.Figure{Name: "resources on AtomOS after", Value: float64(after), AtMost: ptr.To(float64(len(s.before))), Command: "C4, each host"},
		)
	})
	f4.Step("no ElementoCleanup is left", func() {
		cleanups := &infrav1.ElementoCleanupList{}
		Expect(s.site.Admin.List(ctx, cleanups, client.InNamespace(s.cluster.Key.Namespace))).To(Succeed())
		f4.Figure(reports.Figure{Name: "ElementoCleanups", Value: float64(len(cleanups.Items)), AtMost: ptr.To(0.0), Command: "kubectl get elementocleanups"})
	})
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
