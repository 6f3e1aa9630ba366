package c4

// Network is a network as hosts report it, and (without the identifiers) as
// CreateNetwork takes it.
type Network struct {
	NetworkUID string    `json:"network_uid,omitempty"`
	CreatorUID string    `json:"creator_uid,omitempty"`
	DeviceName string    `json:"device_name,omitempty"`
	Name       string    `json:"network_name"`
	Type       string    `json:"type"` // "libvirt"
	Mode       *string   `json:"mode"` // "nat", or null for a bridged network
	Private    bool      `json:"private"`
	IP         NetworkIP `json:"ip"`
	Routes     []string  `json:"routes"`
}

// NAT is the Mode of a network whose guests are reachable from their own host
// and its forwards only.
const NAT = "nat"

// NetworkIP is a network's gateway address in CIDR form and its DHCP range.
type NetworkIP struct {
	Address string      `json:"address"`
	DHCP    NetworkDHCP `json:"dhcp"`
}

// NetworkDHCP is a DHCP range, with leases fixed by MAC address.
type NetworkDHCP struct {
	Start string        `json:"start"`
	End   string        `json:"end"`
	Hosts []NetworkHost `json:"hosts"`
}

// NetworkHost is a lease.
type NetworkHost struct {
	MAC     string `json:"mac"`
	Name    string `json:"name"`
	Address string `json:"address"`
}

// NetworkUIDRef addresses a network; CreatorUID is [A].
type NetworkUIDRef struct {
	NetworkUID string `json:"network_uid"`
}

// Forward is a port of a host that leads to a port of a guest.
type Forward struct {
	ForwardUID  string `json:"forward_uid,omitempty"`
	CreatorUID  string `json:"creator_uid,omitempty"` // [A]: networks have one
	Protocol    string `json:"protocol"`              // "tcp"
	Port        int    `json:"port"`
	Target      string `json:"target"` // guest address
	TargetVMUID string `json:"target_vm_uid"`
	TargetPort  int    `json:"target_port"`
	// Force replaces a forward that already holds the port.
	Force bool `json:"force,omitempty"`
}

// ForwardRef addresses a forward.
type ForwardRef struct {
	ForwardUID string `json:"forward_uid"`
}
