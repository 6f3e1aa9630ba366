package v1beta1

import clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"

// Conditions. Each says one thing, in the affirmative but for Deleting and
// Paused. Waiting is False with a reason; a host that cannot be asked makes
// Unknown what only it could tell.
const (
	// ReadyCondition sums up the others, deletion included. Cluster API mirrors
	// it as InfrastructureReady.
	ReadyCondition = clusterv1.ReadyCondition

	// IdentityAvailableCondition (cluster, machine): the identity Secret is
	// complete and a daemon accepts it.
	IdentityAvailableCondition = "IdentityAvailable"

	// DomainsAvailableCondition (cluster): the daemons know every domain of the
	// cluster.
	DomainsAvailableCondition = "DomainsAvailable"
	// NetworkReadyCondition (cluster): the machines' network is on the hosts, and
	// fits the domains.
	NetworkReadyCondition = "NetworkReady"
	// EndpointReadyCondition (cluster): the endpoint is known, and its forward,
	// if it is one, points at a control-plane VM.
	EndpointReadyCondition = "EndpointReady"

	// BootstrapDataAvailableCondition (machine): what the VM starts with is there.
	BootstrapDataAvailableCondition = "BootstrapDataAvailable"
	// HostAssignedCondition (machine): the host is chosen and written down.
	HostAssignedCondition = "HostAssigned"
	// VMProvisionedCondition (machine): the VM exists on its host.
	VMProvisionedCondition = "VMProvisioned"
	// VMRunningCondition (machine): the VM is powered on.
	VMRunningCondition = "VMRunning"
	// AddressAvailableCondition (machine): the VM has an address.
	AddressAvailableCondition = "AddressAvailable"
	// VMMatchesSpecCondition (machine): nobody changed the VM by hand. Not part of
	// Ready: a changed VM is reported and left alone. A change of memory by less
	// than a GiB goes unnoticed: hosts round.
	VMMatchesSpecCondition = "VMMatchesSpec"

	// HostAvailableCondition (machine, cleanup): the host that is written down takes
	// VMs; of a cleanup, that it answers. Not part of a machine's Ready. False is a host
	// in maintenance, from which the machine is to be moved; Unknown is one that cannot
	// be asked, since the condition's lastTransitionTime, from which the graces of the
	// manager count.
	HostAvailableCondition = "HostAvailable"
	// HostsAvailableCondition (cluster): all hosts of the cluster's domains take VMs.
	// Not part of Ready. While the cluster is deleted it is about the hosts that hold
	// something of it, and Unknown since when one of them cannot be asked.
	HostsAvailableCondition = "HostsAvailable"

	// RemovedCondition (cleanup): the host has shown that nothing is left. The
	// object goes then.
	RemovedCondition = "Removed"

	// DeletingCondition: the object is being deleted; the message says what is
	// still there.
	DeletingCondition = clusterv1.DeletingCondition
	// PausedCondition: the provider leaves the object alone.
	PausedCondition = clusterv1.PausedCondition
)

// Reasons of a condition that is as it should be, and of the summary.
const (
	// ReadyReason and NotReadyReason are the summary's when it has none better.
	ReadyReason    = clusterv1.ReadyReason
	NotReadyReason = clusterv1.NotReadyReason

	// AvailableReason: IdentityAvailable, DomainsAvailable, HostAvailable,
	// HostsAvailable, BootstrapDataAvailable, AddressAvailable.
	AvailableReason = clusterv1.AvailableReason
	// ProvisionedReason: NetworkReady, EndpointReady, VMProvisioned.
	ProvisionedReason = clusterv1.ProvisionedReason
	// HostAssignedReason: HostAssigned.
	HostAssignedReason = "HostAssigned"
	// RunningReason: VMRunning.
	RunningReason = "Running"
	// MatchesSpecReason: VMMatchesSpec.
	MatchesSpecReason = "MatchesSpec"
)

// Reasons of the identity: it is read from a Secret of the object's namespace.
const (
	// IdentityNotFoundReason: there is no such Secret, and no default identity.
	IdentityNotFoundReason = "IdentityNotFound"
	// IdentityInvalidReason: the Secret lacks a key or holds nonsense; the message
	// names the key.
	IdentityInvalidReason = "IdentityInvalid"
	// DaemonUnreachableReason: no daemon of the identity answers.
	DaemonUnreachableReason = "DaemonUnreachable"
	// DaemonUntrustedReason: a certificate is refused, the daemon's by us or ours
	// by the daemon.
	DaemonUntrustedReason = "DaemonUntrusted"
)

// Reasons of waiting for someone else.
const (
	// WaitingForClusterInfrastructureReason (BootstrapDataAvailable): the
	// ElementoCluster is not provisioned.
	WaitingForClusterInfrastructureReason = "WaitingForClusterInfrastructure"
	// WaitingForBootstrapDataReason (BootstrapDataAvailable): the bootstrap
	// provider has not written the Secret.
	WaitingForBootstrapDataReason = "WaitingForBootstrapData"
	// WaitingForDaemonReason: no daemon may be asked yet; an earlier call may still be
	// under way at one that does not answer, or the identity has just changed.
	WaitingForDaemonReason = "WaitingForDaemon"
	// WaitingForIdentityReason: nothing can be asked or done before
	// IdentityAvailable is true.
	WaitingForIdentityReason = "WaitingForIdentity"
	// WaitingForHostReason (VMProvisioned): no host is assigned.
	WaitingForHostReason = "WaitingForHost"
	// WaitingForVMReason (VMRunning, AddressAvailable): there is no VM.
	WaitingForVMReason = "WaitingForVM"
	// WaitingForAddressReason (AddressAvailable): the VM runs and its guest has no
	// address yet.
	WaitingForAddressReason = "WaitingForAddress"
	// WaitingForControlPlaneEndpointReason (EndpointReady): endpointMode VIP or
	// External, and no endpoint is given.
	WaitingForControlPlaneEndpointReason = "WaitingForControlPlaneEndpoint"
	// WaitingForControlPlaneReason (EndpointReady): the endpoint is reserved; its
	// forward is made when the first control-plane VM exists.
	WaitingForControlPlaneReason = "WaitingForControlPlane"
	// WaitingForMachinesReason (Deleting): machines of the cluster are still there.
	WaitingForMachinesReason = "WaitingForMachines"
)

// Reasons of networks and endpoints.
const (
	// NATSpansHostsReason (NetworkReady): a NAT network over more than one host,
	// which cannot carry a cluster.
	NATSpansHostsReason = "NATSpansHosts"
	// HostsMissingReason (NetworkReady): hosts that do not answer lack the managed
	// network; it is made there when it is first needed.
	HostsMissingReason = "HostsMissing"
)

// Reasons of a VM.
const (
	// CreatingReason (VMProvisioned): the VM is being made.
	CreatingReason = "Creating"
	// VMLostReason (VMProvisioned): the host has shown that the VM is gone, and
	// its node had joined; its Machine is to be replaced.
	VMLostReason = "VMLost"
	// RecreatingReason (VMProvisioned): the VM was gone before its node joined and
	// is made again.
	RecreatingReason = "Recreating"
	// StartingReason (VMRunning): the VM was asked to power on.
	StartingReason = "Starting"
	// PoweredOffReason (VMRunning): the VM is off, or not up yet, and cannot be powered on.
	PoweredOffReason = "PoweredOff"
	// VMPausedReason (VMRunning): the VM is paused on its host.
	VMPausedReason = "VMPaused"
	// NotObservedReason (VMProvisioned, VMRunning): no host has been asked yet.
	NotObservedReason = "NotObserved"
	// DriftedReason (VMMatchesSpec): the message names what differs.
	DriftedReason = "Drifted"
)

// Reasons of deletion.
const (
	// NotDeletingReason (Deleting is false).
	NotDeletingReason = clusterv1.NotDeletingReason
	// StoppingReason (Deleting): the guest is shutting down.
	StoppingReason = "Stopping"
	// RemovingReason (Deleting): something is left; the message says what.
	RemovingReason = "Removing"
	// WaitingForHostDeletionReason (Deleting): the host cannot be asked, so nothing
	// is known. The object waits for it; after the manager's --unreachable-grace an
	// ElementoCleanup takes over what is left, and the object goes.
	WaitingForHostDeletionReason = "WaitingForUnreachableHost"
	// DeletionCompletedReason (Deleting): nothing is left.
	DeletionCompletedReason = clusterv1.DeletionCompletedReason
)

// Reasons of hosts.
const (
	// HostInMaintenanceReason (HostAvailable, HostsAvailable): the host answers and
	// wants nothing new. Its machines run on until somebody deletes them.
	HostInMaintenanceReason = "HostInMaintenance"
)

// Reasons of an ElementoCleanup's Ready, beside those of identities and daemons.
const (
	// ClientChangedReason: the identity acts for another client UUID than the one
	// that owns what is left. Nothing is removed.
	ClientChangedReason = "ClientChanged"
	// OwnerLivesReason: the object that what is left belongs to is still there, or
	// there again. Nothing is removed while it is.
	OwnerLivesReason = "OwnerLives"
)

// Reasons that come from a daemon: one for each reason of daemon/rpc, of the same
// name, so that the table between them is read off.
const (
	// InvalidRequestReason: the spec is refused; repeating is useless.
	InvalidRequestReason = "InvalidRequest"
	// ClientForbiddenReason: the identity may not act for its client UUID.
	ClientForbiddenReason = "ClientForbidden"
	// DomainUnknownReason: no daemon knows the domain.
	DomainUnknownReason = "DomainUnknown"
	// HostUnknownReason: the daemon does not know the host.
	HostUnknownReason = "HostUnknown"
	// HostUnreachableReason: the host does not answer; nothing is known of its VMs.
	HostUnreachableReason = "HostUnreachable"
	// HostUntrustedReason: the host has another certificate than the daemon
	// expects.
	HostUntrustedReason = "HostUntrusted"
	// NoCapacityReason: no host of the domain has room now.
	NoCapacityReason = "NoCapacity"
	// HardwareAbsentReason: no host of the domain has the hardware at all.
	HardwareAbsentReason = "HardwareAbsent"
	// LicenseRequiredReason: the host's edition allows no more VMs.
	LicenseRequiredReason = "LicenseRequired"
	// ImageNotFoundReason: there is no such image.
	ImageNotFoundReason = "ImageNotFound"
	// NetworkNotFoundReason: the host has no such network, and it is not managed.
	NetworkNotFoundReason = "NetworkNotFound"
	// VMNotFoundReason: the host has no such VM of this client.
	VMNotFoundReason = "VMNotFound"
	// InUseReason: a volume or port is held by something else.
	InUseReason = "InUse"
	// WrongStateReason: not possible in the VM's present state, which will change.
	WrongStateReason = "WrongState"
	// OutcomeUnknownReason: a call ended without an answer; it is looked up and
	// repeated.
	OutcomeUnknownReason = "OutcomeUnknown"
	// HostFailedReason: the host failed or answered nonsense.
	HostFailedReason = "HostFailed"
	// UnsupportedReason: the host cannot do this at all.
	UnsupportedReason = "Unsupported"
	// DrainingReason: the daemon is going away; another one serves.
	DrainingReason = "Draining"
	// InternalReason: an answer without a reason, which is a defect of the daemon.
	InternalReason = "InternalError"
)
