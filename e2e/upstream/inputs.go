package main

import (
	"context"
	"sync/atomic"

	"golang.org/x/mod/semver"
	"k8s.io/utils/ptr"
	upstream "sigs.k8s.io/cluster-api/test/e2e"
	"sigs.k8s.io/cluster-api/test/framework"
	"sigs.k8s.io/cluster-api/test/framework/clusterctl"

	"elemento.cloud/cluster-api-provider-elemento/e2e/suite"
	"elemento.cloud/cluster-api-provider-elemento/e2e/world"
)

// topology is the flavor of the cluster template that uses a ClusterClass.
const topology = "topology"

// config is what upstream's suites read from a file. Simulated guests boot in
// no time: what has not come after some minutes does not come. Real ones boot, a few
// at a time, on whatever this machine has to itself.
func config(s *suite.Site) *clusterctl.E2EConfig {
	patience, often, stable := "5m", "500ms", "2m"
	if s.Guests() == world.GuestsContainer {
		patience, often, stable = "30m", "2s", "10m"
	}
	intervals := map[string][]string{
		"default/wait-resource-versions-become-stable": {stable, "15s"},
		"default/wait-resource-versions-remain-stable": {"2m", "5s"},
		"default/check-machines-stable":                {"15s", "1s"},
	}
	for _, wait := range []string{
		"wait-cluster", "wait-control-plane", "wait-worker-nodes", "wait-machine-pool-nodes", "wait-nodes-ready",
		"wait-delete-cluster", "wait-machine-upgrade", "wait-control-plane-upgrade", "wait-machine-deployment-upgrade",
		"wait-machine-remediation", "wait-machines", "wait-machine-provisioned",
		"wait-deployment-available", "wait-machine-deleted",
	} {
		intervals["default/"+wait] = []string{patience, often}
	}
	return &clusterctl.E2EConfig{
		ManagementClusterName: s.Proxy.GetName(),
		Variables: map[string]string{
			upstream.KubernetesVersion:               s.KubernetesVersion,
			upstream.KubernetesVersionUpgradeFrom:    upgradeFrom,
			upstream.KubernetesVersionUpgradeTo:      s.KubernetesVersion,
			upstream.CPMachineTemplateUpgradeTo:      "control-plane-upgraded",
			upstream.WorkersMachineTemplateUpgradeTo: "worker-upgraded",
		},
		Intervals: intervals,
	}
}

func machineDeploymentScale(s *suite.Site) {
	upstream.MachineDeploymentScaleSpec(context.Background(), func() upstream.MachineDeploymentScaleSpecInput {
		return upstream.MachineDeploymentScaleSpecInput{
			E2EConfig:              config(s),
			ClusterctlConfigPath:   s.Clusterctl,
			BootstrapClusterProxy:  s.Proxy,
			ArtifactFolder:         s.Artifact("md-scale"),
			InfrastructureProvider: &s.Provider,
			PostNamespaceCreated:   podNetwork(s),
		}
	})
}

func rollout(s *suite.Site) {
	upstream.KCPAndMachineDeploymentRolloutSpec(context.Background(), func() upstream.KCPAndMachineDeploymentRolloutSpecInput {
		return upstream.KCPAndMachineDeploymentRolloutSpecInput{
			E2EConfig:              config(s),
			ClusterctlConfigPath:   s.Clusterctl,
			BootstrapClusterProxy:  s.Proxy,
			ArtifactFolder:         s.Artifact("md-rollout"),
			InfrastructureProvider: &s.Provider,
			PostNamespaceCreated:   podNetwork(s),
			Flavor:                 "kcp-md-taints",
		}
	})
}

// sameMinor tells whether two versions of Kubernetes differ in their patch only.
func sameMinor(a, b string) bool { return semver.MajorMinor(a) == semver.MajorMinor(b) }

// upgrade upgrades a cluster of a flavor and a size.
func upgrade(flavor string, controlPlanes, workers int64) func(*suite.Site) {
	return func(s *suite.Site) {
		upstream.ClusterUpgradeConformanceSpec(context.Background(), func() upstream.ClusterUpgradeConformanceSpecInput {
			return upstream.ClusterUpgradeConformanceSpecInput{
				E2EConfig:                config(s),
				ClusterctlConfigPath:     s.Clusterctl,
				BootstrapClusterProxy:    s.Proxy,
				ArtifactFolder:           s.Artifact("upgrade-" + flavor),
				InfrastructureProvider:   &s.Provider,
				PostNamespaceCreated:     podNetwork(s),
				Flavor:                   &flavor,
				ControlPlaneMachineCount: &controlPlanes,
				WorkerMachineCount:       &workers,
				SkipConformanceTests:     true,
				ClusterctlVariables:      map[string]string{upstream.KubernetesVersionUpgradeTo: s.KubernetesVersion},
			}
		})
	}
}

func scale(s *suite.Site) {
	var made atomic.Int64
	upstream.ScaleSpec(context.Background(), func() upstream.ScaleSpecInput {
		return upstream.ScaleSpecInput{
			E2EConfig:                       config(s),
			ClusterctlConfigPath:            s.Clusterctl,
			BootstrapClusterProxy:           s.Proxy,
			ArtifactFolder:                  s.Artifact("scale"),
			InfrastructureProvider:          &s.Provider,
			PostNamespaceCreated:            podNetwork(s),
			Flavor:                          ptr.To(topology),
			ClusterCount:                    ptr.To[int64](4),
			Concurrency:                     ptr.To[int64](2),
			ControlPlaneMachineCount:        ptr.To[int64](1),
			MachineDeploymentCount:          ptr.To[int64](1),
			WorkerPerMachineDeploymentCount: ptr.To[int64](1),
			// They all come from one manifest, and are there at one time.
			PostScaleClusterNamespaceCreated: func(_ framework.ClusterProxy, _, _ string, class, cluster []byte) ([]byte, []byte) {
				return class, inNetwork(s, cluster, int(made.Add(1)-1))
			},
		}
	})
}
