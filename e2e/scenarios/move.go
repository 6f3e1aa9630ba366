package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/cluster-api/test/framework/clusterctl"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemento.cloud/cluster-api-provider-elemento/e2e/world"
	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
)

// moves are the scenarios with more than one management cluster.
func moves() []scenario {
	return []scenario{{
		name:    "clusterctl-move",
		answers: "CAPI contract, move: objects get new UIDs and no status; CAPMVM#132, CAPI#8009: providerIDs empty or mismatched; Management Cluster: rebuilt from etcd-backed definitions",
		does:    "a cluster of which a host is down, with a cleanup record for it, is moved to another management cluster; then the host comes back",
		during:  "no VM is touched",
		after:   "the other management cluster has the same VMs, the same providerIDs and the record, works it off, scales the cluster and deletes it without a trace",
		on:      none,
		play: func(ctx context.Context, s *stage) {
			c := s.troupe.cluster("mover", "", 1, 2)
			c.Key.Namespace = s.Namespace(ctx, "mover")
			identity := s.World.IdentitySecret(c.Key.Namespace, "mover-elemento-identity")
			identity.Labels = map[string]string{"clusterctl.cluster.x-k8s.io/move": ""}
			Expect(s.Admin.Create(ctx, identity)).To(Succeed())
			c.Variables["ELEMENTO_IDENTITY_SECRET"] = identity.Name
			c.make(ctx)

			lost := s.workerApart(ctx, c)
			s.losesPower(ctx, lost.host())
			s.converges(ctx, "its worker is replaced", each(s.replaced(lost), c.Has(2)))
			s.within(ctx, cycle, "what may be left is written down", s.cleanupOf(lost))
			vms := append(s.vms(ctx, c, true), s.vms(ctx, c, false)...)

			twin, err := s.World.Twin(ctx, world.Options{Dir: s.Artifact("twin"), Progress: GinkgoWriter, Elemento: &world.Elemento{ManagerArgs: managerArgs()}})
			Expect(err).NotTo(HaveOccurred())
			DeferCleanup(func(ctx SpecContext) { Expect(twin.Down(ctx)).To(Succeed()) })
			stop, err := s.troupe.watched.Also(ctx, twin.Config(), "twin")
			Expect(err).NotTo(HaveOccurred())
			DeferCleanup(func() { Expect(stop()).To(Succeed()) }) // before the twin is taken down
			admin, err := client.New(twin.Config(), client.Options{Scheme: s.Admin.Scheme()})
			Expect(err).NotTo(HaveOccurred())
			Expect(admin.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: c.Key.Namespace}})).To(Succeed())

			for _, v := range vms {
				s.always(ctx, "VM "+v.name()+" is not touched", s.runsAs(v.name(), v.uid))
			}
			s.change("the cluster is moved", func() error {
				clusterctl.Move(ctx, clusterctl.MoveInput{
					LogFolder: filepath.Join(s.Dir, "clusterctl"), ClusterctlConfigPath: s.Clusterctl,
					FromKubeconfigPath: s.World.AdminKubeconfig(), ToKubeconfigPath: twin.AdminKubeconfig(), Namespace: c.Key.Namespace,
				})
				return nil
			})
			there := s.elsewhere(admin)
			moved := &standing{Cluster: c.Cluster, workers: 2}
			site := *s.Site
			site.Admin = admin
			moved.Site = &site
			s.converges(ctx, "all Machines are Ready there", moved.Has(2))
			for _, v := range vms {
				Expect(there.sameAs(v)(ctx)).To(Succeed())
			}
			Expect(there.cleanupOf(lost)(ctx)).To(Succeed(), "the record moved too")
			Expect(s.noCleanups(client.InNamespace(c.Key.Namespace))(ctx)).To(Succeed(), "and is no longer here")
			for _, g := range s.guards {
				g.end()
			}
			s.heals(ctx, "the host has power again")
			s.converges(ctx, "the record is worked off there", each(there.noCleanups(), s.absent(lost.name())))
			s.change("a worker is added there", func() error { return moved.Scale(ctx, 3) })
			s.converges(ctx, "it is Ready", moved.Has(3))
			s.change("the cluster is deleted there", func() error { return moved.AskDeletion(ctx) })
			s.converges(ctx, "nothing is left of it", each(moved.Gone, s.allGone(vms), there.noCleanups(), s.nothingOf(c)))
		},
	}}
}

// elsewhere looks at another management cluster.
func (s *stage) elsewhere(admin client.Client) *stage {
	site := *s.Site
	site.Admin = admin
	return &stage{Site: &site, troupe: s.troupe, scenario: s.scenario, Rand: s.Rand}
}

// workerApart is a worker on a host that has neither the control plane nor the
// forward.
func (s *stage) workerApart(ctx context.Context, c *standing) vm {
	GinkgoHelper()
	taken := map[string]bool{s.elementoCluster(ctx, c).Spec.EndpointHost: true}
	for _, v := range s.vms(ctx, c, true) {
		taken[v.host()] = true
	}
	for _, v := range s.vms(ctx, c, false) {
		if !taken[v.host()] {
			return v
		}
	}
	Fail("every worker shares its host with the control plane or the forward")
	return vm{}
}

// sameAs holds when an ElementoMachine has the identity that it had before.
func (s *stage) sameAs(v vm) check {
	return func(ctx context.Context) error {
		o := &infrav1.ElementoMachine{}
		if err := s.Admin.Get(ctx, client.ObjectKeyFromObject(&v.object), o); err != nil {
			return err
		}
		m := &clusterv1.Machine{}
		if err := s.Admin.Get(ctx, client.ObjectKeyFromObject(&v.machine), m); err != nil {
			return err
		}
		switch {
		case o.UID == v.object.UID:
			return errors.New("it has the same UID: it was not moved")
		case o.Spec.VMName != v.name() || o.Spec.Host != v.host() || o.Spec.ProviderID != v.object.Spec.ProviderID || m.Spec.ProviderID != v.object.Spec.ProviderID:
			return fmt.Errorf("ElementoMachine %s is %+v, was %+v", o.Name, o.Spec, v.object.Spec)
		}
		return nil
	}
}

// allGone holds when AtomOS has nothing of any of the VMs.
func (s *stage) allGone(vms []vm) check {
	var checks []check
	for _, v := range vms {
		checks = append(checks, s.absent(v.name()))
	}
	return each(checks...)
}
