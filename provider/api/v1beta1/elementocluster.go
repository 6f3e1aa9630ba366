package v1beta1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
)

// ClusterFinalizer keeps an ElementoCluster until its forward and its managed
// network are gone from the hosts.
const ClusterFinalizer = "infrastructure.cluster.x-k8s.io/elementocluster"

// NetworkDomainsAnnotation on an ElementoCluster lists, separated by commas, the domains
// in which its managed network may have been made, so that no other is asked when it is
// removed. The provider writes it, and adds to it before it acts there; where it is missing
// all are asked.
const NetworkDomainsAnnotation = "infrastructure.cluster.x-k8s.io/network-domains"

// ElementoClusterSpec is what a cluster needs of AtomOS besides its machines.
//
// +kubebuilder:validation:XValidation:rule="!has(self.endpointHost) || (has(self.controlPlaneEndpoint) && self.endpointMode == 'Forward')",message="endpointHost is written by the provider, together with controlPlaneEndpoint and for endpointMode Forward only; remove it"
// +kubebuilder:validation:XValidation:rule="self.endpointMode != 'VIP' || !has(self.network.managed) || self.network.managed.mode != 'NAT'",message="endpointMode VIP needs a bridged network: a NAT network's guests are reachable from their own host only; use network.managed.mode Bridged or endpointMode Forward"
// +kubebuilder:validation:XValidation:rule="self.endpointMode != 'VIP' || !has(self.controlPlaneEndpoint) || !isIP(self.controlPlaneEndpoint.host) || !has(self.network.managed) || !isCIDR(self.network.managed.cidr) || cidr(self.network.managed.cidr).containsIP(self.controlPlaneEndpoint.host)",fieldPath=".controlPlaneEndpoint.host",message="a virtual IP is held by guests of the managed network, so it must be an address of network.managed.cidr: use the last one before the broadcast address, which no guest gets"
// +kubebuilder:validation:XValidation:rule="!has(self.network.managed) || self.network.managed.mode != 'NAT' || !has(self.domains) || size(self.domains) < 2",message="a NAT network's guests are reachable from their own host only, so it cannot span domains; use network.managed.mode Bridged or one domain"
type ElementoClusterSpec struct {
	// identityRef names the Secret with which the provider talks to the Elemento
	// daemons for this cluster. Without one the manager's default identity is
	// used.
	// +optional
	IdentityRef IdentityReference `json:"identityRef,omitempty,omitzero"`

	// clientUID is the client UUID that owns what the cluster has on the hosts: that
	// of the identity when the cluster was first worked on. The provider writes it,
	// once, before anything is created. While the identity acts for another one
	// nothing is done for the cluster and its machines.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	ClientUID string `json:"clientUID,omitempty"`

	// domains are the AtomOS domains (sets of hosts that fail together) over
	// which the cluster may spread; each becomes a failure domain of the
	// cluster. All that the daemons know if empty.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=100
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	// +kubebuilder:validation:items:Pattern=`^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$`
	Domains []string `json:"domains,omitempty"`

	// network is what every machine of the cluster is attached to first; its
	// address there is the node's.
	// +required
	Network ClusterNetwork `json:"network,omitempty,omitzero"`

	// endpointMode tells how the control plane is reached. Forward by default.
	// +optional
	// +default="Forward"
	EndpointMode EndpointMode `json:"endpointMode,omitempty"`

	// controlPlaneEndpoint is where the API server is reached. With endpointMode
	// Forward the provider chooses it, once; one that is given, here or on the
	// Cluster, is refused by a condition. Otherwise it is given here or on the
	// Cluster.
	// +optional
	ControlPlaneEndpoint APIEndpoint `json:"controlPlaneEndpoint,omitempty,omitzero"`

	// endpointHost is the opaque id of the host on which the forward of
	// endpointMode Forward lives. The provider writes it together with
	// controlPlaneEndpoint, before anything is created.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	EndpointHost string `json:"endpointHost,omitempty"`
}

// IdentityReference names a Secret of the same namespace that holds the
// addresses of the daemons, a client certificate with its key, the daemons' CA
// and the client UUID to act for.
type IdentityReference struct {
	// name of the Secret: elemento-identity, or one that ends in
	// -elemento-identity. The manager's default identity if empty.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self == '' || self == 'elemento-identity' || self.endsWith('-elemento-identity')",message="must be elemento-identity or end in -elemento-identity: by that name the shipped admission policy keeps the Secret out of machines' bootstrap data"
	Name string `json:"name,omitempty"`
}

// ClusterNetwork is the network of a cluster's machines.
//
// +kubebuilder:validation:XValidation:rule="has(self.name) || has(self.managed)",message="give the name of a network that exists on the hosts, or managed for one that the provider makes"
type ClusterNetwork struct {
	// name of the network on the hosts. It must be given for a network that
	// exists. A managed network is named by the provider, once, if it has no name
	// here.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$`
	Name string `json:"name,omitempty"`

	// managed asks the provider to make the network on each host of the domains
	// and to remove it with the cluster. It then belongs to this cluster alone.
	// +optional
	Managed ManagedNetwork `json:"managed,omitempty,omitzero"`
}

// ManagedNetwork is a network that lives and dies with its cluster.
type ManagedNetwork struct {
	// cidr of the network, IPv4, such as 10.20.0.0/24: from /8 to /28.
	// +required
	// +kubebuilder:validation:MinLength=9
	// +kubebuilder:validation:MaxLength=18
	// +kubebuilder:validation:XValidation:rule="isCIDR(self) && cidr(self).ip().family() == 4 && cidr(self) == cidr(self).masked() && cidr(self).prefixLength() >= 8 && cidr(self).prefixLength() <= 28",message="must be an IPv4 network from /8 to /28 without host bits, such as 10.20.0.0/24"
	CIDR string `json:"cidr,omitempty"`

	// mode tells who can reach the network's machines. Bridged (default): one
	// segment over all hosts. NAT: their own host and its forwards only, so the
	// whole cluster must fit on one host.
	// +optional
	// +default="Bridged"
	Mode NetworkMode `json:"mode,omitempty"`
}

// NetworkMode tells who can reach the machines of a network.
// +kubebuilder:validation:Enum=Bridged;NAT
type NetworkMode string

const (
	// NetworkModeBridged is one segment over all hosts.
	NetworkModeBridged NetworkMode = "Bridged"
	// NetworkModeNAT is reachable from its own host and by its forwards only.
	NetworkModeNAT NetworkMode = "NAT"
)

// EndpointMode tells how a cluster's API server is reached.
// +kubebuilder:validation:Enum=Forward;VIP;External
type EndpointMode string

const (
	// EndpointModeForward is a port of one AtomOS host, which the provider points
	// at a control-plane VM and points at another when that one goes. Its host is
	// a single point of failure: meant for one host and for trials.
	EndpointModeForward EndpointMode = "Forward"
	// EndpointModeVIP is a virtual IP that the control-plane VMs hold among
	// themselves (kube-vip, keepalived). The address is given; the provider makes
	// nothing.
	EndpointModeVIP EndpointMode = "VIP"
	// EndpointModeExternal is an address made by someone else: given here, on the
	// Cluster, or by the control-plane provider.
	EndpointModeExternal EndpointMode = "External"
)

// APIEndpoint is where an API server is reached.
type APIEndpoint struct {
	// host is an IP address or a DNS name.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	Host string `json:"host,omitempty"`

	// port is a TCP port.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port,omitempty"`
}

// IsZero tells whether no endpoint is known.
func (e APIEndpoint) IsZero() bool { return e.Host == "" && e.Port == 0 }

// ElementoClusterStatus is what was last observed of a cluster.
type ElementoClusterStatus struct {
	// conditions: Ready sums up IdentityAvailable, DomainsAvailable, NetworkReady
	// and EndpointReady; HostsAvailable, Deleting and Paused say what they say.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=32
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// initialization tells Cluster API when machines can be made.
	// +optional
	Initialization ElementoClusterInitializationStatus `json:"initialization,omitempty,omitzero"`

	// failureDomains are the domains over which Cluster API spreads machines.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=100
	FailureDomains []clusterv1.FailureDomain `json:"failureDomains,omitempty"`

	// endpointTarget is the name of the VM to which the forward of endpointMode
	// Forward points now.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	EndpointTarget string `json:"endpointTarget,omitempty"`
}

// ElementoClusterInitializationStatus is part of the Cluster API contract.
// +kubebuilder:validation:MinProperties=1
type ElementoClusterInitializationStatus struct {
	// provisioned is true once the network and the endpoint are settled. It never
	// becomes false again.
	// +optional
	Provisioned *bool `json:"provisioned,omitempty"`
}

// ElementoCluster is a Kubernetes cluster's share of an AtomOS site: the domains
// it may use, its network and the way to its API server.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:storageversion
// +kubebuilder:resource:path=elementoclusters,scope=Namespaced,categories=cluster-api,shortName=ec
// +kubebuilder:printcolumn:name="Cluster",type="string",JSONPath=".metadata.labels['cluster\\.x-k8s\\.io/cluster-name']",description="Cluster"
// +kubebuilder:printcolumn:name="Ready",type="string",JSONPath=".status.conditions[?(@.type=='Ready')].status",description="Everything that the provider does for the cluster is done"
// +kubebuilder:printcolumn:name="Reason",type="string",JSONPath=".status.conditions[?(@.type=='Ready')].reason",description="Why it is ready or not"
// +kubebuilder:printcolumn:name="Endpoint",type="string",JSONPath=".spec.controlPlaneEndpoint.host",description="Address of the API server"
// +kubebuilder:printcolumn:name="Port",type="integer",JSONPath=".spec.controlPlaneEndpoint.port",description="Port of the API server"
// +kubebuilder:printcolumn:name="Mode",type="string",JSONPath=".spec.endpointMode",description="How the API server is reached"
// +kubebuilder:printcolumn:name="Target",type="string",JSONPath=".status.endpointTarget",description="VM behind the forward",priority=1
// +kubebuilder:printcolumn:name="Network",type="string",JSONPath=".spec.network.name",description="Network of the machines",priority=1
// +kubebuilder:printcolumn:name="Domains",type="string",JSONPath=".spec.domains",description="Domains that the cluster may use",priority=1
// +kubebuilder:printcolumn:name="Message",type="string",JSONPath=".status.conditions[?(@.type=='Ready')].message",description="What is missing",priority=1
// +kubebuilder:printcolumn:name="Paused",type="string",JSONPath=".status.conditions[?(@.type=='Paused')].status",description="Reconciliation is paused",priority=1
// +kubebuilder:printcolumn:name="Age",type="date",JSONPath=".metadata.creationTimestamp",description="Time since creation"
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.spec.network.name) || (has(self.spec.network.name) && self.spec.network.name == oldSelf.spec.network.name) || (!has(oldSelf.spec.network.managed) && !(has(oldSelf.status) && has(oldSelf.status.initialization) && has(oldSelf.status.initialization.provisioned) && oldSelf.status.initialization.provisioned))",fieldPath=".spec.network.name",message="cannot be changed any more: machines are attached to the network"
// +kubebuilder:validation:XValidation:rule="!has(self.spec.network.managed) || !has(oldSelf.spec.network.managed) || self.spec.network.managed == oldSelf.spec.network.managed || !(has(oldSelf.status) && has(oldSelf.status.initialization) && has(oldSelf.status.initialization.provisioned) && oldSelf.status.initialization.provisioned)",fieldPath=".spec.network.managed",message="cannot be changed any more: machines have addresses in it"
type ElementoCluster struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is what is wanted.
	// +required
	// +kubebuilder:validation:XValidation:rule="!has(oldSelf.clientUID) || (has(self.clientUID) && self.clientUID == oldSelf.clientUID)",fieldPath=".clientUID",message="cannot be changed once it is set: it owns what is on the hosts"
	// +kubebuilder:validation:XValidation:rule="self.endpointMode == oldSelf.endpointMode",fieldPath=".endpointMode",message="cannot be changed: nodes and kubeconfigs point at the endpoint that there is"
	// +kubebuilder:validation:XValidation:rule="!has(oldSelf.controlPlaneEndpoint) || (has(self.controlPlaneEndpoint) && self.controlPlaneEndpoint == oldSelf.controlPlaneEndpoint)",fieldPath=".controlPlaneEndpoint",message="cannot be changed once it is set: nodes and kubeconfigs point at it"
	// +kubebuilder:validation:XValidation:rule="!has(oldSelf.endpointHost) || (has(self.endpointHost) && self.endpointHost == oldSelf.endpointHost)",fieldPath=".endpointHost",message="cannot be changed once it is set: the forward lives there"
	// +kubebuilder:validation:XValidation:rule="has(oldSelf.network.managed) == has(self.network.managed)",fieldPath=".network.managed",message="can be neither added nor removed later: make another cluster"
	Spec ElementoClusterSpec `json:"spec,omitempty,omitzero"`
	// status is what was last observed.
	// +optional
	Status ElementoClusterStatus `json:"status,omitempty,omitzero"`
}

// GetConditions returns the conditions of the cluster.
func (c *ElementoCluster) GetConditions() []metav1.Condition { return c.Status.Conditions }

// SetConditions replaces the conditions of the cluster.
func (c *ElementoCluster) SetConditions(conditions []metav1.Condition) {
	c.Status.Conditions = conditions
}

// ElementoClusterList is a list of ElementoCluster.
//
// +kubebuilder:object:root=true
type ElementoClusterList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []ElementoCluster `json:"items"`
}
