package main

import (
	"context"
	"path/filepath"
	"slices"

	. "github.com/onsi/ginkgo/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	clusterctlcluster "sigs.k8s.io/cluster-api/cmd/clusterctl/client/cluster"
	upstream "sigs.k8s.io/cluster-api/test/e2e"
	"sigs.k8s.io/cluster-api/test/framework"
	"sigs.k8s.io/cluster-api/test/framework/clusterctl"

	"elemento.cloud/cluster-api-provider-elemento/e2e/suite"
)

// topology is the flavor of the cluster template that uses a ClusterClass.
const topology = "topology"

// spec is one of upstream's, with our input.
type spec struct {
	name string
	run  func(*suite.Site)
}

// specs are those that apply.
func specs() []spec {
	return []spec{
		{"QuickStart", func(s *suite.Site) {
			upstream.QuickStartSpec(context.Background(), func() upstream.QuickStartSpecInput { return quickStart(s, "") })
		}},
		{"QuickStart with ClusterClass", func(s *suite.Site) {
			upstream.QuickStartSpec(context.Background(), func() upstream.QuickStartSpecInput { return quickStart(s, topology) })
		}},
		{"MachineDeploymentScale", func(s *suite.Site) {
			upstream.MachineDeploymentScaleSpec(context.Background(), func() upstream.MachineDeploymentScaleSpecInput {
				return upstream.MachineDeploymentScaleSpecInput{
					E2EConfig:              config(s),
					ClusterctlConfigPath:   s.Clusterctl,
					BootstrapClusterProxy:  s.Proxy,
					ArtifactFolder:         artifacts(s, "md-scale"),
					InfrastructureProvider: &s.Provider,
				}
			})
		}},
		{"ClusterDeletion", func(s *suite.Site) {
			upstream.ClusterDeletionSpec(context.Background(), func() upstream.ClusterDeletionSpecInput {
				return upstream.ClusterDeletionSpecInput{
					E2EConfig:                config(s),
					ClusterctlConfigPath:     s.Clusterctl,
					BootstrapClusterProxy:    s.Proxy,
					ArtifactFolder:           artifacts(s, "cluster-deletion"),
					InfrastructureProvider:   &s.Provider,
					Flavor:                   ptr.To(topology),
					ControlPlaneMachineCount: ptr.To[int64](3),
					ClusterDeletionPhases:    deletionPhases(),
				}
			})
		}},
		{"ClusterClassChanges", func(s *suite.Site) {
			upstream.ClusterClassChangesSpec(context.Background(), func() upstream.ClusterClassChangesSpecInput {
				return upstream.ClusterClassChangesSpecInput{
					E2EConfig:              config(s),
					ClusterctlConfigPath:   s.Clusterctl,
					BootstrapClusterProxy:  s.Proxy,
					ArtifactFolder:         artifacts(s, "clusterclass-changes"),
					InfrastructureProvider: &s.Provider,
					Flavor:                 topology,
					ModifyControlPlaneFields: map[string]any{
						"spec.kubeadmConfigSpec.verbosity": int64(4),
					},
					ModifyMachineDeploymentBootstrapConfigTemplateFields: map[string]any{
						"spec.template.spec.verbosity": int64(4),
					},
					ModifyMachineDeploymentInfrastructureMachineTemplateFields: map[string]any{
						"spec.template.spec.tags": []any{"changed-by-the-class"},
					},
				}
			})
		}},
	}
}

// other is a spec of upstream's that is not run.
type other struct {
	name, why string
	// untried says that it may apply, and nobody has tried.
	untried bool
}

// others are all that are not run.
var others = []other{
	{name: "KCPRemediation", why: "its guests call the management API, which simulated guests do not"},
	{name: "NodeDrainTimeout", why: "drains Deployments, whose Pods simulated guests do not run"},
	{name: "SelfHosted", why: "a management plane inside of a workload cluster needs nodes that run Pods"},
	{name: "K8SConformance", why: "needs nodes that run Pods"},
	{name: "Autoscaler", why: "needs nodes that run Pods"},
	{name: "MachinePool", why: "the provider has no machine pools"},
	{name: "ClusterInPlaceUpdate", why: "the provider has no in-place updates"},
	{name: "MachineDeploymentRemediation", why: "not yet tried; needs a template with health checks of its own", untried: true},
	{name: "KCPAndMachineDeploymentRollout", why: "not yet tried; nothing is known to stand in its way", untried: true},
	{name: "ClusterUpgradeConformance", why: "not yet tried; its conformance part needs nodes that run Pods", untried: true},
	{name: "ClusterUpgradeWithRuntimeSDK", why: "needs the RuntimeSDK gate and an extension that runs as a Pod"},
	{name: "ClusterClassRollout", why: "not yet tried; nothing is known to stand in its way", untried: true},
	{name: "ClusterctlUpgrade", why: "needs an earlier release of the provider, which there is none of"},
	{name: "KCPAdoption", why: "not yet tried; needs a template without a control-plane provider", untried: true},
	{name: "KCPInfraAdoption", why: "not yet tried", untried: true},
	{name: "KubeadmJoinOldNodes", why: "not yet tried", untried: true},
	{name: "Scale", why: "not yet tried; make bench has many workers in one cluster", untried: true},
}

func artifacts(s *suite.Site, name string) string { return filepath.Join(s.Dir, "artifacts", name) }

// config is what upstream's suites read from a file. Simulated guests boot in
// no time: what has not come after some minutes does not come.
func config(s *suite.Site) *clusterctl.E2EConfig {
	intervals := map[string][]string{
		"default/wait-resource-versions-become-stable": {"2m", "15s"},
		"default/wait-resource-versions-remain-stable": {"2m", "5s"},
	}
	for _, wait := range []string{
		"wait-cluster", "wait-control-plane", "wait-worker-nodes", "wait-machine-pool-nodes",
		"wait-delete-cluster", "wait-machine-upgrade",
	} {
		intervals["default/"+wait] = []string{"5m", "500ms"}
	}
	variables := map[string]string{upstream.KubernetesVersion: s.KubernetesVersion}
	return &clusterctl.E2EConfig{ManagementClusterName: s.Proxy.GetName(), Variables: variables, Intervals: intervals}
}

func quickStart(s *suite.Site, flavor string) upstream.QuickStartSpecInput {
	classy := flavor == topology
	return upstream.QuickStartSpecInput{
		E2EConfig:              config(s),
		ClusterctlConfigPath:   s.Clusterctl,
		BootstrapClusterProxy:  s.Proxy,
		ArtifactFolder:         artifacts(s, "quick-start"+flavor),
		InfrastructureProvider: &s.Provider,
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

// deletionPhases are the order in which a cluster is to go: workers, control
// plane, infrastructure.
func deletionPhases() []upstream.ClusterDeletionPhase {
	ownedBy := func(owners []metav1.OwnerReference, kinds ...string) bool {
		return slices.ContainsFunc(owners, func(o metav1.OwnerReference) bool { return slices.Contains(kinds, o.Kind) })
	}
	is := func(kind string) func(corev1.ObjectReference, []metav1.OwnerReference) bool {
		return func(o corev1.ObjectReference, _ []metav1.OwnerReference) bool { return o.Kind == kind }
	}
	return []upstream.ClusterDeletionPhase{
		{
			ObjectFilter: func(o corev1.ObjectReference, owners []metav1.OwnerReference) bool {
				return o.Kind == "MachineDeployment" || o.Kind == "MachineSet" ||
					o.Kind == "Machine" && ownedBy(owners, "MachineDeployment", "MachineSet")
			},
			BlockingObjectFilter: is("Machine"),
		},
		{
			ObjectFilter: func(o corev1.ObjectReference, owners []metav1.OwnerReference) bool {
				return o.Kind == "KubeadmControlPlane" || o.Kind == "Machine" && ownedBy(owners, "KubeadmControlPlane")
			},
			BlockingObjectFilter: is("Machine"),
		},
		{ObjectFilter: is("ElementoCluster"), BlockingObjectFilter: is("ElementoCluster")},
	}
}
