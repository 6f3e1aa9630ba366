// Package guest is the seam between a simulated hypervisor and what runs in
// its VMs. The hypervisor hands over what a real one would: an address, disks
// and power; a guest reads its seed like any machine and knows nothing of
// Cluster API.
package guest

import (
	"context"
	"errors"
	"net/netip"
)

// ErrNotStarted is wrapped by an error of Boot where nothing has begun to boot:
// nobody will ask for the VM's address or heed its power button.
var ErrNotStarted = errors.New("the guest is not started")

// VM is a virtual machine at the moment of its boot.
type VM struct {
	// ID is unique over all hosts and stays for the VM's life.
	ID string
	// Name is the VM's name on its host.
	Name string
	// Address is the guest's address, from its network's DHCP range; zero
	// without one.
	Address netip.Addr
	// MAC is the hardware address of the guest's interface; empty without one.
	MAC string
	// Bridged tells that the address is of a bridged network, not of one behind
	// NAT.
	Bridged bool
	// UserData, MetaData and NetworkConfig are the files of the seed volume; nil
	// where there is none.
	UserData, MetaData, NetworkConfig []byte
	// Image is the name of the boot image; empty without one.
	Image string
	// KubernetesVersion is what the boot image holds, such as "v1.36.3"; empty
	// for an image without Kubernetes.
	KubernetesVersion string
	// Processors and MemoryMiB are the guest's size.
	Processors int
	MemoryMiB  int64
	// Reachable tells whether a connection from this source address can reach
	// the guest: behind NAT only its own host and that host's guests can.
	Reachable func(source netip.Addr) bool
	// Ended is called when the guest has ended by itself: it switched itself
	// off, or died. Not after PowerOff has returned.
	Ended func()
}

// Guests runs the guests of all hosts of a simulated AtomOS. Its methods are
// safe for concurrent use; for one VM they are called one at a time.
type Guests interface {
	// Boot starts the guest; it returns at once or when the guest's early boot
	// is done, and what the guest does later (joining a cluster, say) goes on
	// until PowerOff. An error means that the guest could not come up: its VM
	// runs all the same, as a real one would.
	Boot(ctx context.Context, vm VM) error
	// Shutdown presses the power button and waits for the guest to end: true. One
	// that does not heed in the time that it has, or until ctx ends, runs on. A
	// PowerOff follows in any case where it ended.
	Shutdown(ctx context.Context, id string) bool
	// PowerOff cuts the power of what Boot started and waits for its end. The
	// disk stays: a later Boot of the same ID continues from it.
	PowerOff(id string)
	// Remove forgets the disk of a VM that is powered off.
	Remove(id string)
	// Usage returns thousandths of a processor and MiB in use by a guest.
	Usage(id string) (cpuMillis, memoryMiB int64)
}

// Wired are Guests whose network can be cut while they run. Calls for one VM
// come one at a time with those of Guests.
type Wired interface {
	// Cut cuts the network of a guest: nobody reaches it, and it reaches nobody,
	// until Mend or Remove. One that has not booted yet has none when it does. After
	// an error the guest's network is as it was.
	Cut(id string) error
	// Mend gives a guest its network back.
	Mend(id string) error
}

// Lasting are Guests whose guests or disks outlive this process.
type Lasting interface {
	// Keep is called once, before the first Boot, with the IDs of all VMs that
	// there are: guests of before have no power afterwards, and those of other
	// VMs are removed.
	Keep(ctx context.Context, ids []string) error
}
