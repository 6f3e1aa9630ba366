package c4

import (
	"encoding/json"
	"fmt"
	"math"
	"time"
)

// Pledge is what a VM asks of a host. Its JSON form is the wire's; the
// "py/object" keys that Elemento's own clients send are accepted and dropped.
type Pledge struct {
	CPU  CPUPledge  `json:"cpu"`
	Mem  MemPledge  `json:"mem"`
	PCI  PCIPledge  `json:"pci"`
	Misc MiscPledge `json:"misc"`
}

// CPUPledge asks for processors.
type CPUPledge struct {
	// Slots is the number of virtual processors, 1 to 256.
	Slots int `json:"slots"`
	// FullPhysical counts slots in whole cores instead of hardware threads.
	FullPhysical bool `json:"fullPhysical"`
	// MaxOverprovision is how many slots may share a hardware thread, 1 to 10.
	MaxOverprovision int `json:"maxOverprovision"`
	// MinFrequency in GHz, a decimal string from "0.5" to "5.0".
	MinFrequency string `json:"min_frequency"`
	// Arch lists acceptable architectures, such as "X86_64".
	Arch []string `json:"arch"`
	// Flags lists required CPU flags, such as "avx2".
	Flags []string `json:"flags"`
}

// MemPledge asks for memory.
type MemPledge struct {
	// Capacity in MB (C4 does not tell MB from MiB).
	Capacity   int64 `json:"capacity"`
	RequireECC bool  `json:"requireECC"`
}

// PCIPledge asks for devices: "vendor:model" to quantity, both lower-case hex.
type PCIPledge struct {
	Devices map[string]int `json:"devices"`
}

// MiscPledge carries what does not count against capacity.
type MiscPledge struct {
	OSFamily     string `json:"os_family"`
	OSFlavour    string `json:"os_flavour"`
	Manufacturer string `json:"manufacturer"`
	// Firmware is "bios" or "uefi". [A]: the wire shows it in replies only.
	Firmware string `json:"firmware,omitempty"`
	// Tags are free labels. [A]: the wire shows vm_tags in replies only.
	Tags []string `json:"vm_tags,omitempty"`
}

// Architectures are the values of CPUPledge.Arch that AtomOS knows.
var Architectures = []string{"X86_32", "X86_64", "ARM_7", "ARM_8", "PPC_64", "S390X"}

// Allocation is the reply to CanAllocate.
type Allocation struct {
	CanAllocate    bool  `json:"canallocate"`
	AvailableSlots int   `json:"available_slots"`
	AvailableRAM   int64 `json:"available_ram"` // MB
}

// RegisterRequest creates a VM.
type RegisterRequest struct {
	ClientUID  string       `json:"client_uid"`
	Name       string       `json:"vm_name"`
	Pledge     Pledge       `json:"req"`
	Volumes    []Volume     `json:"volumes"`
	HasNetwork bool         `json:"has_network"`
	Networks   []NetworkRef `json:"networks"`
}

// NetworkRef names a network of the host.
type NetworkRef struct {
	NetworkUID string `json:"network_uid"`
}

// RegisterReply is the reply to Register.
type RegisterReply struct {
	Registered bool            `json:"registered"`
	UniqueID   string          `json:"uniqueID"`
	ReqJSON    json.RawMessage `json:"req_json,omitempty"`
	XML        string          `json:"xml,omitempty"`
}

// UnregisterReply is the reply to Unregister.
type UnregisterReply struct {
	Unregistered bool   `json:"unregistered"`
	UniqueID     string `json:"uniqueID"`
}

// VMRef addresses a VM of a client.
type VMRef struct {
	ClientUID string `json:"client_uid"`
	VMUID     string `json:"vm_uid"`
}

// ClientRef addresses all that a client owns.
type ClientRef struct {
	ClientUID string `json:"client_uid"`
}

// RunningReply lists a client's VMs on a host, whatever their power state.
type RunningReply struct {
	VMs []RunningVM `json:"vms"`
}

// RunningVM is one entry of RunningReply.
type RunningVM struct {
	UniqueID  string   `json:"uniqueID"`
	ReqJSON   VMRecord `json:"req_json"`
	XML       string   `json:"xml,omitempty"`
	IsGateway bool     `json:"is_gateway"`
	External  bool     `json:"external"`
}

// PowerState is a VM's state as the hypervisor reports it.
type PowerState string

const (
	Running PowerState = "running"
	ShutOff PowerState = "shut off"
	Paused  PowerState = "paused"
)

// VMRecord is a VM as a host reports it (req_json).
type VMRecord struct {
	Name          string         `json:"vm_name"`
	Slots         int            `json:"slots"`
	Overprovision int            `json:"overprovision"`
	AllowSMT      bool           `json:"allowSMT"`
	Arch          []string       `json:"arch"`
	Flags         []string       `json:"flags"`
	RAMSize       float64        `json:"ramsize"` // GB, where requests have MB
	ReqECC        bool           `json:"reqECC"`
	OSFamily      string         `json:"os_family"`
	OSFlavour     string         `json:"os_flavour"`
	Firmware      string         `json:"firmware"`
	QEMUAgent     bool           `json:"qemu_agent"`
	Autostart     bool           `json:"autostart"`
	CreationDate  Date           `json:"creation_date"`
	States        PowerState     `json:"states"`
	Volumes       []Volume       `json:"volumes"`
	PCIDevs       []string       `json:"pcidevs"`
	NetDevs       []string       `json:"netdevs"`
	Networks      []NetworkRef   `json:"networks"`
	NetworkConfig *NetworkConfig `json:"network_config"`
	Tags          []string       `json:"vm_tags"`
}

// NetworkConfig is a VM's interface as the host sees it.
type NetworkConfig struct {
	Name      string  `json:"name"`
	Interface string  `json:"interface"`
	Type      string  `json:"type"`
	Source    string  `json:"source"`
	Model     string  `json:"model"`
	MAC       string  `json:"mac"`
	IPv4      *string `json:"ipv4"` // null until the guest has an address
}

// VM is a VM as callers of this package see it, whatever the dialect.
type VM struct {
	// UID is C4's uniqueID: looked up, never an identity of ours.
	UID              string
	Name             string
	State            PowerState
	Slots            int
	MaxOverprovision int
	FullPhysical     bool
	MemoryMiB        int64
	// Created is zero when the host gave no date that can be read.
	Created  time.Time
	Volumes  []Volume
	Networks []NetworkRef
	Tags     []string
	// Address is the guest's IPv4 address, empty while it is not known.
	Address string
	MAC     string

	// written stands for what the host wrote of it; 0 for nothing.
	written uint64
}

// Same tells whether a VMs call of the same Client has found the very same written of
// both. Of others it says nothing, and they may be equal all the same.
func (vm VM) Same(as VM) bool { return vm.written != 0 && vm.written == as.written }

func (r RunningVM) vm() VM {
	rec := r.ReqJSON
	vm := VM{
		UID: r.UniqueID, Name: rec.Name, State: rec.States,
		Slots: rec.Slots, MaxOverprovision: rec.Overprovision, FullPhysical: !rec.AllowSMT,
		MemoryMiB: mebibytes(rec.RAMSize),
		Created:   rec.CreationDate.Time,
		Volumes:   rec.Volumes, Networks: rec.Networks, Tags: rec.Tags,
	}
	if nc := rec.NetworkConfig; nc != nil {
		vm.MAC = nc.MAC
		if nc.IPv4 != nil {
			vm.Address = *nc.IPv4
		}
	}
	return vm
}

// mebibytes converts a size in GB; one that makes no sense becomes zero.
func mebibytes(gb float64) int64 {
	if !(gb > 0 && gb < 1<<40) {
		return 0
	}
	return int64(math.Round(gb * 1024))
}

// Date is creation_date, of which two formats are in the wild. A date that
// cannot be read becomes zero: it is never worth losing a VM's record.
type Date struct{ time.Time }

var dateLayouts = []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999", "01/02/2006, 15:04:05"}

// UnmarshalJSON reads either format.
func (d *Date) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("creation_date: %w", err)
	}
	for _, layout := range dateLayouts {
		if t, err := time.Parse(layout, s); err == nil {
			d.Time = t
			return nil
		}
	}
	d.Time = time.Time{}
	return nil
}

// MarshalJSON writes ISO 8601 in UTC.
func (d Date) MarshalJSON() ([]byte, error) {
	return json.Marshal(d.UTC().Format("2006-01-02T15:04:05.999999"))
}

// VMUsage is what a VM uses now. [A]: no such call is public.
type VMUsage struct {
	// CPUMillis is the use of processors in thousandths of one.
	CPUMillis int64 `json:"cpu_millis"`
	// MemoryMiB is the resident memory.
	MemoryMiB int64 `json:"memory_mib"`
	// DiskBytes is what the VM's volumes take on disk.
	DiskBytes int64 `json:"disk_bytes"`
}

// AttachRequest attaches to, or detaches from, a VM a volume or a network;
// exactly one of VolumeID and NetworkUID is set. [A]: no such call is public.
type AttachRequest struct {
	ClientUID  string `json:"client_uid"`
	VMUID      string `json:"vm_uid"`
	VolumeID   string `json:"volumeID,omitempty"`
	NetworkUID string `json:"network_uid,omitempty"`
}
