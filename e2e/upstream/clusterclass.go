package main

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	upstream "sigs.k8s.io/cluster-api/test/e2e"

	"elemento.cloud/cluster-api-provider-elemento/e2e/suite"
)

func clusterClassChanges(s *suite.Site) {
	upstream.ClusterClassChangesSpec(context.Background(), func() upstream.ClusterClassChangesSpecInput {
		return upstream.ClusterClassChangesSpecInput{
			E2EConfig:              config(s),
			ClusterctlConfigPath:   s.Clusterctl,
			BootstrapClusterProxy:  s.Proxy,
			ArtifactFolder:         s.Artifact("clusterclass-changes"),
			InfrastructureProvider: &s.Provider,
			PostNamespaceCreated:   podNetwork(s),
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
}

func clusterClassRollout(s *suite.Site) {
	upstream.ClusterClassRolloutSpec(context.Background(), func() upstream.ClusterClassRolloutSpecInput {
		return upstream.ClusterClassRolloutSpecInput{
			E2EConfig:              config(s),
			ClusterctlConfigPath:   s.Clusterctl,
			BootstrapClusterProxy:  s.Proxy,
			ArtifactFolder:         s.Artifact("clusterclass-rollout"),
			InfrastructureProvider: &s.Provider,
			PostNamespaceCreated:   podNetwork(s),
			Flavor:                 "topology-taints",
		}
	})
}

func clusterDeletion(s *suite.Site) {
	upstream.ClusterDeletionSpec(context.Background(), func() upstream.ClusterDeletionSpecInput {
		return upstream.ClusterDeletionSpecInput{
			E2EConfig:                config(s),
			ClusterctlConfigPath:     s.Clusterctl,
			BootstrapClusterProxy:    s.Proxy,
			ArtifactFolder:           s.Artifact("cluster-deletion"),
			InfrastructureProvider:   &s.Provider,
			PostNamespaceCreated:     podNetwork(s),
			Flavor:                   ptr.To(topology),
			ControlPlaneMachineCount: ptr.To[int64](3),
			ClusterDeletionPhases:    deletionPhases(),
		}
	})
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
