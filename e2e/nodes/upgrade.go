package main

import (
	"context"
	"path/filepath"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/utils/ptr"

	"elemento.cloud/cluster-api-provider-elemento/e2e/world"
	"elemento.cloud/cluster-api-provider-elemento/reports"
	"elemento.cloud/cluster-api-provider-elemento/soak/history"
	"elemento.cloud/cluster-api-provider-elemento/soak/validate"
	"elemento.cloud/cluster-api-provider-elemento/soak/watch"
)

// surge is how many Machines there may be of a control plane, and of workers, beyond
// those that are asked for, while they are replaced: Cluster API's default.
const surge = 1

// describeUpgrade describes the upgrade of a cluster, and its way back.
func (s *scenario) describeUpgrade() {
	Describe("A cluster of real nodes, upgraded and taken back", Ordered, func() {
		BeforeAll(s.watch)
		It("comes up with the older version", s.create)
		It("has a network between its nodes", s.talk)
		s.site.Criterion("F2", s.upgrade)
		s.site.Criterion("F4", s.remove)
		It("without a failed reconcile loop", s.site.NoFailedLoops)
		It("as the validators judge its history", s.judge)
		AfterAll(s.tidy)
	})
	ReportAfterSuite("what is left in Docker", s.nothingInDocker)
}

// upgrade upgrades the cluster and takes it back, the way that versions may differ in:
// control planes are never older than workers.
func (s *scenario) upgrade(ctx context.Context, f2 *reports.Examination) {
	older, newer := world.OlderVersion, s.site.KubernetesVersion
	f2.Step("control planes to "+newer+", one at a time", func() { s.upgradeControlPlane(ctx, f2, newer) })
	f2.Step("workers to "+newer, func() { s.upgradeWorkers(ctx, f2, newer) })
	f2.Step("all Nodes Ready with "+newer, func() { s.settled(ctx) })
	s.talkAcrossNodes(ctx)
	f2.Step("workers back to "+older, func() { s.upgradeWorkers(ctx, f2, older) })
	f2.Step("control planes back to "+older+", one at a time", func() { s.upgradeControlPlane(ctx, f2, older) })
	f2.Step("all Nodes Ready with "+older, func() { s.settled(ctx) })
	s.talkAcrossNodes(ctx)
	s.everyVMHasItsMachine(ctx, f2)
}

func (s *scenario) upgradeControlPlane(ctx context.Context, f2 *reports.Examination, version string) {
	GinkgoHelper()
	s.replaces(ctx, f2, "control planes to "+version, func() {
		s.controlPlane = version
		s.cluster.UpgradeControlPlane(ctx, s.clastix, version, workers)
	}, s.cluster.ControlPlanes)
}

func (s *scenario) upgradeWorkers(ctx context.Context, f2 *reports.Examination, version string) {
	GinkgoHelper()
	s.replaces(ctx, f2, "workers to "+version, func() {
		s.worker = version
		s.cluster.UpgradeWorkers(ctx, s.clastix, version, workers)
	}, workers)
}

// replaces asks for something that replaces so many Machines, and demands that no more
// go, that none is made twice, and that at no moment there are too many VMs.
func (s *scenario) replaces(ctx context.Context, f2 *reports.Examination, what string, ask func(), machines int) {
	GinkgoHelper()
	before := s.cluster.VMs(ctx)
	began := time.Now()
	ask()
	s.await(ctx, workers)
	after := s.cluster.VMs(ctx)
	Expect(before.Without(after)).To(HaveLen(machines), "VMs that went")
	Expect(after.Without(before)).To(HaveLen(machines), "VMs that came")
	vms, err := history.ReadVMs(filepath.Join(s.site.Dir, history.Dir), s.site.World.ClientUID())
	Expect(err).NotTo(HaveOccurred())
	f2.Figure(
		reports.Figure{Name: what + ": VMs at a time", Value: float64(vms.Most(began)), AtMost: ptr.To(float64(s.cluster.ControlPlanes + workers + surge)), Command: "history of AtomOS"},
		reports.Figure{Name: what + ": VMs made twice", Value: float64(len(vms.Twice())), AtMost: ptr.To(0.0), Command: "history of AtomOS"},
	)
}

// settled demands that the cluster is whole.
func (s *scenario) settled(ctx context.Context) {
	GinkgoHelper()
	s.nodesReady(ctx, workers)
	s.systemAvailable(ctx, workers)
	s.compare(ctx, workers)
	s.everyVMIsAContainer(ctx)
}

// watch has the history of the run written and judged.
func (s *scenario) watch(ctx SpecContext) {
	var err error
	s.watched, err = watch.Begin(ctx, s.site, validate.Limits{}, nil)
	Expect(err).NotTo(HaveOccurred())
}

func (s *scenario) judge(SpecContext) {
	results, err := s.watched.End()
	Expect(err).NotTo(HaveOccurred())
	s.site.Report.Validator(watch.ForReport(results)...)
	// Elsewhere there are no histories, or no manager that can be asked.
	if s.site.Fake != nil && s.site.World.Manager(world.ElementoProvider) != nil {
		Expect(watch.Idle(results)).To(BeEmpty(), "validators that had nothing to judge")
	}
}
