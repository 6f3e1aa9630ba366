package c4

// HostInfo is what a host says of its hardware (GET /statusjson).
type HostInfo struct {
	CPU          HostCPU   `json:"cpu"`
	Mem          HostMem   `json:"mem"`
	PCI          []HostPCI `json:"pci"`
	Manufacturer string    `json:"manufacturer"`
	// Maintenance asks that nothing new be placed here. [A]: a host that does
	// not send it is not in maintenance.
	Maintenance bool `json:"maintenance,omitempty"`
}

// HostCPU describes processors and their use.
type HostCPU struct {
	Arch        string   `json:"arch"`
	Flags       []string `json:"flags"`
	Frequency   float64  `json:"frequency"` // GHz
	MaxCores    int      `json:"max_cores"`
	MaxThreads  int      `json:"max_threads"`
	NCores      int      `json:"ncores"`
	UsedCores   int      `json:"used_cores"`
	UsedThreads int      `json:"used_threads"`
	SMTOn       bool     `json:"SMTOn"`
	SMTRatio    int      `json:"SMTRatio"`
	VendorID    string   `json:"vendorID"`
}

// HostMem describes memory in MB.
type HostMem struct {
	Size  int64 `json:"size"`
	Avail int64 `json:"avail"`
	IsECC bool  `json:"isECC"`
}

// HostPCI is a kind of device: [vendor, model], how many there are and how
// many are free.
type HostPCI struct {
	PCIID [2]string `json:"pciid"`
	Max   int       `json:"max"`
	Avail int       `json:"avail"`
}

// HostMetrics is the part of GET /host/status that is used. It needs a bearer
// token.
type HostMetrics struct {
	TotalCores         int      `json:"total_cores_count"`
	AllocatedCores     int      `json:"allocated_cores_count"`
	TotalSlots         int      `json:"total_slots_count"`
	AllocatedSlots     int      `json:"allocated_slots_count"`
	CorePercentage     float64  `json:"core_allocation_percentage"`
	AllocatedRAMMiB    int64    `json:"total_allocated_ram_mib"`
	UsedRAMMiB         int64    `json:"total_used_ram_mib"`
	AllocatedStorageGB float64  `json:"total_allocated_storage_size_gb"`
	VMs                int      `json:"vm_count"`
	NICs               int      `json:"nic_count"`
	Storages           int      `json:"storage_count"`
	Clients            int      `json:"client_id_count"`
	Bridges            []string `json:"bridge_interfaces"`
}
