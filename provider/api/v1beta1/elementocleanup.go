package v1beta1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// CleanupFinalizer keeps an ElementoCleanup until the host has shown that
	// nothing is left.
	CleanupFinalizer = "infrastructure.cluster.x-k8s.io/elementocleanup"
	// IdentityFinalizer keeps an identity Secret while an ElementoCleanup names it.
	IdentityFinalizer = "infrastructure.cluster.x-k8s.io/elementocleanup-identity"
)

// ElementoCleanupSpec names one thing that may still be on a host. It holds all
// that is needed to remove it, because its owner is gone.
//
// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="a cleanup cannot be changed: it names what was left behind"
// +kubebuilder:validation:XValidation:rule="(has(self.vmName) ? 1 : 0) + (has(self.networkName) ? 1 : 0) + (has(self.forwardPort) ? 1 : 0) == 1",message="name exactly one of vmName, networkName and forwardPort"
type ElementoCleanupSpec struct {
	// identityRef names the Secret with which the provider talks to the daemons.
	// The manager's default identity if empty. The Secret is kept while a cleanup
	// names it.
	// +optional
	IdentityRef IdentityReference `json:"identityRef,omitempty,omitzero"`

	// clientUID is the client UUID that owns what is left. Nothing is removed if
	// the identity acts for another one by now.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	ClientUID string `json:"clientUID,omitempty"`

	// domain of the host.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Domain string `json:"domain,omitempty"`

	// host is the opaque id of the host that could not be asked.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Host string `json:"host,omitempty"`

	// vmName is a VM that may be left, with its volumes and seed.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	VMName string `json:"vmName,omitempty"`

	// networkName is a managed network that may be left.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	NetworkName string `json:"networkName,omitempty"`

	// forwardPort is a port of the host whose forward may be left.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	ForwardPort int32 `json:"forwardPort,omitempty"`

	// owner says, for people, whose it was.
	// +required
	Owner CleanupOwner `json:"owner,omitempty,omitzero"`

	// message says, for people, why it was left behind.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message,omitempty"`
}

// CleanupOwner describes the object that had made what is left.
type CleanupOwner struct {
	// kind of the object.
	// +required
	// +kubebuilder:validation:Enum=ElementoMachine;ElementoCluster
	Kind string `json:"kind,omitempty"`

	// name of the object.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`

	// clusterName is the name of the Cluster.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	ClusterName string `json:"clusterName,omitempty"`
}

// ElementoCleanupStatus is how far a cleanup has come.
type ElementoCleanupStatus struct {
	// conditions: Ready is true once nothing is left, shortly before the object
	// goes.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=32
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// ElementoCleanup is work that a host owes: a VM, network or forward whose owner
// is gone and whose host could not be asked. It belongs to no one, is worked off
// when the host is back, and moves with clusterctl.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:storageversion
// +kubebuilder:resource:path=elementocleanups,scope=Namespaced,categories=cluster-api,shortName=ecl
// +kubebuilder:metadata:labels="clusterctl.cluster.x-k8s.io/move="
// +kubebuilder:printcolumn:name="Host",type="string",JSONPath=".spec.host",description="Host on which something may be left"
// +kubebuilder:printcolumn:name="VM",type="string",JSONPath=".spec.vmName",description="VM that may be left"
// +kubebuilder:printcolumn:name="Network",type="string",JSONPath=".spec.networkName",description="Network that may be left"
// +kubebuilder:printcolumn:name="Port",type="integer",JSONPath=".spec.forwardPort",description="Port whose forward may be left"
// +kubebuilder:printcolumn:name="Owner",type="string",JSONPath=".spec.owner.name",description="Whose it was"
// +kubebuilder:printcolumn:name="Reason",type="string",JSONPath=".status.conditions[?(@.type=='Ready')].reason",description="Why it is not done"
// +kubebuilder:printcolumn:name="Message",type="string",JSONPath=".spec.message",description="Why it was left behind",priority=1
// +kubebuilder:printcolumn:name="Age",type="date",JSONPath=".metadata.creationTimestamp",description="Time since creation"
type ElementoCleanup struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is what is to be removed.
	// +required
	Spec ElementoCleanupSpec `json:"spec,omitempty,omitzero"`
	// status is how far it has come.
	// +optional
	Status ElementoCleanupStatus `json:"status,omitempty,omitzero"`
}

// GetConditions returns the conditions of the cleanup.
func (c *ElementoCleanup) GetConditions() []metav1.Condition { return c.Status.Conditions }

// SetConditions replaces the conditions of the cleanup.
func (c *ElementoCleanup) SetConditions(conditions []metav1.Condition) {
	c.Status.Conditions = conditions
}

// ElementoCleanupList is a list of ElementoCleanup.
//
// +kubebuilder:object:root=true
type ElementoCleanupList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []ElementoCleanup `json:"items"`
}
