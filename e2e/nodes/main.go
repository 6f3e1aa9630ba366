// Nodes is the suite on real nodes: VMs of the fake AtomOS are system containers that
// run Debian's cloud-init, kubeadm, containerd and kubelet, and the management cluster is
// kind's. One cluster of a control plane and two workers comes up, its pods talk from
// node to node, workers and control planes are scaled, and all of it goes, in Docker as
// on AtomOS. It answers the criteria F2 and F4 of the checklist for nodes that are real;
// what F1 and F3 ask for is larger and is asked of simulated ones.
//
//	make docker node-image
//	go run ./e2e/nodes --out out/e2e
//
// With --upgrade a cluster of three control planes begins at the older version of
// Kubernetes that there is an image of, is upgraded to the newer one, and goes back.
//
// E2E_PLANE=embedded does it without kind.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemento.cloud/cluster-api-provider-elemento/e2e/suite"
	"elemento.cloud/cluster-api-provider-elemento/e2e/world"
	"elemento.cloud/cluster-api-provider-elemento/reports"
	"elemento.cloud/cluster-api-provider-elemento/soak/watch"
)

// The cluster that is asked for, and what it is scaled to and back.
const (
	controlPlanes     = 1
	workers           = 2
	moreWorkers       = 3
	moreControlPlanes = 3
	// upgradedControlPlanes is how many there are of a cluster that is upgraded: as
	// many as it takes for its API to answer meanwhile.
	upgradedControlPlanes = 3
)

// patience is how long anything may take here: machines boot, a few at a time, on
// whatever the engine has to itself.
const patience = "20m"

func main() {
	s := &scenario{examined: map[string]bool{}}
	suite.Program{
		Name: "e2e", Title: "Real nodes", AtomOS: suite.Trial(), PodNetwork: true, Prepare: s.prepare,
		Variables: map[string]string{"upgrade": ""},
		Flags: func(flags *flag.FlagSet) {
			flags.BoolVar(&s.upgrades, "upgrade", false, "make a cluster of the older version of Kubernetes, upgrade it, and take it back")
		},
		Describe: func(site *suite.Site) {
			s.site = site
			if s.upgrades {
				s.describeUpgrade()
				return
			}
			Describe("A cluster of real nodes, from manifest to nothing", Ordered, func() {
				It("comes up", s.create)
				site.Criterion("F2", s.everyVMHasItsMachine)
				It("has a network between its nodes", s.talk)
				It("has its workers scaled", s.scaleWorkers)
				It("has its control plane scaled", s.scaleControlPlane)
				site.Criterion("F4", s.remove)
				It("without a failed reconcile loop", site.NoFailedLoops)
				AfterAll(s.tidy)
			})
			ReportAfterSuite("what is left in Docker", s.nothingInDocker)
		},
	}.Main()
}

// prepare has the suite be about what it is about where nothing else was said, and sees
// that there is something to boot.
func (s *scenario) prepare(o *suite.Options) error {
	versions := []string{o.KubernetesVersion}
	if s.upgrades {
		o.Target, o.Title, o.Recorded = "upgrades", "Upgrade of real nodes", true
		versions = append(versions, world.OlderVersion)
	}
	err := suite.RealNodes(o, versions...)
	if o.World.Elemento.AtomOS.Guests != world.GuestsContainer || o.World.Kubeconfig != "" {
		return errors.New("this suite looks into its guests, which are containers beside a management plane of its own: leave out --guests, --atomos and --kubeconfig (E2E_GUEST, E2E_ATOMOS, E2E_KUBECONFIG); make poc runs against what is there")
	}
	return err
}

// scenario is what one step leaves to the next.
type scenario struct {
	site    *suite.Site
	clastix client.Client
	cluster *suite.Cluster
	// upgrades says that the cluster is upgraded; controlPlane and worker are the
	// versions that its nodes are to have by now.
	upgrades             bool
	controlPlane, worker string
	// reach is how the API of the cluster is reached, workload its client.
	reach    *rest.Config
	workload client.Client
	// examined are the guests into which was looked, by the name of their VM.
	examined map[string]bool
	// watched is the history of a run that is recorded.
	watched *watch.Watch
	// seen is what there was in Docker of the world.
	seen traces
}

// await waits for so many workers, all Machines Ready with the versions that they are to
// have, and sees that each guest is what it should be.
func (s *scenario) await(ctx context.Context, workers int) {
	GinkgoHelper()
	s.cluster.AwaitVersions(ctx, s.controlPlane, s.worker, workers)
	s.examineGuests(ctx)
}

// size is the cluster in words.
func size(controlPlanes, workers int) string {
	return fmt.Sprintf("%d control plane(s) and %d workers", controlPlanes, workers)
}

func (s *scenario) everyVMHasItsMachine(ctx context.Context, f2 *reports.Examination) {
	f2.Step("VMs on AtomOS, ElementoMachines, Machines and Nodes compared", func() {
		f2.Figure(s.compare(ctx, workers)...)
	})
	f2.Step("each VM is a container", func() {
		f2.Figure(reports.Figure{Name: "containers of guests", Value: float64(s.everyVMIsAContainer(ctx)), Command: "docker ps"})
	})
	f2.Evidence(reports.Evidence{Title: "what cloud-init and kubeadm did in each guest", Path: guestsDir})
}

// compare demands that AtomOS and Kubernetes tell the same, and returns figures.
func (s *scenario) compare(ctx context.Context, workers int) []reports.Figure {
	GinkgoHelper()
	return s.cluster.Compare(ctx, s.workload, s.cluster.ControlPlanes+workers,
		"C4 GET matcher/running, kubectl get machines,elementomachines,nodes")
}

// tidy removes the cluster where the scenario did not come so far.
func (s *scenario) tidy(ctx SpecContext) {
	if s.cluster != nil {
		s.cluster.Delete(ctx, s.site.Admin)
	}
	if s.watched != nil {
		_, err := s.watched.End()
		Expect(err).NotTo(HaveOccurred())
	}
}
