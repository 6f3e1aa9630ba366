package main

import (
	"context"

	. "github.com/onsi/ginkgo/v2"
	clusterctlcluster "sigs.k8s.io/cluster-api/cmd/clusterctl/client/cluster"
	upstream "sigs.k8s.io/cluster-api/test/e2e"
	"sigs.k8s.io/cluster-api/test/framework"

	"elemento.cloud/cluster-api-provider-elemento/e2e/suite"
)

// quickStart makes a cluster of a flavor.
func quickStart(flavor string) func(*suite.Site) {
	return func(s *suite.Site) {
		upstream.QuickStartSpec(context.Background(), func() upstream.QuickStartSpecInput { return quickStartInput(s, flavor) })
	}
}

func quickStartInput(s *suite.Site, flavor string) upstream.QuickStartSpecInput {
	classy := flavor == topology
	return upstream.QuickStartSpecInput{
		E2EConfig:              config(s),
		ClusterctlConfigPath:   s.Clusterctl,
		BootstrapClusterProxy:  s.Proxy,
		ArtifactFolder:         s.Artifact("quick-start" + flavor),
		InfrastructureProvider: &s.Provider,
		PostNamespaceCreated:   podNetwork(s),
		Flavor:                 &flavor,
		PostMachinesProvisioned: func(proxy framework.ClusterProxy, namespace, name string) {
			ctx := context.Background()
			ours := clusterctlcluster.FilterClusterObjectsWithNameFilter(name)
			owners := []map[string]func(object, owners) error{
				framework.CoreOwnerReferenceAssertion,
				framework.ExpOwnerReferenceAssertions,
				framework.KubeadmBootstrapOwnerReferenceAssertions,
				framework.KubeadmControlPlaneOwnerReferenceAssertions(classy),
				framework.KubernetesReferenceAssertions,
				ownerReferences(classy),
			}
			By("Checking that owner references are resilient")
			framework.ValidateOwnerReferencesResilience(ctx, proxy, namespace, name, ours, owners...)
			By("Checking that owner references are updated to the correct API version")
			framework.ValidateOwnerReferencesOnUpdate(ctx, proxy, namespace, name, ours, owners...)
			By("Checking that finalizers are resilient")
			core := framework.CoreFinalizersAssertionWithLegacyClusters
			if classy {
				core = framework.CoreFinalizersAssertionWithClassyClusters
			}
			framework.ValidateFinalizersResilience(ctx, proxy, namespace, name, ours,
				core, framework.KubeadmControlPlaneFinalizersAssertion, framework.ExpFinalizersAssertion, finalizers)
			By("Checking that resourceVersions are stable")
			framework.ValidateResourceVersionStable(ctx, framework.ValidateResourceVersionStableInput{
				ClusterProxy:             proxy,
				Namespace:                namespace,
				OwnerGraphFilterFunction: ours,
				WaitToBecomeStable:       config(s).GetIntervals("quick-start", "wait-resource-versions-become-stable"),
				WaitToRemainStable:       config(s).GetIntervals("quick-start", "wait-resource-versions-remain-stable"),
			})
		},
	}
}
