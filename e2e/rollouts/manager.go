package main

import (
	"bufio"
	"context"
	"encoding/json"
	"os"
	"slices"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/utils/ptr"

	"elemento.cloud/cluster-api-provider-elemento/e2e/suite"
	"elemento.cloud/cluster-api-provider-elemento/e2e/world"
	"elemento.cloud/cluster-api-provider-elemento/reports"
	"elemento.cloud/cluster-api-provider-elemento/soak/watch"
)

// nextVersion is what the other version of our manager is called.
const nextVersion = "v0.2.0"

func (s *scenario) rollManager(ctx SpecContext) {
	r := s.site.Report
	var next, before string
	r.Step("our manager as "+nextVersion+", built and put onto the node", func() {
		var err error
		next, err = s.site.World.PrepareManager(ctx, nextVersion)
		Expect(err).NotTo(HaveOccurred())
	})
	defer s.slowly(ctx)()
	r.Step("rolled to "+nextVersion+" while Machines are created and deleted", func() { before = s.rollTo(ctx, "forward", next, nextVersion) })
	r.Step("rolled back while Machines are created and deleted", func() { s.rollTo(ctx, "back", before, s.versions[0]) })
}

// rollTo rolls our manager to an image under load, and demands that the next one leads
// and reconciles before the Lease of the one before would have been over. It returns the
// image from before.
func (s *scenario) rollTo(ctx context.Context, where, image, version string) (before string) {
	GinkgoHelper()
	began := time.Now()
	var ended time.Time
	s.underLoad(ctx, func() {
		s.somethingIsMade(ctx)
		was, lasts := s.leaders.now()
		Expect(was.holder).NotTo(BeEmpty(), "the manager that acts")
		var err error
		before, err = s.site.World.RollManager(ctx, image)
		Expect(err).NotTo(HaveOccurred())
		var next term
		Eventually(func(g Gomega) {
			var is bool
			next, ended, is = s.leaders.after(was.holder)
			g.Expect(is).To(BeTrue(), "%s holds the Lease", was.holder)
		}, patience, "20ms").WithContext(ctx).Should(Succeed())
		Eventually(func(g Gomega) {
			loops, err := s.site.Metric(ctx, "controller_runtime_reconcile_total", map[string]string{"controller": "elementomachine"})
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(loops).To(BeNumerically(">", 0), "loops over ElementoMachines")
		}, patience, "20ms").WithContext(ctx).Should(Succeed())
		resumed := time.Now()
		s.versions = append(s.versions, version)

		limit := ptr.To(lasts.Seconds())
		s.site.Report.Figure(
			reports.Figure{Name: where + ": without a leader", Value: next.from.Sub(ended).Seconds(), Unit: "s", AtMost: limit, Command: "kubectl get lease --watch"},
			reports.Figure{Name: where + ": until ElementoMachines are reconciled again", Value: resumed.Sub(ended).Seconds(), Unit: "s", AtMost: limit, Command: "controller_runtime_reconcile_total"},
		)
	})
	vms := s.vms()
	s.site.Report.Figure(
		reports.Figure{Name: where + ": VMs that were being made when the leader changed", Value: float64(vms.Booting(ended)), AtLeast: ptr.To(1.0), Command: "history of AtomOS"},
		reports.Figure{Name: where + ": of these being registered", Value: float64(vms.Registering(ended)), Command: "history of AtomOS"},
		reports.Figure{Name: where + ": VMs made meanwhile", Value: float64(vms.Since(began)), AtLeast: ptr.To(float64(moreWorkers - workers)), Command: "history of AtomOS"},
	)
	return before
}

// noFailedLoops counts what our managers say of failed loops: those that are gone in
// their log, which is whole if each of them has said what it is.
func (s *scenario) noFailedLoops(ctx SpecContext) {
	s.site.NoFailedLoops(ctx)
	var versions, failures []string
	Eventually(func(g Gomega) {
		var err error
		versions, failures, err = loops(s.site.World.Log(world.ElementoProvider))
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(versions).To(HaveLen(len(s.versions)), "managers that have said that they start")
	}, suite.Long, suite.Often).WithContext(ctx).Should(Succeed())
	for i, want := range s.versions {
		if want == "" {
			want = versions[0]
		}
		Expect(versions[i]).To(Equal(want), "the version that runs after %d rollouts", i)
	}
	Expect(slices.Compact(slices.Clone(versions))).To(HaveLen(len(versions)), "neighboring versions of our manager")
	s.site.Report.Figure(
		reports.Figure{Name: "managers that led one after the other", Value: float64(len(versions)), Command: "history/manager.log"},
		reports.Figure{Name: "failed reconcile loops of all of them", Value: float64(len(failures)), AtMost: ptr.To(0.0), Command: "history/manager.log"},
	)
	Expect(failures).To(BeEmpty(), "failed reconcile loops")
}

// loops reads in the log of our managers which versions have started and which
// reconcile loops have failed.
func loops(log string) (versions, failures []string, err error) {
	file, err := os.Open(log)
	if err != nil {
		return nil, nil, err
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var line struct{ Msg, Version string }
		if json.Unmarshal(lines.Bytes(), &line) != nil {
			continue // a log is for people too
		}
		switch line.Msg {
		case "Starting":
			versions = append(versions, line.Version)
		case "Reconciler error":
			failures = append(failures, lines.Text())
		}
	}
	return versions, failures, lines.Err()
}

// madeOnce demands it of each VM, and has the validators judge the history.
func (s *scenario) madeOnce(SpecContext) {
	vms := s.vms()
	s.site.Report.Figure(
		reports.Figure{Name: "VMs made", Value: float64(len(vms.Made)), Command: "history of AtomOS"},
		reports.Figure{Name: "of these made more than once", Value: float64(len(vms.Twice())), AtMost: ptr.To(0.0), Command: "history of AtomOS"},
	)
	Expect(vms.Twice()).To(BeEmpty(), "VMs that were made more than once")
	results, err := s.watched.End()
	Expect(err).NotTo(HaveOccurred())
	s.site.Report.Validator(watch.ForReport(results)...)
	Expect(watch.Idle(results)).To(BeEmpty(), "validators that had nothing to judge")
}
