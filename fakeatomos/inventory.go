package fakeatomos

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/c4"
)

// Inventory is all that the fake holds, read host by host.
type Inventory struct {
	Hosts []HostInventory `json:"hosts"`
}

// HostInventory is what one host holds.
type HostInventory struct {
	Name        string            `json:"name"`
	Domain      string            `json:"domain,omitempty"`
	Address     string            `json:"address"`
	URL         string            `json:"url"`
	Fingerprint string            `json:"fingerprint,omitempty"`
	Up          bool              `json:"up"`
	Isolated    bool              `json:"isolated,omitempty"`
	Maintenance bool              `json:"maintenance"`
	VMs         []VMInventory     `json:"vms"`
	Volumes     []VolumeInventory `json:"volumes"`
	Networks    []c4.Network      `json:"networks"`
	Forwards    []c4.Forward      `json:"forwards"`
}

// VMInventory is a VM with the times that no API tells so exactly.
type VMInventory struct {
	UID   string        `json:"uid"`
	Name  string        `json:"name"`
	Owner string        `json:"owner"`
	State c4.PowerState `json:"state"`
	// Address is the guest's, as soon as its interface exists.
	Address  string   `json:"address,omitempty"`
	Volumes  []string `json:"volumes"`
	Networks []string `json:"networks"`
	Slots    int      `json:"slots"`
	Threads  []int    `json:"threads"`
	// RegisterArrived is when the register came in, Created when it took
	// effect.
	RegisterArrived time.Time `json:"registerArrived"`
	Created         time.Time `json:"created"`
	// RunningSince is zero unless the VM runs, BootedAt until its guest's early
	// boot is done and C4 shows its address.
	RunningSince time.Time `json:"runningSince,omitzero"`
	BootedAt     time.Time `json:"bootedAt,omitzero"`
}

// VolumeInventory is a volume; the content of seeds is never shown.
type VolumeInventory struct {
	ID    string `json:"id"`
	Name  string `json:"name"`
	Owner string `json:"owner"`
	Size  int64  `json:"size"` // bytes
	Image string `json:"image,omitempty"`
	// Seed is true for a cloud-init volume, Complete once it has all its files.
	Seed     bool      `json:"seed,omitempty"`
	Complete bool      `json:"complete,omitempty"`
	VMs      []string  `json:"vms,omitempty"` // UIDs of its holders
	Created  time.Time `json:"created"`
}

// Inventory returns all that the fake holds, in an order that does not change.
func (f *Fake) Inventory() Inventory {
	inv := Inventory{Hosts: []HostInventory{}}
	for _, h := range f.hosts {
		inv.Hosts = append(inv.Hosts, h.inventory())
	}
	return inv
}

func (h *Host) inventory() HostInventory {
	h.mu.Lock()
	defer h.mu.Unlock()
	inv := HostInventory{
		Name: h.opts.Name, Domain: h.opts.Domain, Address: h.opts.Address.String(), URL: h.URL(), Fingerprint: h.fingerprint,
		Up: h.up, Isolated: h.isolated, Maintenance: h.maintenance,
		VMs: []VMInventory{}, Volumes: []VolumeInventory{}, Networks: []c4.Network{}, Forwards: []c4.Forward{},
	}
	for _, v := range h.inOrder() {
		out := VMInventory{
			UID: v.UID, Name: v.Name, Owner: v.Owner, State: v.State, Volumes: append([]string{}, v.Volumes...), Networks: []string{},
			Slots: v.Pledge.CPU.Slots, Threads: v.Threads,
			RegisterArrived: v.Arrived, Created: v.Created, RunningSince: v.runningSince, BootedAt: v.bootedAt,
		}
		if a := v.address(); a.IsValid() {
			out.Address = a.String()
		}
		for _, n := range v.NICs {
			out.Networks = append(out.Networks, n.Network)
		}
		inv.VMs = append(inv.VMs, out)
	}
	for _, v := range h.volumesInOrder() {
		inv.Volumes = append(inv.Volumes, VolumeInventory{
			ID: v.ID, Name: v.Name, Owner: v.Owner, Size: v.Size, Image: v.Image,
			Seed: v.CloudInit, Complete: v.CloudInit && v.complete(), VMs: h.holders(v.ID), Created: v.Created,
		})
	}
	for _, n := range h.networksInOrder() {
		inv.Networks = append(inv.Networks, h.showNetwork(n))
	}
	for _, fw := range h.forwardsInOrder() {
		inv.Forwards = append(inv.Forwards, fw.Forward)
	}
	return inv
}

// Resources names every VM, volume, network and forward, sorted, so that two
// inventories can be compared for what exists.
func (i Inventory) Resources() []string {
	list := []string{}
	for _, h := range i.Hosts {
		for _, v := range h.VMs {
			list = append(list, fmt.Sprintf("%s vm %s (%s)", h.Name, v.Name, v.UID))
		}
		for _, v := range h.Volumes {
			kind := "volume"
			if v.Seed {
				kind = "seed"
			}
			list = append(list, fmt.Sprintf("%s %s %s (%s)", h.Name, kind, v.Name, v.ID))
		}
		for _, n := range h.Networks {
			list = append(list, fmt.Sprintf("%s network %s (%s)", h.Name, n.Name, n.NetworkUID))
		}
		for _, fw := range h.Forwards {
			list = append(list, fmt.Sprintf("%s forward %d (%s)", h.Name, fw.Port, fw.ForwardUID))
		}
	}
	slices.Sort(list)
	return list
}

// VM returns the VMs of that name on all hosts, the oldest first.
func (i Inventory) VM(name string) []VMInventory {
	var found []VMInventory
	for _, h := range i.Hosts {
		for _, v := range h.VMs {
			if v.Name == name {
				found = append(found, v)
			}
		}
	}
	slices.SortStableFunc(found, func(a, b VMInventory) int { return cmp.Compare(a.Created.UnixNano(), b.Created.UnixNano()) })
	return found
}
