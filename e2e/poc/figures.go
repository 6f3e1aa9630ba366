package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	. "github.com/onsi/gomega"

	"elemento.cloud/cluster-api-provider-elemento/e2e/life"
	"elemento.cloud/cluster-api-provider-elemento/e2e/suite"
	"elemento.cloud/cluster-api-provider-elemento/reports"
)

func (s *scenario) answers(ctx context.Context, p1 *reports.Examination) {
	// What a watch that ended early has not seen is not measured.
	Expect(s.endWatch()).To(Succeed(), "the watch of the Machines")
	lives := s.lives.Lives()
	var first, scaled []time.Duration
	for i, o := range s.ordered {
		var since []time.Duration
		for _, l := range lives {
			if at := l.At[life.Created]; !o.known[l.Machine] && at.After(o.at) && !s.later(o, at) {
				since = append(since, at.Sub(o.at))
			}
		}
		switch {
		case i > 0:
			scaled = append(scaled, since...)
		case len(since) > 0:
			first = append(first, slices.Min(since))
		}
	}
	p1.Latency(
		reports.Measure("Clastix applies the cluster → its first Machine created", first),
		reports.Measure("Clastix scales up → a worker's Machine created", scaled),
	)
	Expect(first).To(HaveLen(1), "times to the first Machine")
	Expect(scaled).To(HaveLen(scaleBy), "times to the Machines of new workers")
	if log := s.site.World.AuditLogPath(); log != "" {
		p1.Step("the API server's audit log of Clastix", func() {
			const name = "audit-clastix.jsonl"
			requests, err := auditOf(suite.Clastix, log, filepath.Join(s.site.Dir, name))
			Expect(err).NotTo(HaveOccurred())
			var answered []time.Duration
			refused := 0
			for _, r := range requests {
				if r.changes() && r.Stage == "ResponseComplete" {
					answered = append(answered, r.StageTimestamp.Sub(r.RequestReceivedTimestamp))
				}
				if r.ResponseStatus.Code == 403 {
					refused++
				}
			}
			p1.Latency(reports.Measure("a changing request of Clastix is answered", answered))
			p1.Figure(reports.Figure{Name: "requests of Clastix in the audit log", Value: float64(len(requests)), Command: "audit log"},
				reports.Figure{Name: "of these refused", Value: float64(refused), Command: "audit log"})
			p1.Evidence(reports.Evidence{Title: "audit log of Clastix", Path: name})
		})
	}
}

// later tells whether there was a newer order by then.
func (s *scenario) later(than order, at time.Time) bool {
	return slices.ContainsFunc(s.ordered, func(o order) bool { return o.at.After(than.at) && !o.at.After(at) })
}

func (s *scenario) provisioning(ctx context.Context, p2 *reports.Examination) {
	lives := s.lives.Lives()
	var short []string
	took := func(what, stageOf string, from, to life.Stage) {
		samples := life.Took(lives, from, to)
		p2.Latency(reports.Measure(what, samples).Stage(stageOf))
		if len(samples) != made {
			short = append(short, fmt.Sprintf("%s: %d of %d", what, len(samples), made))
		}
	}
	p2.Item(reports.Item{
		Name: "limits of our share", Verdict: reports.NotRun,
		Detail: "times are reported here, not judged; make bench judges them, with nothing else to do",
	})
	const whole = "Machine created → Machine Running"
	took(whole, "", life.Created, life.Running)
	took("Machine created → bootstrap data ready (Cluster API)", whole, life.Created, life.BootstrapReady)
	if s.site.Fake != nil {
		took("bootstrap data ready → register arrives (ours)", whole, life.BootstrapReady, life.RegisterArrived)
		took("register arrives → VM running (AtomOS)", whole, life.RegisterArrived, life.VMRunning)
		took("VM running → provisioned (ours)", whole, life.VMRunning, life.Provisioned)
	} else { // a real AtomOS does not say when
		took("bootstrap data ready → VM known to run (ours and AtomOS)", whole, life.BootstrapReady, life.Provisioned)
	}
	took("provisioned → Machine Running (guest and Cluster API)", whole, life.Provisioned, life.Running)
	if s.site.Fake != nil {
		took("Machine created → VM running", "", life.Created, life.VMRunning)
	} else {
		took("Machine created → VM known to run", "", life.Created, life.Provisioned)
	}
	took("ElementoMachine deleted → gone (AtomOS stops, ours)", "", life.Deleted, life.Gone)
	Expect(lives).To(HaveLen(made), "Machines that were made")
	Expect(short).To(BeEmpty(), "stages that were not seen of each Machine")
}
