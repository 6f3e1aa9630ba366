// Rollouts is the suite of what is replaced while it is in use: a cluster's version of
// Kubernetes, our manager, forward to another version and back, and the daemons, one
// after the other. Meanwhile Machines are created and deleted; no reconcile loop may
// fail, nobody may be without a manager for longer than its Lease lasts, and each VM is
// made once. All that is asked for Clastix asks, which must reach nothing else. The
// management cluster is kind's, where our manager is a Deployment; guests are simulated.
//
//	make docker node-image
//	go run ./e2e/rollouts --out out/rollouts
package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemento.cloud/cluster-api-provider-elemento/e2e/suite"
	"elemento.cloud/cluster-api-provider-elemento/e2e/world"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos"
	"elemento.cloud/cluster-api-provider-elemento/reports"
	"elemento.cloud/cluster-api-provider-elemento/soak/history"
	"elemento.cloud/cluster-api-provider-elemento/soak/validate"
	"elemento.cloud/cluster-api-provider-elemento/soak/watch"
)

// The cluster that is asked for, and how many workers it has under load.
const (
	controlPlanes = 1
	workers       = 2
	moreWorkers   = 5
)

// slow is how long a host takes to say that it has registered a VM, while others are
// replaced: less than a daemon waits for it.
const slow = 8 * time.Second

// patience is how long anything may take here, on a machine that does other things too.
const patience = "20m"

func main() {
	s := &scenario{}
	suite.Program{
		Name: "rollouts", Title: "Rollouts", AtomOS: atomOS(), Recorded: true, Prepare: prepare,
		Describe: func(site *suite.Site) {
			s.site = site
			Describe("What is replaced while it is in use", Ordered, func() {
				BeforeAll(s.begin)
				It("a cluster is made by Clastix", s.create)
				It("scaled", s.scale)
				It("and upgraded", s.upgrade)
				It("which is all that Clastix reaches", func(ctx SpecContext) { s.cluster.ClastixReachesNothingElse(ctx) })
				It("our manager is rolled forward and back", s.rollManager)
				It("the daemons are rolled one after the other", s.rollDaemons)
				site.Criterion("F2", s.everyVMHasItsMachine)
				site.Criterion("F4", func(ctx context.Context, f4 *reports.Examination) { s.cluster.Remove(ctx, f4, s.clastix) })
				It("without a failed reconcile loop", s.noFailedLoops)
				It("each VM was made once", s.madeOnce)
				AfterAll(s.end)
			})
		},
	}.Main()
}

// atomOS has VMs that take long enough to start for others to be replaced meanwhile.
func atomOS() world.AtomOS {
	a := suite.Trial()
	a.BootTime = 15 * time.Second
	return a
}

func prepare(o *suite.Options) error {
	if o.World.Plane == "" && o.World.Kubeconfig == "" {
		o.World.Plane = world.PlaneKind
	}
	if o.World.Plane != world.PlaneKind || len(o.World.Elemento.Existing) > 0 {
		return errors.New("this suite replaces our manager and daemons, which it has to have deployed itself: leave out --plane, --kubeconfig and --atomos (E2E_PLANE, E2E_KUBECONFIG, E2E_ATOMOS)")
	}
	return nil
}

// scenario is what one step leaves to the next.
type scenario struct {
	site    *suite.Site
	clastix client.Client
	cluster *suite.Cluster
	watched *watch.Watch
	leaders *leaders
	// versions are those of our manager, in the order in which they were to run; empty
	// for the one that the world has installed.
	versions []string
}

func (s *scenario) begin(ctx SpecContext) {
	var err error
	s.watched, err = watch.Begin(ctx, s.site, validate.Limits{}, nil)
	Expect(err).NotTo(HaveOccurred())
	s.leaders, err = watchLeaders(context.WithoutCancel(ctx), s.site.World.Config(), s.site.World.Lease())
	Expect(err).NotTo(HaveOccurred())
	s.versions = []string{""}
}

// end removes the cluster where the scenario did not come so far.
func (s *scenario) end(ctx SpecContext) {
	if s.cluster != nil {
		s.cluster.Delete(ctx, s.site.Admin)
	}
	if s.leaders != nil {
		s.leaders.end()
	}
	if s.watched != nil {
		_, err := s.watched.End()
		Expect(err).NotTo(HaveOccurred())
	}
}

func (s *scenario) create(ctx SpecContext) {
	s.cluster = s.site.NewCluster(ctx, "rollouts", controlPlanes)
	s.cluster.Patience, s.cluster.Version = patience, world.OlderVersion
	s.clastix = s.site.Clastix(ctx)
	s.site.Report.Step(fmt.Sprintf("%d control plane and %d workers with %s", controlPlanes, workers, world.OlderVersion), func() {
		s.becomes(ctx, workers)
	})
	s.site.Report.Step("its kubeconfig, fetched as Clastix, shows all Nodes Ready", func() {
		s.cluster.AwaitNodes(ctx, s.cluster.WorkloadClient(ctx, s.clastix), controlPlanes+workers)
	})
}

// becomes has Clastix ask for so many workers.
func (s *scenario) becomes(ctx context.Context, workers int) {
	GinkgoHelper()
	Expect(suite.Apply(ctx, s.clastix, suite.Clastix, s.cluster.Generate(ctx, workers))).To(Succeed())
	s.cluster.AwaitVersions(ctx, world.OlderVersion, world.OlderVersion, workers)
}

func (s *scenario) scale(ctx SpecContext) {
	for _, n := range []int{workers + 1, workers} {
		s.site.Report.Step(fmt.Sprintf("%d workers", n), func() { s.becomes(ctx, n) })
	}
}

func (s *scenario) upgrade(ctx SpecContext) {
	newer := s.site.KubernetesVersion
	s.site.Report.Step("control plane to "+newer, func() {
		s.cluster.UpgradeControlPlane(ctx, s.clastix, newer, workers)
		s.cluster.AwaitVersions(ctx, newer, world.OlderVersion, workers)
	})
	s.site.Report.Step("workers to "+newer, func() {
		s.cluster.UpgradeWorkers(ctx, s.clastix, newer, workers)
		s.cluster.AwaitVersions(ctx, newer, newer, workers)
	})
}

func (s *scenario) everyVMHasItsMachine(ctx context.Context, f2 *reports.Examination) {
	f2.Step("VMs on AtomOS, ElementoMachines, Machines and Nodes compared", func() {
		s.cluster.AwaitVersions(ctx, s.site.KubernetesVersion, s.site.KubernetesVersion, workers)
		f2.Figure(s.cluster.Compare(ctx, s.cluster.WorkloadClient(ctx, s.clastix), controlPlanes+workers, "C4 GET matcher/running, kubectl get machines,elementomachines")...)
	})
}

// vms are what the fake has told of VMs.
func (s *scenario) vms() *history.VMs {
	GinkgoHelper()
	vms, err := history.ReadVMs(filepath.Join(s.site.Dir, history.Dir), s.site.World.ClientUID())
	Expect(err).NotTo(HaveOccurred())
	return vms
}

// slowly has the hosts take longer to register a VM, so that it is being made when
// somebody is replaced, until undo is called.
func (s *scenario) slowly(ctx context.Context) (undo func()) {
	GinkgoHelper()
	id, err := s.site.Fake.AddFault(ctx, fakeatomos.Fault{Name: "hosts take their time", Call: "POST matcher/register", Effect: fakeatomos.DelayAfter, Delay: slow})
	Expect(err).NotTo(HaveOccurred())
	return func() {
		GinkgoHelper()
		Expect(s.site.Fake.RemoveFaults(ctx, id)).To(Succeed())
	}
}
