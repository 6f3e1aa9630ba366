package main

import (
	"context"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/utils/ptr"
	upstream "sigs.k8s.io/cluster-api/test/e2e"
	"sigs.k8s.io/cluster-api/test/framework"
	"sigs.k8s.io/cluster-api/test/framework/clusterctl"

	"elemento.cloud/cluster-api-provider-elemento/e2e/suite"
)

func nodeDrain(s *suite.Site) {
	upstream.NodeDrainTimeoutSpec(context.Background(), func() upstream.NodeDrainTimeoutSpecInput {
		return upstream.NodeDrainTimeoutSpecInput{
			E2EConfig:              config(s),
			ClusterctlConfigPath:   s.Clusterctl,
			BootstrapClusterProxy:  s.Proxy,
			ArtifactFolder:         s.Artifact("node-drain"),
			InfrastructureProvider: &s.Provider,
			PostNamespaceCreated:   podNetwork(s),
			Flavor:                 ptr.To(topology),
			ControlPlaneWaiters:    clusterctl.ControlPlaneWaiters{WaitForControlPlaneMachinesReady: readyForPods(s)},
		}
	})
}

// givePause names what the images of nodes have of pause as the framework's Pods do.
const givePause = `
ours=$(ctr --namespace=k8s.io images list --quiet | grep --max-count=1 '^registry.k8s.io/pause:')
ctr --namespace=k8s.io images tag --force "$ours" registry.k8s.io/pause:3.10.1
`

// readyForPods waits for all Machines, and sees that nodes which are containers have what
// the framework's Pods run: no registry is asked for it.
func readyForPods(s *suite.Site) clusterctl.Waiter {
	return func(ctx context.Context, input clusterctl.ApplyCustomClusterTemplateAndWaitInput, result *clusterctl.ApplyCustomClusterTemplateAndWaitResult) {
		GinkgoHelper()
		allReady(ctx, s, input, result)
		Expect(s.World.InGuests(ctx, "sh", "-euc", givePause)).To(Succeed())
	}
}

// allReady waits for all Machines, the workers' too.
func allReady(ctx context.Context, s *suite.Site, input clusterctl.ApplyCustomClusterTemplateAndWaitInput, result *clusterctl.ApplyCustomClusterTemplateAndWaitResult) {
	GinkgoHelper()
	framework.WaitForControlPlaneAndMachinesReady(ctx, framework.WaitForControlPlaneAndMachinesReadyInput{
		GetLister: s.Admin, Cluster: result.Cluster, ControlPlane: result.ControlPlane,
	}, input.WaitForControlPlaneIntervals...)
	framework.DiscoveryAndWaitForMachineDeployments(ctx, framework.DiscoveryAndWaitForMachineDeploymentsInput{
		Lister: s.Admin, Cluster: result.Cluster,
	}, input.WaitForMachineDeployments...)
}
