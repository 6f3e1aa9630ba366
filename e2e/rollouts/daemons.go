package main

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/utils/ptr"

	"elemento.cloud/cluster-api-provider-elemento/e2e/world"
	"elemento.cloud/cluster-api-provider-elemento/reports"
)

// rollDaemons ends each daemon, as its unit would, while VMs are being made, and starts
// it anew before the next one's turn.
func (s *scenario) rollDaemons(ctx SpecContext) {
	defer s.slowly(ctx)()
	began := time.Now()
	var told []time.Time // when each was told to end
	s.underLoad(ctx, func() {
		for n := range s.site.World.Endpoints() {
			name := world.DaemonProcess(n + 1)
			s.site.Report.Step(name+" ends and is started anew while Machines are created and deleted", func() {
				s.somethingIsMade(ctx)
				told = append(told, time.Now())
				Expect(s.site.World.Process(name).Stop(ctx)).To(Succeed())
				Expect(s.site.World.Revive(ctx, name)).To(Succeed())
			})
		}
	})
	vms := s.vms()
	for n, at := range told {
		s.site.Report.Figure(reports.Figure{
			Name:  world.DaemonProcess(n+1) + ": VMs that hosts were registering when it was told to end",
			Value: float64(vms.Registering(at)), AtLeast: ptr.To(1.0), Command: "history of AtomOS",
		})
	}
	s.site.Report.Figure(reports.Figure{Name: "VMs made while daemons were replaced", Value: float64(vms.Since(began)), AtLeast: ptr.To(float64(moreWorkers - workers)), Command: "history of AtomOS"})
}
