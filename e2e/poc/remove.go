package main

import (
	"context"
	"maps"
	"slices"

	. "github.com/onsi/gomega"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemento.cloud/cluster-api-provider-elemento/e2e/suite"
	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
	"elemento.cloud/cluster-api-provider-elemento/reports"
)

func (s *scenario) remove(ctx context.Context, f4 *reports.Examination) {
	full, err := s.site.Hosts.Take(ctx)
	Expect(err).NotTo(HaveOccurred())
	f4.Step("the manifest's objects deleted as Clastix, the cluster first", func() {
		s.cluster.Delete(ctx, s.clastix)
	})
	f4.Step("nothing is left on AtomOS", func() {
		after := s.site.Unchanged(ctx, s.before)
		f4.Figure(
			reports.Figure{Name: "resources on AtomOS before", Value: float64(len(s.before)), Command: "C4, each host"},
			reports.Figure{Name: "resources on AtomOS with the cluster", Value: float64(len(full)), Command: "C4, each host"},
			reports.Figure{Name: "resources on AtomOS after", Value: float64(after), AtMost: ptr.To(float64(len(s.before))), Command: "C4, each host"},
		)
	})
	f4.Step("nothing is left in Kubernetes", func() {
		Eventually(func() []string { return slices.Sorted(maps.Keys(s.site.Objects(ctx, s.cluster.Key.Namespace))) }, suite.Long, suite.Often).WithContext(ctx).Should(Equal(s.objectsBefore))
		cleanups := &infrav1.ElementoCleanupList{}
		Expect(s.site.Admin.List(ctx, cleanups, client.InNamespace(s.cluster.Key.Namespace))).To(Succeed())
		f4.Figure(reports.Figure{Name: "ElementoCleanups", Value: float64(len(cleanups.Items)), AtMost: ptr.To(0.0), Command: "kubectl get elementocleanups"})
		Expect(cleanups.Items).To(BeEmpty())
	})
	if len(s.ourLogs()) == 0 {
		return // they belong to whoever started the processes
	}
	f4.Step("no bootstrap data, key or token is in a log of ours", func() {
		var places []string
		read := 0
		for _, log := range s.ourLogs() {
			found, lines, err := leaks(s.secrets, log)
			Expect(err).NotTo(HaveOccurred())
			places, read = append(places, found...), read+lines
		}
		Expect(s.secrets).NotTo(BeEmpty())
		Expect(read).NotTo(BeZero())
		f4.Figure(
			reports.Figure{Name: "lines of log searched", Value: float64(read), Command: "logs/"},
			reports.Figure{Name: "of these with a secret", Value: float64(len(places)), AtMost: ptr.To(0.0), Command: "logs/"},
		)
		Expect(places).To(BeEmpty())
	})
}
