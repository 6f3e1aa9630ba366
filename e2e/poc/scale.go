package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	. "github.com/onsi/gomega"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemento.cloud/cluster-api-provider-elemento/e2e/inventory"
	"elemento.cloud/cluster-api-provider-elemento/e2e/suite"
	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
	"elemento.cloud/cluster-api-provider-elemento/reports"
)

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
	s.learnSecrets(ctx)
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
	all := s.cluster.Machines(ctx, s.clastix)
	slices.SortFunc(all.Workers, func(a, b clusterv1.Machine) int {
		return a.CreationTimestamp.Compare(b.CreationTimestamp.Time)
	})
	var names []string
	for _, machine := range all.Workers[:n] {
		patch := client.MergeFrom(machine.DeepCopy())
		if machine.Annotations == nil {
			machine.Annotations = map[string]string{}
		}
		machine.Annotations[clusterv1.DeleteMachineAnnotation] = "true"
		Expect(s.clastix.Patch(ctx, &machine, patch)).To(Succeed())
		vm := &infrav1.ElementoMachine{}
		Expect(s.site.Admin.Get(ctx, client.ObjectKey{Namespace: machine.Namespace, Name: machine.Spec.InfrastructureRef.Name}, vm)).To(Succeed())
		names = append(names, vm.Spec.VMName)
	}
	return names
}

// applyingAgainChangesNothing applies what is there, as GitOps tools do all the
// time, and demands that no object has another generation or resourceVersion.
func (s *scenario) applyingAgainChangesNothing(ctx context.Context) {
	previous := s.site.Objects(ctx, s.cluster.Key.Namespace)
	Eventually(func(g Gomega) {
		now := s.site.Objects(ctx, s.cluster.Key.Namespace)
		then := previous
		previous = now
		g.Expect(changes(then, now)).To(BeEmpty())
	}, suite.Long, "1s").WithContext(ctx).MustPassRepeatedly(15).Should(Succeed(), "the cluster never came to rest")
	s.apply(ctx, workers)
	s.ordered = s.ordered[:len(s.ordered)-1] // it orders nothing
	Consistently(func() []string { return changes(previous, s.site.Objects(ctx, s.cluster.Key.Namespace)) }, "15s", "500ms").WithContext(ctx).Should(BeEmpty())
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
