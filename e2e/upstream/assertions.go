package main

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/cluster-api/test/framework"

	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
)

type (
	object = types.NamespacedName
	owners = []metav1.OwnerReference
)

// ownerReferences says who owns our objects. A topology's controller owns what
// it makes; without one Cluster API only refers to the cluster.
func ownerReferences(classy bool) map[string]func(object, owners) error {
	cluster := metav1.OwnerReference{Kind: "Cluster", APIVersion: clusterv1.GroupVersion.String()}
	class := metav1.OwnerReference{Kind: "ClusterClass", APIVersion: clusterv1.GroupVersion.String()}
	machine := metav1.OwnerReference{Kind: "Machine", APIVersion: clusterv1.GroupVersion.String(), Controller: ptr.To(true)}
	infrastructure := cluster
	if classy {
		infrastructure.Controller = ptr.To(true)
	}
	return map[string]func(object, owners) error{
		"ElementoCluster": func(_ object, o owners) error { return framework.HasExactOwners(o, infrastructure) },
		"ElementoMachine": func(_ object, o owners) error { return framework.HasExactOwners(o, machine) },
		"ElementoMachineTemplate": func(_ object, o owners) error {
			return framework.HasOneOfExactOwners(o, owners{cluster}, owners{class})
		},
		"ElementoClusterTemplate": func(_ object, o owners) error { return framework.HasExactOwners(o, class) },
		// A cleanup outlives its cluster.
		"ElementoCleanup": func(_ object, o owners) error { return framework.HasExactOwners(o) },
	}
}

// finalizers says what keeps our objects until their part of AtomOS is gone.
var finalizers = map[string]func(object) []string{
	"ElementoCluster": func(object) []string { return []string{infrav1.ClusterFinalizer} },
	"ElementoMachine": func(object) []string { return []string{infrav1.MachineFinalizer} },
}
