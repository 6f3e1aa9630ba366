package v1beta1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
)

// MachineFinalizer keeps an ElementoMachine until its VM, volumes and seed are
// proven gone.
const MachineFinalizer = "infrastructure.cluster.x-k8s.io/elementomachine"

// ReconcileRequestedAnnotation on a Machine or its ElementoMachine asks for a
// reconcile now, in which the host itself is asked and nothing that was known
// before counts. Any value does that it did not have before, of at most 256
// characters; a time is usual. Where both have it, the greater one counts. It is
// done when status.reconcileRequested has the value.
const ReconcileRequestedAnnotation = "infrastructure.cluster.x-k8s.io/reconcile-requested-at"

// NodeJoinedAnnotation on an ElementoMachine tells that the VM's node has joined its
// cluster, so that its bootstrap data is spent. The provider writes it, with an empty
// value, on what came from another management cluster or out of a backup: there no
// status tells.
const NodeJoinedAnnotation = "infrastructure.cluster.x-k8s.io/node-joined"

// ElementoMachineSpec is a virtual machine on an AtomOS host.
//
// What may not change is said on the kind, not here: in a template the topology
// controller asks, by a dry run, what a change would do.
type ElementoMachineSpec struct {
	// vmName is the name of the VM on AtomOS and the stem of its volumes' names.
	// The provider writes it, once, when it takes charge of the machine.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	VMName string `json:"vmName,omitempty"`

	// providerID is elemento://<domain>/<vmName>, as on the Node. The provider
	// writes it together with vmName.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:Pattern=`^elemento://[^/]+/[^/]+$`
	ProviderID string `json:"providerID,omitempty"`

	// domain is the AtomOS domain of the machine. The Machine's failureDomain
	// goes first; if neither is given the provider chooses one of the cluster's
	// and writes it here.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$`
	Domain string `json:"domain,omitempty"`

	// host is the opaque id of the host on which the VM is, or is to be. The
	// provider writes it before anything is created there, and writes another
	// only when the VM is proven absent from this one, or was never seen there and
	// the host is silent for the manager's --fencing-grace; an ElementoCleanup then
	// removes what may be there.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Host string `json:"host,omitempty"`

	// slots is the number of virtual processors, 1 to 256.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=256
	Slots int32 `json:"slots,omitempty"`

	// fullPhysical gives each slot a whole core instead of a hardware thread.
	// False by default.
	// +optional
	FullPhysical bool `json:"fullPhysical,omitempty"`

	// overprovision is how many slots, of this VM and others, may share a
	// hardware thread, 1 to 10. 1 (nothing is shared) by default.
	// +optional
	// +default=1
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10
	Overprovision int32 `json:"overprovision,omitempty"`

	// memoryMiB is the memory in MiB, 128 to 1073741824 (a PiB).
	// +required
	// +kubebuilder:validation:Minimum=128
	// +kubebuilder:validation:Maximum=1073741824
	MemoryMiB int64 `json:"memoryMiB,omitempty"`

	// requireECC asks for a host with error-correcting memory. False by default.
	// +optional
	RequireECC bool `json:"requireECC,omitempty"`

	// architecture of the processor. X86_64 by default.
	// +optional
	// +default="X86_64"
	Architecture Architecture `json:"architecture,omitempty"`

	// cpuFlags are features that the host's processor must have, such as avx2.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=32
	// +kubebuilder:validation:items:Pattern=`^[a-z0-9_.-]+$`
	CPUFlags []string `json:"cpuFlags,omitempty"`

	// pciDevices are handed through to the VM, such as GPUs.
	// +optional
	// +listType=map
	// +listMapKey=vendor
	// +listMapKey=model
	// +kubebuilder:validation:MaxItems=16
	PCIDevices []PCIDevice `json:"pciDevices,omitempty"`

	// image is the name of the boot image on AtomOS: letters, digits and ._+:~@-, the
	// first a letter or digit. It has a container runtime, kubelet and kubeadm of the
	// wanted Kubernetes version, and cloud-init.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9][A-Za-z0-9._+:~@-]*$`
	Image string `json:"image,omitempty"`

	// bootVolume is the disk made from the image. 20 GiB by default.
	// +optional
	// +default={"sizeGiB":20}
	BootVolume BootVolume `json:"bootVolume,omitempty,omitzero"`

	// dataVolumes are further disks, made empty and removed with the VM.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	DataVolumes []DataVolume `json:"dataVolumes,omitempty"`

	// networks are attached besides the cluster's, which comes first. They must
	// exist on the host.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=8
	Networks []MachineNetwork `json:"networks,omitempty"`

	// firmware that boots the VM. uefi by default.
	// +optional
	// +default="uefi"
	Firmware Firmware `json:"firmware,omitempty"`

	// tags are labels of the VM on AtomOS, for people.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	Tags []string `json:"tags,omitempty"`
}

// Architecture of a processor, in AtomOS' words.
// +kubebuilder:validation:Enum=X86_32;X86_64;ARM_7;ARM_8;PPC_64;S390X
type Architecture string

const (
	ArchitectureX8632 Architecture = "X86_32"
	ArchitectureX8664 Architecture = "X86_64"
	ArchitectureARM7  Architecture = "ARM_7"
	ArchitectureARM8  Architecture = "ARM_8"
	ArchitecturePPC64 Architecture = "PPC_64"
	ArchitectureS390X Architecture = "S390X"
)

// Firmware boots a VM.
// +kubebuilder:validation:Enum=bios;uefi
type Firmware string

const (
	FirmwareBIOS Firmware = "bios"
	FirmwareUEFI Firmware = "uefi"
)

// VolumeBus is how a VM sees a disk.
// +kubebuilder:validation:Enum=virtio;sata;ide;scsi
type VolumeBus string

// VolumeFormat is how a host stores a disk.
// +kubebuilder:validation:Enum=qcow2;raw
type VolumeFormat string

// PCIDevice asks for devices of one kind.
type PCIDevice struct {
	// vendor is the PCI vendor id: four digits of lower-case hex, such as 10de.
	// +required
	// +kubebuilder:validation:MaxLength=4
	// +kubebuilder:validation:XValidation:rule="self.matches('^[0-9a-f]{4}$')",message="must be four digits of lower-case hex, such as 10de"
	Vendor string `json:"vendor,omitempty"`

	// model is the PCI device id: four digits of lower-case hex, such as 2684.
	// +required
	// +kubebuilder:validation:MaxLength=4
	// +kubebuilder:validation:XValidation:rule="self.matches('^[0-9a-f]{4}$')",message="must be four digits of lower-case hex, such as 2684"
	Model string `json:"model,omitempty"`

	// quantity of devices, 1 to 16. 1 by default.
	// +optional
	// +default=1
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=16
	Quantity int32 `json:"quantity,omitempty"`
}

// BootVolume is the disk that a VM boots from.
type BootVolume struct {
	// sizeGiB in GiB, 1 to 65536; not smaller than the image. 20 by default.
	// +optional
	// +default=20
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65536
	SizeGiB int64 `json:"sizeGiB,omitempty"`

	// bus by which the VM sees the disk. virtio by default.
	// +optional
	// +default="virtio"
	Bus VolumeBus `json:"bus,omitempty"`

	// format in which the host stores the disk. qcow2 by default.
	// +optional
	// +default="qcow2"
	Format VolumeFormat `json:"format,omitempty"`
}

// DataVolume is a further disk of a VM.
type DataVolume struct {
	// name tells the data volumes of a machine apart. It does not end in -boot or
	// -seed, nor contain -data-.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	// +kubebuilder:validation:XValidation:rule="!self.endsWith('-boot') && !self.endsWith('-seed') && !self.contains('-data-')",message="must not end in -boot or -seed, nor contain -data-: on the host it could be read as a volume of another VM"
	Name string `json:"name,omitempty"`

	// sizeGiB in GiB, 1 to 65536.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65536
	SizeGiB int64 `json:"sizeGiB,omitempty"`

	// bus by which the VM sees the disk. virtio by default.
	// +optional
	// +default="virtio"
	Bus VolumeBus `json:"bus,omitempty"`

	// format in which the host stores the disk. qcow2 by default.
	// +optional
	// +default="qcow2"
	Format VolumeFormat `json:"format,omitempty"`
}

// MachineNetwork attaches a machine to a network.
type MachineNetwork struct {
	// name of a network that exists on the host.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$`
	Name string `json:"name,omitempty"`
}

// PowerState of a VM, as its host last reported it.
// +kubebuilder:validation:Enum=Running;Off;Paused;Unknown
type PowerState string

const (
	PowerStateRunning PowerState = "Running"
	PowerStateOff     PowerState = "Off"
	PowerStatePaused  PowerState = "Paused"
	// PowerStateUnknown is the state of a VM whose host cannot be asked.
	PowerStateUnknown PowerState = "Unknown"
)

// ElementoMachineStatus is what was last observed of a machine.
type ElementoMachineStatus struct {
	// conditions: Ready sums up IdentityAvailable, BootstrapDataAvailable,
	// HostAssigned, VMProvisioned, VMRunning and AddressAvailable; HostAvailable,
	// VMMatchesSpec, Deleting and Paused say what they say.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=32
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// initialization tells Cluster API when the VM runs.
	// +optional
	Initialization ElementoMachineInitializationStatus `json:"initialization,omitempty,omitzero"`

	// addresses of the VM.
	// +optional
	Addresses clusterv1.MachineAddresses `json:"addresses,omitempty"`

	// failureDomain is the domain in which the VM is.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	FailureDomain string `json:"failureDomain,omitempty"`

	// powerState of the VM.
	// +optional
	PowerState PowerState `json:"powerState,omitempty"`

	// vmUID is the host's own identifier of the VM, for people who look it up
	// there. It changes when the VM is made again.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	VMUID string `json:"vmUID,omitempty"`

	// reconcileRequested is the value of the annotation
	// infrastructure.cluster.x-k8s.io/reconcile-requested-at for which the host was
	// last asked.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	ReconcileRequested string `json:"reconcileRequested,omitempty"`
}

// ElementoMachineInitializationStatus is part of the Cluster API contract.
// +kubebuilder:validation:MinProperties=1
type ElementoMachineInitializationStatus struct {
	// provisioned is true once the VM has run. It never becomes false again.
	// +optional
	Provisioned *bool `json:"provisioned,omitempty"`
}

// ElementoMachine is a Machine's virtual machine on an AtomOS host.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:storageversion
// +kubebuilder:resource:path=elementomachines,scope=Namespaced,categories=cluster-api,shortName=em
// +kubebuilder:printcolumn:name="Cluster",type="string",JSONPath=".metadata.labels['cluster\\.x-k8s\\.io/cluster-name']",description="Cluster"
// +kubebuilder:printcolumn:name="Ready",type="string",JSONPath=".status.conditions[?(@.type=='Ready')].status",description="The VM is there and runs"
// +kubebuilder:printcolumn:name="Reason",type="string",JSONPath=".status.conditions[?(@.type=='Ready')].reason",description="Why it is ready or not"
// +kubebuilder:printcolumn:name="Power",type="string",JSONPath=".status.powerState",description="Power state of the VM"
// +kubebuilder:printcolumn:name="Address",type="string",JSONPath=".status.addresses[?(@.type=='InternalIP')].address",description="Address of the VM"
// +kubebuilder:printcolumn:name="Domain",type="string",JSONPath=".spec.domain",description="Domain of the VM"
// +kubebuilder:printcolumn:name="Host",type="string",JSONPath=".spec.host",description="Host of the VM"
// +kubebuilder:printcolumn:name="Machine",type="string",JSONPath=".metadata.ownerReferences[?(@.kind=='Machine')].name",description="Machine that owns the VM",priority=1
// +kubebuilder:printcolumn:name="Slots",type="integer",JSONPath=".spec.slots",description="Virtual processors",priority=1
// +kubebuilder:printcolumn:name="MiB",type="integer",JSONPath=".spec.memoryMiB",description="Memory in MiB",priority=1
// +kubebuilder:printcolumn:name="Image",type="string",JSONPath=".spec.image",description="Boot image",priority=1
// +kubebuilder:printcolumn:name="ProviderID",type="string",JSONPath=".spec.providerID",description="Provider ID",priority=1
// +kubebuilder:printcolumn:name="Message",type="string",JSONPath=".status.conditions[?(@.type=='Ready')].message",description="What is missing",priority=1
// +kubebuilder:printcolumn:name="Paused",type="string",JSONPath=".status.conditions[?(@.type=='Paused')].status",description="Reconciliation is paused",priority=1
// +kubebuilder:printcolumn:name="Age",type="date",JSONPath=".metadata.creationTimestamp",description="Time since creation"
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.status) || !has(oldSelf.status.vmUID) || (self.spec.slots == oldSelf.spec.slots && has(self.spec.fullPhysical) == has(oldSelf.spec.fullPhysical) && (!has(self.spec.fullPhysical) || self.spec.fullPhysical == oldSelf.spec.fullPhysical) && self.spec.overprovision == oldSelf.spec.overprovision && self.spec.memoryMiB == oldSelf.spec.memoryMiB && has(self.spec.requireECC) == has(oldSelf.spec.requireECC) && (!has(self.spec.requireECC) || self.spec.requireECC == oldSelf.spec.requireECC) && self.spec.architecture == oldSelf.spec.architecture && has(self.spec.cpuFlags) == has(oldSelf.spec.cpuFlags) && (!has(self.spec.cpuFlags) || self.spec.cpuFlags == oldSelf.spec.cpuFlags) && has(self.spec.pciDevices) == has(oldSelf.spec.pciDevices) && (!has(self.spec.pciDevices) || self.spec.pciDevices == oldSelf.spec.pciDevices) && self.spec.firmware == oldSelf.spec.firmware)",fieldPath=".spec",message="the VM exists, so its hardware (slots, fullPhysical, overprovision, memoryMiB, requireECC, architecture, cpuFlags, pciDevices, firmware) cannot change; change the machine template, and Cluster API replaces the Machine"
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.status) || !has(oldSelf.status.vmUID) || (self.spec.image == oldSelf.spec.image && self.spec.bootVolume == oldSelf.spec.bootVolume && has(self.spec.dataVolumes) == has(oldSelf.spec.dataVolumes) && (!has(self.spec.dataVolumes) || self.spec.dataVolumes == oldSelf.spec.dataVolumes) && has(self.spec.networks) == has(oldSelf.spec.networks) && (!has(self.spec.networks) || self.spec.networks == oldSelf.spec.networks) && has(self.spec.tags) == has(oldSelf.spec.tags) && (!has(self.spec.tags) || self.spec.tags == oldSelf.spec.tags))",fieldPath=".spec",message="the VM exists, so what it was made from (image, bootVolume, dataVolumes, networks, tags) cannot change; change the machine template, and Cluster API replaces the Machine"
type ElementoMachine struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is what is wanted.
	// +required
	// +kubebuilder:validation:XValidation:rule="!has(oldSelf.vmName) || (has(self.vmName) && self.vmName == oldSelf.vmName)",fieldPath=".vmName",message="cannot be changed once it is set: the VM is found by it"
	// +kubebuilder:validation:XValidation:rule="!has(oldSelf.providerID) || (has(self.providerID) && self.providerID == oldSelf.providerID)",fieldPath=".providerID",message="cannot be changed once it is set: the Node is found by it"
	// +kubebuilder:validation:XValidation:rule="!has(oldSelf.vmName) || !has(oldSelf.domain) || (has(self.domain) && self.domain == oldSelf.domain)",fieldPath=".domain",message="cannot be changed once it is set: it is part of the providerID"
	Spec ElementoMachineSpec `json:"spec,omitempty,omitzero"`
	// status is what was last observed.
	// +optional
	Status ElementoMachineStatus `json:"status,omitempty,omitzero"`
}

// GetConditions returns the conditions of the machine.
func (m *ElementoMachine) GetConditions() []metav1.Condition { return m.Status.Conditions }

// SetConditions replaces the conditions of the machine.
func (m *ElementoMachine) SetConditions(conditions []metav1.Condition) {
	m.Status.Conditions = conditions
}

// ElementoMachineList is a list of ElementoMachine.
//
// +kubebuilder:object:root=true
type ElementoMachineList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []ElementoMachine `json:"items"`
}
