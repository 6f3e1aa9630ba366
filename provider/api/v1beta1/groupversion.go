package v1beta1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion names this API.
var GroupVersion = schema.GroupVersion{Group: "infrastructure.cluster.x-k8s.io", Version: "v1beta1"}

// AddToScheme registers the kinds of this API with a scheme.
func AddToScheme(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(GroupVersion,
		&ElementoCluster{}, &ElementoClusterList{},
		&ElementoClusterTemplate{}, &ElementoClusterTemplateList{},
		&ElementoMachine{}, &ElementoMachineList{},
		&ElementoMachineTemplate{}, &ElementoMachineTemplateList{},
		&ElementoCleanup{}, &ElementoCleanupList{},
	)
	metav1.AddToGroupVersion(scheme, GroupVersion)
	return nil
}
