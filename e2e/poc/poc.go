// Poc is the proof of concept as a suite: one cluster from manifest to nothing,
// the criteria F1 to F4 of the checklist, and how long it took (P1 and P2). It
// acts with Clastix's identity, looks with the administrator's, and believes
// AtomOS alone about AtomOS.
//
//	go run ./e2e/poc --out out/poc
//
// Against a management plane and an AtomOS that are there already:
//
//	go run ./e2e/poc --kubeconfig FILE --client-uid UUID --atomos https://192.0.2.7#FINGERPRINT
package main

import (
	"context"
	"flag"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemento.cloud/cluster-api-provider-elemento/e2e/life"
	"elemento.cloud/cluster-api-provider-elemento/e2e/suite"
)

// The cluster that is asked for, and by how many workers it is scaled.
const (
	controlPlanes = 3
	workers       = 3
	scaleBy       = 3
	// made is how many Machines there are in all.
	made = controlPlanes + workers + scaleBy
)

func main() {
	s := &scenario{}
	suite.Program{
		Name: "poc", Title: "Proof of concept", AtomOS: suite.Trial(),
		Flags: func(flags *flag.FlagSet) {
			flags.StringVar(&s.flavor, "flavor", "", "flavor of the cluster template; the default one when empty, or topology")
		},
		Describe: func(site *suite.Site) {
			s.site = site
			Describe("A cluster, from manifest to nothing", Ordered, func() {
				site.Criterion("F1", s.create)
				site.Criterion("F2", s.everyVMHasItsMachine)
				It("is all that Clastix reaches", func(ctx SpecContext) { s.cluster.ClastixReachesNothingElse(ctx) })
				site.Criterion("F3", s.scale)
				site.Criterion("F4", s.remove)
				site.Criterion("P1", s.answers)
				site.Criterion("P2", s.provisioning)
				It("without a failed reconcile loop", site.NoFailedLoops)
				AfterAll(s.tidy)
			})
		},
	}.Main()
}

// scenario is what one step leaves to the next.
type scenario struct {
	site   *suite.Site
	flavor string

	clastix  client.Client
	cluster  *suite.Cluster
	lives    *life.Recorder
	endWatch func() error
	// ordered is when Clastix asked for so many more Machines.
	ordered []order
	// secrets are lines and tokens that must be in no log.
	secrets map[string]bool
}

// order is a change that Clastix asked for.
type order struct {
	at time.Time
	// known are the Machines that there were by then.
	known map[string]bool
}

// watch records the lives of the Machines until the end.
func (s *scenario) watch() {
	c, err := dynamic.NewForConfig(s.site.World.Config())
	Expect(err).NotTo(HaveOccurred())
	ctx, cancel := context.WithCancel(context.Background())
	recorder, wait, err := life.Watch(ctx, c, s.cluster.Key.Namespace)
	if err != nil {
		cancel()
	}
	Expect(err).NotTo(HaveOccurred())
	s.lives = recorder
	s.endWatch = sync.OnceValue(func() error { cancel(); return wait() })
}

// apply has Clastix ask for the cluster with so many workers.
func (s *scenario) apply(ctx context.Context, workers int) {
	objects := s.cluster.Generate(ctx, workers)
	known := map[string]bool{}
	for _, l := range s.lives.Lives() {
		known[l.Machine] = true
	}
	s.ordered = append(s.ordered, order{at: time.Now(), known: known})
	Expect(suite.Apply(ctx, s.clastix, suite.Clastix, objects)).To(Succeed())
}

// await waits for so many workers, and takes the times of their VMs.
func (s *scenario) await(ctx context.Context, workers int) {
	s.cluster.Await(ctx, workers)
	s.site.SeeAtomOS(ctx, s.lives)
}

// tidy removes the cluster where the scenario did not come so far, so that
// nothing stays on AtomOS.
func (s *scenario) tidy(ctx SpecContext) {
	if s.cluster == nil {
		return
	}
	s.cluster.Delete(ctx, s.site.Admin)
	if s.endWatch != nil {
		Expect(s.endWatch()).To(Succeed(), "the watch of the Machines")
	}
}
