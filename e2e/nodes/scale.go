package main

import (
	"context"
	"fmt"

	. "github.com/onsi/ginkgo/v2"
)

func (s *scenario) scaleWorkers(ctx SpecContext) {
	for _, n := range []int{moreWorkers, workers} {
		s.site.Report.Step(fmt.Sprintf("%d workers", n), func() { s.becomes(ctx, n) })
	}
}

func (s *scenario) scaleControlPlane(ctx SpecContext) {
	for _, n := range []int{moreControlPlanes, controlPlanes} {
		s.site.Report.Step(fmt.Sprintf("%d control plane(s)", n), func() {
			s.cluster.ControlPlanes = n
			s.becomes(ctx, workers)
		})
	}
	s.site.Report.Step("CoreDNS, kube-proxy and flannel available", func() { s.systemAvailable(ctx, workers) })
	s.talkAcrossNodes(ctx)
}

// becomes has Clastix ask for another size of the cluster, and demands that Machines,
// Nodes, VMs and containers become as many.
func (s *scenario) becomes(ctx context.Context, workers int) {
	GinkgoHelper()
	s.apply(ctx, workers)
	s.await(ctx, workers)
	s.nodesReady(ctx, workers)
	s.compare(ctx, workers)
	s.everyVMIsAContainer(ctx)
}
