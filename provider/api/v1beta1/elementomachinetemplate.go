package v1beta1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
)

// ElementoMachineTemplateSpec is the spec of a template.
type ElementoMachineTemplateSpec struct {
	// template is what each ElementoMachine is made from. It cannot be changed:
	// make another template and name it in the control plane or the
	// MachineDeployment.
	// +required
	Template ElementoMachineTemplateResource `json:"template,omitempty,omitzero"`
}

// ElementoMachineTemplateResource is what an ElementoMachine is made of.
type ElementoMachineTemplateResource struct {
	// metadata is copied to the ElementoMachine.
	// +optional
	ObjectMeta clusterv1.ObjectMeta `json:"metadata,omitempty,omitzero"`

	// spec is copied to the ElementoMachine.
	// +required
	// +kubebuilder:validation:XValidation:rule="!has(self.vmName) && !has(self.providerID) && !has(self.host)",message="vmName, providerID and host are written by the provider for each machine; remove them from the template"
	Spec ElementoMachineSpec `json:"spec,omitempty,omitzero"`
}

// ElementoMachineTemplateStatus tells the cluster autoscaler what a node of this
// template will have, so that it can scale from zero.
type ElementoMachineTemplateStatus struct {
	// capacity of a node: cpu, memory, and one resource for each kind of PCI
	// device.
	// +optional
	Capacity corev1.ResourceList `json:"capacity,omitempty"`

	// nodeInfo of a node.
	// +optional
	NodeInfo NodeInfo `json:"nodeInfo,omitempty,omitzero"`
}

// NodeInfo describes a node, in Kubernetes' words.
// +kubebuilder:validation:MinProperties=1
type NodeInfo struct {
	// architecture of the node; unset where Kubernetes has no name for it.
	// +optional
	Architecture NodeArchitecture `json:"architecture,omitempty"`

	// operatingSystem of the node.
	// +optional
	// +kubebuilder:validation:Enum=linux
	OperatingSystem string `json:"operatingSystem,omitempty"`
}

// NodeArchitecture of a node, in Kubernetes' words.
// +kubebuilder:validation:Enum=amd64;arm64;s390x;ppc64le
type NodeArchitecture string

// ElementoMachineTemplate is what the machines of a control plane or a
// MachineDeployment are made from.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:storageversion
// +kubebuilder:resource:path=elementomachinetemplates,scope=Namespaced,categories=cluster-api,shortName=emtpl
// +kubebuilder:printcolumn:name="Slots",type="integer",JSONPath=".spec.template.spec.slots",description="Virtual processors"
// +kubebuilder:printcolumn:name="MiB",type="integer",JSONPath=".spec.template.spec.memoryMiB",description="Memory in MiB"
// +kubebuilder:printcolumn:name="Image",type="string",JSONPath=".spec.template.spec.image",description="Boot image"
// +kubebuilder:printcolumn:name="Architecture",type="string",JSONPath=".spec.template.spec.architecture",description="Architecture",priority=1
// +kubebuilder:printcolumn:name="Overprovision",type="integer",JSONPath=".spec.template.spec.overprovision",description="Slots that may share a hardware thread",priority=1
// +kubebuilder:printcolumn:name="Domain",type="string",JSONPath=".spec.template.spec.domain",description="Domain",priority=1
// +kubebuilder:printcolumn:name="Age",type="date",JSONPath=".metadata.creationTimestamp",description="Time since creation"
type ElementoMachineTemplate struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is what machines are made from.
	// +required
	Spec ElementoMachineTemplateSpec `json:"spec,omitempty,omitzero"`
	// status is for the cluster autoscaler.
	// +optional
	Status ElementoMachineTemplateStatus `json:"status,omitempty,omitzero"`
}

// ElementoMachineTemplateList is a list of ElementoMachineTemplate.
//
// +kubebuilder:object:root=true
type ElementoMachineTemplateList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []ElementoMachineTemplate `json:"items"`
}
