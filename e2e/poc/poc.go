// Poc is the proof of concept as a suite: one cluster from manifest to nothing,
// the criteria F1 to F4 of the checklist, and how long it took (P1 and P2). It
// acts with Clastix's identity, looks with the administrator's, and believes
// AtomOS alone about AtomOS.
//
//	go run ./e2e/poc --out out
//
// Against a management plane and an AtomOS that are there already:
//
//	go run ./e2e/poc --kubeconfig FILE --client-uid UUID --atomos https://192.0.2.7#FINGERPRINT
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/ptr"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/cluster-api/test/framework"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemento.cloud/cluster-api-provider-elemento/e2e/inventory"
	"elemento.cloud/cluster-api-provider-elemento/e2e/life"
	"elemento.cloud/cluster-api-provider-elemento/e2e/suite"
	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
	"elemento.cloud/cluster-api-provider-elemento/reports"
)

// The cluster that is asked for, and by how many workers it is scaled.
const (
	controlPlanes = 3
	workers       = 3
	scaleBy       = 3
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "poc:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	flags := flag.NewFlagSet("poc", flag.ExitOnError)
	var o suite.Options
	o.Flags(flags, "out", suite.Trial())
	flavor := flags.String("flavor", "", "flavor of the cluster template; the default one when empty, or topology")
	if err := flags.Parse(args); err != nil {
		return err
	}
	return suite.Run("Proof of concept", suite.Command("poc", args), o, func(site *suite.Site) {
		Describe("A cluster, from manifest to nothing", Ordered, func() {
			s := &scenario{site: site, flavor: *flavor}
			site.Criterion("F1", s.create)
			site.Criterion("F2", s.everyVMHasItsMachine)
			site.Criterion("F3", s.scale)
			site.Criterion("F4", s.remove)
			site.Criterion("P1", s.answers)
			site.Criterion("P2", s.provisioning)
			AfterAll(s.tidy)
		})
	})
}

// scenario is what one step leaves to the next.
type scenario struct {
	site   *suite.Site
	flavor string

	clastix *clastix
	cluster *suite.Cluster
	// before is what there was on AtomOS, objectsBefore in the namespace.
	before        inventory.Inventory
	objectsBefore []string
	lives         *life.Recorder
	endWatch      func() error
	// ordered is when Clastix asked for so many more Machines.
	ordered []order
	// audit is what the API server noted of Clastix.
	audit []request
}

// order is a change that Clastix asked for.
type order struct {
	at time.Time
	// known are the Machines that there were by then.
	known map[string]bool
}

func (s *scenario) create(ctx context.Context, f1 *reports.Examination) {
	f1.Step("a namespace in which Clastix has the shipped role", func() {
		var err error
		s.before, err = s.site.Hosts.Take(ctx)
		Expect(err).NotTo(HaveOccurred())
		s.cluster = &suite.Cluster{
			Site: s.site, Flavor: s.flavor, ControlPlanes: controlPlanes,
			Key: client.ObjectKey{Namespace: s.site.Namespace(ctx, "poc"), Name: "poc"},
		}
		kubeconfig, err := s.site.World.UserKubeconfig(ctx, user, user)
		Expect(err).NotTo(HaveOccurred())
		s.clastix, err = newClastix(kubeconfig, s.site.Admin.Scheme())
		Expect(err).NotTo(HaveOccurred())
		s.objectsBefore = slices.Sorted(maps.Keys(s.objects(ctx)))
		s.watch()
	})
	f1.Step("clusterctl generate cluster, applied as Clastix", func() { s.apply(ctx, workers) })
	f1.Step(fmt.Sprintf("%d control planes and %d workers Ready", controlPlanes, workers), func() { s.await(ctx, workers) })
	f1.Step("the cluster is Available", func() {
		Eventually(func(g Gomega) {
			cluster := &clusterv1.Cluster{}
			g.Expect(s.site.Admin.Get(ctx, s.cluster.Key, cluster)).To(Succeed())
			g.Expect(cluster.Status.Conditions).To(ContainElement(SatisfyAll(
				HaveField("Type", clusterv1.ClusterAvailableCondition), HaveField("Status", metav1.ConditionTrue))))
		}, suite.Long, suite.Often).WithContext(ctx).Should(Succeed())
	})
	f1.Step("its kubeconfig, fetched as Clastix, shows all Nodes Ready", func() {
		workload := s.workload(ctx)
		Eventually(func(g Gomega) {
			nodes := &corev1.NodeList{}
			g.Expect(workload.List(ctx, nodes)).To(Succeed())
			g.Expect(readyNodes(nodes.Items)).To(Equal(controlPlanes + workers))
			g.Expect(nodes.Items).To(HaveLen(controlPlanes + workers))
		}, suite.Long, suite.Often).WithContext(ctx).Should(Succeed())
	})
	f1.Figure(
		reports.Figure{Name: "control planes Ready", Value: controlPlanes, Command: "kubectl get machines"},
		reports.Figure{Name: "workers Ready", Value: workers, Command: "kubectl get machines"},
	)
	f1.Evidence(reports.Evidence{Title: "the manifest that was applied", Path: s.cluster.Manifest(workers)})
}

func (s *scenario) everyVMHasItsMachine(ctx context.Context, f2 *reports.Examination) {
	f2.Step("VMs on AtomOS, ElementoMachines, Machines and Nodes compared", func() {
		by := "C4 GET matcher/running, kubectl get machines,elementomachines"
		f2.Figure(s.compare(ctx, controlPlanes+workers, by)...)
	})
}

// compare demands that AtomOS and Kubernetes tell the same, and returns figures.
func (s *scenario) compare(ctx context.Context, want int, by string) []reports.Figure {
	found, err := s.site.Hosts.Take(ctx)
	Expect(err).NotTo(HaveOccurred())
	vms := found.Without(s.before).Of(inventory.VM)
	infra := &infrav1.ElementoMachineList{}
	Expect(s.site.Admin.List(ctx, infra, client.InNamespace(s.cluster.Key.Namespace))).To(Succeed())
	all := s.cluster.Machines(ctx, s.site.Admin)
	nodes := &corev1.NodeList{}
	Expect(s.workload(ctx).List(ctx, nodes)).To(Succeed())

	withoutMachine, withoutVM, withoutNode := mismatches(vms, infra.Items, all.All(), nodes.Items)
	Expect(slices.Concat(withoutMachine, withoutVM, withoutNode)).To(BeEmpty())
	Expect(vms).To(HaveLen(want))
	none := ptr.To(0.0)
	return []reports.Figure{
		{Name: "VMs on AtomOS", Value: float64(len(vms)), Command: by},
		{Name: "VMs without a Machine", Value: float64(len(withoutMachine)), AtMost: none, Command: by},
		{Name: "Machines without their VM", Value: float64(len(withoutVM)), AtMost: none, Command: by},
		{Name: "Machines without their Node", Value: float64(len(withoutNode)), AtMost: none, Command: by},
	}
}

func (s *scenario) scale(ctx context.Context, f3 *reports.Examination) {
	take := func() inventory.Inventory {
		found, err := s.site.Hosts.Take(ctx)
		Expect(err).NotTo(HaveOccurred())
		return found.Of(inventory.VM)
	}
	small := take()
	var large, condemned inventory.Inventory
	f3.Step("applying the same manifest again changes nothing", func() { s.applyingAgainChangesNothing(ctx) })
	f3.Step(fmt.Sprintf("%d workers more", scaleBy), func() {
		s.apply(ctx, workers+scaleBy)
		s.await(ctx, workers+scaleBy)
		large = take()
		Expect(small.Without(large)).To(BeEmpty(), "VMs that went although nobody asked")
		Expect(large.Without(small)).To(HaveLen(scaleBy), "new VMs")
	})
	f3.Step("AtomOS and Kubernetes tell the same", func() { s.compare(ctx, controlPlanes+workers+scaleBy, "") })
	f3.Step(fmt.Sprintf("%d workers fewer, those that Clastix has named", scaleBy), func() {
		names := s.condemn(ctx, scaleBy)
		for _, vm := range large {
			if slices.Contains(names, vm.Name) {
				condemned = append(condemned, vm)
			}
		}
		Expect(condemned).To(HaveLen(scaleBy), "VMs of the named Machines")
		s.apply(ctx, workers)
		s.await(ctx, workers)
		Eventually(take, suite.Long, suite.Often).WithContext(ctx).Should(HaveLen(len(small)))
		Expect(large.Without(take())).To(ConsistOf(condemned), "the VMs that went")
	})
	f3.Step("AtomOS and Kubernetes tell the same again", func() { s.compare(ctx, controlPlanes+workers, "") })
	f3.Figure(
		reports.Figure{Name: "VMs that came", Value: float64(len(large.Without(small))), Command: "C4 GET matcher/running"},
		reports.Figure{Name: "VMs that went", Value: float64(len(condemned)), Command: "C4 GET matcher/running"},
	)
}

// condemn has Clastix name the workers that are to go first, the oldest, and
// returns the names of their VMs.
func (s *scenario) condemn(ctx context.Context, n int) []string {
	all := s.cluster.Machines(ctx, s.clastix.client)
	slices.SortFunc(all.Workers, func(a, b clusterv1.Machine) int {
		return a.CreationTimestamp.Compare(b.CreationTimestamp.Time)
	})
	var names []string
	for _, machine := range all.Workers[:n] {
		patch := client.MergeFrom(machine.DeepCopy())
		machine.Annotations = map[string]string{clusterv1.DeleteMachineAnnotation: "true"}
		Expect(s.clastix.client.Patch(ctx, &machine, patch)).To(Succeed())
		vm := &infrav1.ElementoMachine{}
		Expect(s.site.Admin.Get(ctx, client.ObjectKey{Namespace: machine.Namespace, Name: machine.Spec.InfrastructureRef.Name}, vm)).To(Succeed())
		names = append(names, vm.Spec.VMName)
	}
	return names
}

// applyingAgainChangesNothing applies what is there, as GitOps tools do all the
// time, and demands that no object has another generation or resourceVersion.
func (s *scenario) applyingAgainChangesNothing(ctx context.Context) {
	previous := s.objects(ctx)
	Eventually(func(g Gomega) {
		now := s.objects(ctx)
		then := previous
		previous = now
		g.Expect(changes(then, now)).To(BeEmpty())
	}, suite.Long, "1s").WithContext(ctx).MustPassRepeatedly(15).Should(Succeed(), "the cluster never came to rest")
	s.apply(ctx, workers)
	s.ordered = s.ordered[:len(s.ordered)-1] // it orders nothing
	Consistently(func() []string { return changes(previous, s.objects(ctx)) }, "15s", "500ms").WithContext(ctx).Should(BeEmpty())
}

// changes says what is there on one side only, or not the same on both.
func changes(before, after map[string]string) []string {
	var found []string
	for name, was := range before {
		if is := after[name]; is != was {
			found = append(found, fmt.Sprintf("%s: %s, then %s", name, was, cmp.Or(is, "gone")))
		}
	}
	for name, is := range after {
		if _, was := before[name]; !was {
			found = append(found, fmt.Sprintf("%s: new, %s", name, is))
		}
	}
	slices.Sort(found)
	return found
}

func (s *scenario) remove(ctx context.Context, f4 *reports.Examination) {
	full, err := s.site.Hosts.Take(ctx)
	Expect(err).NotTo(HaveOccurred())
	f4.Step("the manifest's objects deleted as Clastix, the cluster first", func() {
		s.cluster.Delete(ctx, s.clastix.client)
	})
	f4.Step("nothing is left on AtomOS", func() {
		after := s.site.Unchanged(ctx, s.before)
		f4.Figure(
			reports.Figure{Name: "resources on AtomOS before", Value: float64(len(s.before)), Command: "C4, each host"},
			reports.Figure{Name: "resources on AtomOS with the cluster", Value: float64(len(full)), Command: "C4, each host"},
			reports.Figure{Name: "resources on AtomOS after", Value: float64(after), AtMost: ptr.To(float64(len(s.before))), Command: "C4, each host"},
		)
	})
	f4.Step("nothing is left in Kubernetes", func() {
		Eventually(func() []string { return slices.Sorted(maps.Keys(s.objects(ctx))) }, suite.Long, suite.Often).WithContext(ctx).Should(Equal(s.objectsBefore))
		cleanups := &infrav1.ElementoCleanupList{}
		Expect(s.site.Admin.List(ctx, cleanups, client.InNamespace(s.cluster.Key.Namespace))).To(Succeed())
		f4.Figure(reports.Figure{Name: "ElementoCleanups", Value: float64(len(cleanups.Items)), AtMost: ptr.To(0.0), Command: "kubectl get elementocleanups"})
		Expect(cleanups.Items).To(BeEmpty())
	})
}

func (s *scenario) answers(ctx context.Context, p1 *reports.Examination) {
	var samples []time.Duration
	for _, o := range s.ordered {
		for _, l := range s.lives.Lives() {
			if at := l.At[life.Created]; !o.known[l.Machine] && at.After(o.at) && !s.later(o, at) && !l.ControlPlane {
				samples = append(samples, at.Sub(o.at))
			}
		}
	}
	p1.Latency(reports.Measure("Clastix scales up → worker Machine created", samples))
	if log := s.site.World.AuditLogPath(); log != "" {
		p1.Step("the API server's audit log of Clastix", func() {
			const name = "audit-clastix.jsonl"
			var err error
			s.audit, err = auditOf(user, log, filepath.Join(s.site.Dir, name))
			Expect(err).NotTo(HaveOccurred())
			var answered []time.Duration
			refused := 0
			for _, r := range s.audit {
				if r.changes() && r.Stage == "ResponseComplete" {
					answered = append(answered, r.StageTimestamp.Sub(r.RequestReceivedTimestamp))
				}
				if r.ResponseStatus.Code == 403 {
					refused++
				}
			}
			p1.Latency(reports.Measure("a changing request of Clastix is answered", answered))
			p1.Figure(reports.Figure{Name: "requests of Clastix in the audit log", Value: float64(len(s.audit)), Command: "audit log"},
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
	p2.Latency(
		reports.Measure("Machine created → VM running", life.Took(lives, life.Created, life.VMRunning)),
		reports.Measure("Machine created → bootstrap data ready (Cluster API)", life.Took(lives, life.Created, life.BootstrapReady)),
		reports.Measure("bootstrap data ready → register arrives (ours)", life.Took(lives, life.BootstrapReady, life.RegisterArrived)),
		reports.Measure("register arrives → VM running (AtomOS)", life.Took(lives, life.RegisterArrived, life.VMRunning)),
		reports.Measure("VM running → provisioned (ours)", life.Took(lives, life.VMRunning, life.Provisioned)),
		reports.Measure("provisioned → Machine Running (guest and Cluster API)", life.Took(lives, life.Provisioned, life.Running)),
		reports.Measure("ElementoMachine deleted → gone (AtomOS stops, ours)", life.Took(lives, life.Deleted, life.Gone)),
	)
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
	s.endWatch = func() error { cancel(); return wait() }
}

// apply has Clastix ask for the cluster with so many workers.
func (s *scenario) apply(ctx context.Context, workers int) {
	objects := s.cluster.Generate(ctx, workers)
	known := map[string]bool{}
	for _, l := range s.lives.Lives() {
		known[l.Machine] = true
	}
	s.ordered = append(s.ordered, order{at: time.Now(), known: known})
	Expect(suite.Apply(ctx, s.clastix.client, user, objects)).To(Succeed())
}

// await waits for so many workers, and takes the times of their VMs.
func (s *scenario) await(ctx context.Context, workers int) {
	s.cluster.Await(ctx, workers)
	s.site.SeeAtomOS(ctx, s.lives)
}

// workload reaches the workload cluster with the kubeconfig that Clastix can
// fetch.
func (s *scenario) workload(ctx context.Context) client.Client {
	secret := &corev1.Secret{}
	Eventually(func() error {
		return s.clastix.client.Get(ctx, client.ObjectKey{Namespace: s.cluster.Key.Namespace, Name: s.cluster.Key.Name + "-kubeconfig"}, secret)
	}, "1m", suite.Often).WithContext(ctx).Should(Succeed(), "the kubeconfig, fetched as Clastix")
	config, err := clientcmd.RESTConfigFromKubeConfig(secret.Data["value"])
	Expect(err).NotTo(HaveOccurred())
	c, err := client.New(config, client.Options{})
	Expect(err).NotTo(HaveOccurred())
	return c
}

// objects are all objects in the namespace that anyone would miss, with their
// generation and resourceVersion.
func (s *scenario) objects(ctx context.Context) map[string]string {
	found := map[string]string{}
	for _, o := range framework.GetCAPIResources(ctx, framework.GetCAPIResourcesInput{
		Lister:    s.site.Admin,
		Namespace: s.cluster.Key.Namespace,
		IncludeTypes: []metav1.TypeMeta{
			{APIVersion: "v1", Kind: "Secret"}, {APIVersion: "v1", Kind: "ConfigMap"},
			{APIVersion: "rbac.authorization.k8s.io/v1", Kind: "Role"}, {APIVersion: "rbac.authorization.k8s.io/v1", Kind: "RoleBinding"},
		},
	}) {
		found[o.GetKind()+" "+o.GetName()] = fmt.Sprintf("%s generation %d resourceVersion %s", o.GetUID(), o.GetGeneration(), o.GetResourceVersion())
	}
	return found
}

// tidy removes the cluster where the scenario did not come so far, so that
// nothing stays on AtomOS.
func (s *scenario) tidy(ctx SpecContext) {
	if s.cluster == nil {
		return
	}
	if s.endWatch != nil {
		if err := s.endWatch(); err != nil {
			AddReportEntry("the watch of the Machines", err.Error())
		}
	}
	s.cluster.Delete(ctx, s.site.Admin)
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.cluster.Key.Namespace}}
	Expect(client.IgnoreNotFound(s.site.Admin.Delete(ctx, namespace))).To(Succeed())
}
