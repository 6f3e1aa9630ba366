// Package guest is the seam between a simulated hypervisor and what runs in
// its VMs. The hypervisor hands over what a real one would: an address, disks
// and power; a guest reads its seed like any machine and knows nothing of
// Cluster API.
package guest

import (
	"context"
	"net/netip"
)

// VM is a virtual machine at the moment of its boot.
type VM struct {
	// ID is unique over all hosts and stays for the VM's life.
	ID string
	// Name is the VM's name on its host.
	Name string
	// Address is the guest's address, from its network's DHCP range.
	Address netip.Addr
	// UserData and MetaData are the files of the seed volume; nil without one.
	UserData, MetaData []byte
	// KubernetesVersion is what the boot image holds, such as "v1.36.3"; empty
	// for an image without Kubernetes.
	KubernetesVersion string
	// Processors and MemoryMiB are the guest's size.
	Processors int
	MemoryMiB  int64
	// Reachable tells whether a connection from this source address can reach
	// the guest: behind NAT only its own host and that host's guests can.
	Reachable func(source netip.Addr) bool
}

// Guests runs the guests of all hosts of a simulated AtomOS. Its methods are
// safe for concurrent use; for one VM they are called one at a time.
type Guests interface {
	// Boot starts the guest; it returns at once or when the guest's early boot
	// is done, and what the guest does later (joining a cluster, say) goes on
	// until PowerOff. An error means that the guest could not come up: its VM
	// runs all the same, as a real one would.
	Boot(ctx context.Context, vm VM) error
	// PowerOff ends what Boot started and waits for its end. The disk stays: a
	// later Boot of the same ID continues from it.
	PowerOff(id string)
	// Remove forgets the disk of a VM that is powered off.
	Remove(id string)
	// Usage returns thousandths of a processor and MiB in use by a guest.
	Usage(id string) (cpuMillis, memoryMiB int64)
}
