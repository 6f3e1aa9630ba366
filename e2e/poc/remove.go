package main

import (
	"context"

	. "github.com/onsi/gomega"
	"k8s.io/utils/ptr"

	"elemento.cloud/cluster-api-provider-elemento/reports"
)

func (s *scenario) remove(ctx context.Context, f4 *reports.Examination) {
	s.cluster.Remove(ctx, f4, s.clastix)
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
