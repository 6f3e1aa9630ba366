package main

import (
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"elemento.cloud/cluster-api-provider-elemento/e2e/inventory"
	"elemento.cloud/cluster-api-provider-elemento/e2e/suite"
	"elemento.cloud/cluster-api-provider-elemento/reports"
)

// troupe plays scenarios one after the other in one world.
type troupe struct {
	site *suite.Site
	seed uint64
	// partial tells that not all scenarios are played.
	partial bool

	before    inventory.Inventory
	namespace string
	standing  map[cluster]*standing
	watched   *watched
	// made and networks count what has been made so far, played the scenarios that
	// came to their end.
	made, networks, played int
	f5                     *reports.Examination
}

func describe(t *troupe, chosen []scenario) {
	Describe("What goes wrong", Ordered, ContinueOnFailure, func() {
		BeforeAll(func(ctx SpecContext) { t.begin(ctx) })
		for _, s := range chosen {
			It(s.name, Label(suite.Told), func(ctx SpecContext) { t.play(ctx, s) }, NodeTimeout(cycles*cycle+5*time.Minute))
		}
		It("and nothing is left in the end", Label(suite.Told), func(ctx SpecContext) { t.end(ctx) }, NodeTimeout(15*time.Minute))
		AfterAll(func() {
			switch {
			case t.played < len(chosen):
				t.f5.Doubt(fmt.Sprintf("%d of %d scenarios were played to their end", t.played, len(chosen)))
			case t.partial:
				t.f5.Doubt("not all scenarios were played")
			}
			t.f5.Conclude()
		})
	})
}

func (t *troupe) begin(ctx context.Context) {
	t.site.Report.Seed(fmt.Sprint(t.seed))
	t.f5 = t.site.Report.Begin("F5")
	t.standing = map[cluster]*standing{}
	var err error
	t.before, err = t.site.Hosts.Take(ctx)
	Expect(err).NotTo(HaveOccurred())
	t.namespace = t.site.Namespace(ctx, "scenarios")
	t.watched = watchOver(ctx, t.site)
}

// play plays a scenario, says in the report how it went, and leaves the world as
// it was before.
func (t *troupe) play(ctx context.Context, s scenario) {
	st := &stage{
		Site: t.site, troupe: t, scenario: s,
		// One source for each scenario, so that it does alone what it does among others.
		Rand: rand.New(rand.NewPCG(t.seed, hash(s.name))),
	}
	result := reports.Scenario{
		Name: s.name, Answers: s.answers, Does: s.does, During: s.during, After: s.after,
		Seed: fmt.Sprint(t.seed), Verdict: reports.Failed,
		Command: fmt.Sprintf("make scenario NAME=%s SEED=%d", s.name, t.seed),
	}
	DeferCleanup(func(ctx SpecContext) {
		if r := CurrentSpecReport(); r.Failed() {
			result.Explanation = r.Failure.Message
		}
		result.Start, result.Seconds, result.Cycles = st.broken, st.took.Seconds(), float64(st.took)/float64(cycle)
		t.f5.Scenario(result)
		t.played++
		st.restore(ctx)
	}, NodeTimeout(2*time.Minute))
	t.settle(ctx)
	if s.on != none {
		st.Cluster = t.stand(ctx, s.on)
	}
	t.watched.mark(s.name, "begin")
	s.play(ctx, st)
	st.end(ctx)
	t.watched.mark(s.name, "end")
	Expect(st.took).To(BeNumerically("<=", cycles*cycle), "%s took longer than %d cycles to converge", s.name, cycles)
	Expect(t.watched.violated()).To(Succeed(), "the validators of the history")
	result.Verdict = reports.Passed
}

// end removes the standing clusters and demands that AtomOS is as it was before.
func (t *troupe) end(ctx context.Context) {
	t.f5.Step("the clusters are deleted and leave nothing", func() {
		for _, c := range t.standing {
			c.Delete(ctx, t.site.Admin)
		}
		t.site.Unchanged(ctx, t.before)
	})
	t.watched.judge(t.f5)
}

func hash(s string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(s))
	return h.Sum64()
}
