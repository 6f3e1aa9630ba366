package main

import (
	"context"
	"fmt"
	"time"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/cluster-api/util/conditions"

	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
)

// remediations are the scenarios about who may replace what, and who waits for
// whom.
func remediations() []scenario {
	return []scenario{
		{
			name:    "more-unhealthy-than-allowed",
			answers: "CAPI health checks: unhealthyLessThanOrEqualTo keeps a fault of many from becoming a replacement of all",
			does:    "two workers' VMs vanish in a cluster of the flavor md-remediation whose maximum is one, then the maximum is two",
			during:  "nothing is replaced while more are unhealthy than allowed",
			after:   "both are replaced, and the cluster is deleted without a trace",
			on:      none,
			play: func(ctx context.Context, s *stage) {
				c := s.troupe.cluster("bounded", "md-remediation", 1, 3)
				c.Variables["ELEMENTO_MAX_UNHEALTHY_WORKERS"] = "1"
				c.make(ctx)
				vms := s.vms(ctx, c, false)[:2]
				for _, v := range vms {
					s.breaks("VM "+v.name()+" vanishes", func() error { return s.Fake.VanishVM(ctx, v.host(), v.name(), true) }, nil)
				}
				s.within(ctx, cycle, "the provider says that they are lost", each(
					s.says(vms[0], infrav1.VMProvisionedCondition, infrav1.VMLostReason), s.says(vms[1], infrav1.VMProvisionedCondition, infrav1.VMLostReason)))
				s.stays(ctx, unhealthyAfter*time.Second+5*time.Second, "nothing is replaced", each(s.kept(vms[0]), s.kept(vms[1])))
				s.change("two may be unhealthy", func() error {
					return c.ChangeHealthCheck(ctx, func(check *clusterv1.MachineHealthCheckSpec) {
						check.Remediation.TriggerIf.UnhealthyLessThanOrEqualTo = ptr.To(intstr.FromInt32(2))
					})
				})
				s.converges(ctx, "both are replaced", each(s.replaced(vms[0]), s.replaced(vms[1]), c.Has(3)))
				s.change("the cluster is deleted", func() error { return c.AskDeletion(ctx) })
				s.converges(ctx, "nothing is left of it", each(c.Gone, s.allGone(vms), s.nothingOf(c)))
			},
		},
		{
			name:    "control-planes-lost-for-good",
			answers: "CAPI: KubeadmControlPlane never remediates what would cost etcd its majority",
			does:    "two of three control planes' VMs vanish in a cluster of the flavor kcp-remediation",
			during:  "no control plane's Machine is replaced: nobody could join a cluster without a majority",
			after:   "conditions say what is lost; the cluster can be deleted and leaves nothing",
			on:      none,
			play: func(ctx context.Context, s *stage) {
				c := s.troupe.cluster("beheaded", "kcp-remediation", 3, 1)
				c.make(ctx)
				all := s.vms(ctx, c, true)
				for _, v := range all[:2] {
					s.breaks("VM "+v.name()+" vanishes", func() error { return s.Fake.VanishVM(ctx, v.host(), v.name(), true) }, nil)
				}
				s.converges(ctx, "the provider says that they are lost", each(
					s.says(all[0], infrav1.VMProvisionedCondition, infrav1.VMLostReason), s.says(all[1], infrav1.VMProvisionedCondition, infrav1.VMLostReason)))
				s.stays(ctx, unhealthyAfter*time.Second+5*time.Second, "none is replaced", each(s.kept(all[0]), s.kept(all[1]), s.untouched(all[2])))
				s.change("the cluster is deleted", func() error { return c.AskDeletion(ctx) })
				s.converges(ctx, "nothing is left of it", each(c.Gone, s.allGone(all), s.nothingOf(c), s.noCleanups()))
			},
		},
		{
			name:    "identity-comes-late",
			answers: "CAPO#2820: new objects wait behind a resync",
			does:    "a cluster is made whose identity Secret does not exist, and the Secret comes 10 s later",
			during:  "a condition says which Secret is missing",
			after:   "the cluster goes on at once, and is deleted without a trace",
			on:      none,
			play: func(ctx context.Context, s *stage) {
				c := s.troupe.cluster("late", "", 1, 1)
				secret := s.World.IdentitySecret(c.Key.Namespace, "late-elemento-identity")
				c.Variables["ELEMENTO_IDENTITY_SECRET"] = secret.Name
				s.change("the cluster is asked for", func() error { return c.ask(ctx) })
				s.within(ctx, cycle, "it says that the identity is missing", func(ctx context.Context) error {
					o := &infrav1.ElementoCluster{}
					if err := s.Admin.Get(ctx, c.Key, o); err != nil {
						return err
					}
					if r := conditions.GetReason(o, infrav1.IdentityAvailableCondition); r != infrav1.IdentityNotFoundReason {
						return fmt.Errorf("it says %q", r)
					}
					return nil
				})
				s.after(ctx, 10*time.Second)
				s.change("the identity comes", func() error { return s.Admin.Create(ctx, secret) })
				s.within(ctx, 10*time.Second, "the cluster goes on at once", func(ctx context.Context) error {
					o := &infrav1.ElementoCluster{}
					if err := s.Admin.Get(ctx, c.Key, o); err != nil {
						return err
					}
					if !conditions.IsTrue(o, infrav1.IdentityAvailableCondition) {
						return fmt.Errorf("its identity is still not available")
					}
					return nil
				})
				s.converges(ctx, "it is Ready", c.Has(1))
				vms := append(s.vms(ctx, c, true), s.vms(ctx, c, false)...)
				s.change("the cluster is deleted", func() error { return c.AskDeletion(ctx) })
				s.converges(ctx, "nothing is left of it", each(c.Gone, s.allGone(vms), s.nothingOf(c)))
				Expect(s.Admin.Delete(ctx, secret)).To(Succeed())
			},
		},
	}
}
