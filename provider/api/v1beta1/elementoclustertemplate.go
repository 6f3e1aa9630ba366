package v1beta1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
)

// ElementoClusterTemplateSpec is the spec of a template.
type ElementoClusterTemplateSpec struct {
	// template is what each ElementoCluster starts from. It cannot be changed.
	// +required
	Template ElementoClusterTemplateResource `json:"template,omitempty,omitzero"`
}

// ElementoClusterTemplateResource is what an ElementoCluster is made of.
type ElementoClusterTemplateResource struct {
	// metadata is copied to the ElementoCluster.
	// +optional
	ObjectMeta clusterv1.ObjectMeta `json:"metadata,omitempty,omitzero"`

	// spec is copied to the ElementoCluster.
	// +required
	// +kubebuilder:validation:XValidation:rule="!has(self.controlPlaneEndpoint) && !has(self.endpointHost) && !has(self.clientUID)",message="controlPlaneEndpoint, endpointHost and clientUID belong to one cluster; remove them from the template"
	// +kubebuilder:validation:XValidation:rule="!has(self.network.managed) || !has(self.network.name)",message="a managed network belongs to one cluster; remove its name from the template"
	Spec ElementoClusterSpec `json:"spec,omitempty,omitzero"`
}

// ElementoClusterTemplate is what the ElementoClusters of a ClusterClass are
// made from.
//
// +kubebuilder:object:root=true
// +kubebuilder:storageversion
// +kubebuilder:resource:path=elementoclustertemplates,scope=Namespaced,categories=cluster-api,shortName=ectpl
// +kubebuilder:printcolumn:name="Mode",type="string",JSONPath=".spec.template.spec.endpointMode",description="How the API server is reached"
// +kubebuilder:printcolumn:name="Network",type="string",JSONPath=".spec.template.spec.network.name",description="Network of the machines"
// +kubebuilder:printcolumn:name="CIDR",type="string",JSONPath=".spec.template.spec.network.managed.cidr",description="Managed network"
// +kubebuilder:printcolumn:name="Age",type="date",JSONPath=".metadata.creationTimestamp",description="Time since creation"
type ElementoClusterTemplate struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is what clusters are made from.
	// +required
	Spec ElementoClusterTemplateSpec `json:"spec,omitempty,omitzero"`
}

// ElementoClusterTemplateList is a list of ElementoClusterTemplate.
//
// +kubebuilder:object:root=true
type ElementoClusterTemplateList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []ElementoClusterTemplate `json:"items"`
}
