package main

import (
	"context"
	"encoding/csv"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"elemento.cloud/cluster-api-provider-elemento/e2e/binaries"
	"elemento.cloud/cluster-api-provider-elemento/e2e/world"
	"elemento.cloud/cluster-api-provider-elemento/reports"
	"elemento.cloud/cluster-api-provider-elemento/soak/history"
)

// bootTime is that of VMs whose stages are measured: they run after the call that
// makes them, as on real hosts, so that the way back by the inventory is measured too.
const bootTime = 200 * time.Millisecond

// stages answers P2: where the time goes from Clastix's request to a Machine that is
// Running, and to one that is gone, as the history of the run tells. A few Machines at a
// time, as clusters are scaled.
func (b *bench) stages(ctx context.Context, p2 *reports.Examination) {
	var w *workers
	p2.Step("a cluster of one control plane", func() { w = b.workers(ctx) })
	if b.bootTime == 0 {
		b.setBootTime(ctx, bootTime)
		DeferCleanup(func(ctx SpecContext) { b.setBootTime(ctx, 0) })
	}
	since := time.Now()
	dir := filepath.Join(b.site.Dir, history.Dir)
	observing, err := observe(ctx, b.site.World, dir, w.Key.Namespace, w.Workload(ctx, w.clastix))
	Expect(err).NotTo(HaveOccurred())
	ended := false
	DeferCleanup(func() {
		if !ended {
			_ = observing.end() // something else has failed
		}
	})
	scaleTo := func(workers int) {
		o, s, err := w.order(ctx, workers)
		Expect(err).NotTo(HaveOccurred())
		observing.more.Add(orderEvent(o, s))
		w.Await(ctx, workers)
	}
	p2.Step(fmt.Sprintf("%d workers, %d at a time", b.sizes.machines, b.sizes.atATime), func() {
		for w.ordered < b.sizes.machines {
			scaleTo(min(w.ordered+b.sizes.atATime, b.sizes.machines))
		}
	})
	less := 2 * b.sizes.atATime
	p2.Step(fmt.Sprintf("no worker, %d at a time", less), func() {
		for w.ordered > 0 {
			scaleTo(max(w.ordered-less, 0))
		}
	})
	ended = true
	Expect(observing.end()).To(Succeed())
	b.tellStages(p2, dir, w.Key.Namespace, since)
}

// tellStages tells what the history tells of the Machines of a namespace since a moment.
func (b *bench) tellStages(p2 *reports.Examination, dir, namespace string, since time.Time) {
	GinkgoHelper()
	e, err := gather(dir, b.site.World.AuditLogPath(), namespace, since)
	Expect(err).NotTo(HaveOccurred())
	// Cluster API may make a Machine too many, which it deletes before it is Running.
	journeys := slices.DeleteFunc(e.journeys(namespace, b.writers()), func(j *journey) bool { return j.at[machineRunning].IsZero() })
	Expect(journeys).To(HaveLen(b.sizes.machines), "Machines of which the history tells that they were Running")
	for _, of := range []struct {
		what     string
		from, to moment
	}{
		{reports.VMRunning, asked, vmRunning},
		{"request → provisioned", asked, provisioned},
		{reports.NodeReady, asked, nodeReady},
		{"bootstrap data ready → register arrives", dataNamed, registerArrived},
		{"VM running → provisioned", vmRunning, provisioned},
		{"ElementoMachine deleted → gone, verified", vmDeleted, vmGone},
	} {
		var took []time.Duration
		for _, j := range journeys {
			if d, told := j.took(of.from, of.to); told {
				took = append(took, d)
			}
		}
		Expect(took).To(HaveLen(b.sizes.machines), "times of %s", of.what)
		b.latency(p2, of.what, "", took)
	}
	b.split(p2, "creation", creation, journeys)
	b.split(p2, "deletion", deletion, journeys)
	early := 0
	for _, j := range journeys {
		for _, what := range j.early {
			fmt.Fprintf(GinkgoWriter, "%s was gone and on AtomOS there was still %s\n", j.machine, what)
			early++
		}
	}
	b.figure(p2, reports.Figure{Name: "left on AtomOS when an ElementoMachine was gone", Value: float64(early)})
}

// split tells whose time a way was: of each stage how long it took, and of everyone the
// share of the time of all Machines.
func (b *bench) split(p2 *reports.Examination, name string, w way, journeys []*journey) {
	stages := w.stages()
	wholes, of := []time.Duration{}, map[stage][]time.Duration{}
	share, all := map[who]time.Duration{}, time.Duration(0)
	table := [][]string{{"machine", "whole ms"}}
	for _, s := range stages {
		table[0] = append(table[0], s.String()+" ms")
	}
	for _, j := range journeys {
		spent, gone := w.split(j)
		Expect(gone).To(BeTrue(), "the history does not tell when %s of Machine %s began and ended", w.name, j.machine)
		whole, _ := j.took(w.from, w.to())
		Expect(spent.whole()).To(Equal(whole), "the stages of Machine %s add up to its whole", j.machine)
		wholes = append(wholes, whole)
		all += whole
		row := []string{j.machine, inMs(whole)}
		for _, s := range stages {
			of[s] = append(of[s], spent[s])
			share[s.who] += spent[s]
			row = append(row, inMs(spent[s]))
		}
		table = append(table, row)
	}
	b.latency(p2, w.name, "", wholes)
	for _, s := range stages {
		b.latency(p2, name+", "+s.String(), w.name, of[s])
	}
	for _, one := range everyone {
		if _, has := share[one]; has {
			b.figure(p2, reports.Figure{Name: fmt.Sprintf("%s, share of %s", name, one), Value: 100 * share[one].Seconds() / all.Seconds(), Unit: "%"})
		}
	}
	p2.Evidence(b.table("whose time each "+name+" was", table))
}

func inMs(d time.Duration) string {
	return strconv.FormatFloat(float64(d)/float64(time.Millisecond), 'f', 3, 64)
}

// table writes a table beside the report.
func (b *bench) table(title string, rows [][]string) reports.Evidence {
	path := filepath.Join("samples", b.part+"-"+fileName(title)+".csv")
	Expect(os.MkdirAll(filepath.Join(b.site.Dir, "samples"), 0o755)).To(Succeed())
	file, err := os.Create(filepath.Join(b.site.Dir, path))
	Expect(err).NotTo(HaveOccurred())
	defer file.Close()
	Expect(csv.NewWriter(file).WriteAll(rows)).To(Succeed())
	return reports.Evidence{Title: title, Path: path}
}

// writers are those whose writes to the API server are told apart.
func (b *bench) writers() map[string]layer {
	by := map[string]layer{}
	for provider, l := range map[string]layer{
		world.ElementoProvider: writeOfManager, binaries.ClusterAPICore: writeOfCore, binaries.KubeadmBootstrap: writeOfBootstrap,
	} {
		if m := b.site.World.Manager(provider); m != nil {
			by["system:serviceaccount:"+m.Namespace+":"+m.ServiceAccount] = l
		}
	}
	return by
}

// setBootTime sets that of VMs on all hosts of the fake.
func (b *bench) setBootTime(ctx context.Context, to time.Duration) {
	GinkgoHelper()
	inventory, err := b.site.Fake.Inventory(ctx)
	Expect(err).NotTo(HaveOccurred())
	for _, h := range inventory.Hosts {
		Expect(b.site.Fake.SetBootTime(ctx, h.Name, to)).To(Succeed())
	}
}
