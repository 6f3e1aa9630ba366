package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"elemento.cloud/cluster-api-provider-elemento/c4"
	"elemento.cloud/cluster-api-provider-elemento/e2e/poll"
	"elemento.cloud/cluster-api-provider-elemento/e2e/world"
)

// direct makes VMs by C4, in the steps that a daemon takes, without its caution.
type direct struct {
	clientUID, image string
	hosts            []directHost

	mu   sync.Mutex
	next int
	on   map[string]directHost
}

// directHost is a host, and the network on it that VMs go to.
type directHost struct {
	*c4.Client
	network string
}

// newDirect connects to the hosts that the daemons know.
func (b *bench) newDirect(ctx context.Context, network string) (*direct, error) {
	var hosts []c4.Config
	for _, h := range b.knownHosts() {
		config, err := h.C4()
		if err != nil {
			return nil, err
		}
		hosts = append(hosts, config)
	}
	return connect(ctx, hosts, b.site.World.ClientUID(), world.ImageName(b.site.KubernetesVersion), network)
}

// connect connects to hosts on all of which the client has the network.
func connect(ctx context.Context, hosts []c4.Config, clientUID, image, network string) (*direct, error) {
	d := &direct{clientUID: clientUID, image: image, on: map[string]directHost{}}
	for _, config := range hosts {
		client, err := c4.New(config)
		if err != nil {
			return nil, fmt.Errorf("host %s: %w", config.URL, err)
		}
		networks, err := client.Networks(ctx)
		if err != nil {
			return nil, fmt.Errorf("host %s: %w", config.URL, err)
		}
		i := slices.IndexFunc(networks, func(n c4.Network) bool { return n.Name == network && n.CreatorUID == clientUID })
		if i < 0 {
			return nil, fmt.Errorf("host %s has no network %s of %s", config.URL, network, clientUID)
		}
		d.hosts = append(d.hosts, directHost{client, networks[i].NetworkUID})
	}
	return d, nil
}

func (d *direct) close() {
	for _, h := range d.hosts {
		h.Close()
	}
}

func (d *direct) place(name string) directHost {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.next++
	d.on[name] = d.hosts[d.next%len(d.hosts)]
	return d.on[name]
}

func (d *direct) make(ctx context.Context, name string) error {
	h := d.place(name)
	pledge := c4.Pledge{
		CPU:  c4.CPUPledge{Slots: vmSlots, MaxOverprovision: vmShared, MinFrequency: "0.5", Arch: []string{"X86_64"}, Flags: []string{}},
		Mem:  c4.MemPledge{Capacity: vmMemoryMiB},
		PCI:  c4.PCIPledge{Devices: map[string]int{}},
		Misc: c4.MiscPledge{OSFamily: "linux", Manufacturer: "Any", Firmware: "uefi"},
	}
	a, err := h.CanAllocate(ctx, pledge)
	if err != nil {
		return err
	}
	if !a.CanAllocate {
		return fmt.Errorf("host %s has no room", h.Host())
	}
	if err := d.absent(ctx, h, name); err != nil {
		return err
	}
	parts, parting := errgroup.WithContext(ctx)
	parts.Go(func() error {
		_, err := h.CreateImageVolume(parting, c4.ImageVolumeRequest{
			CreatorID: d.clientUID, Name: name + "-boot", Private: true, Bootable: true, Clonable: true, Alg: "cp",
			Format: "qcow2", Bus: "virtio", Size: vmDiskGiB, URL: "https://images.elemento.invalid/" + d.image + ".qcow2",
		})
		return err
	})
	parts.Go(func() error {
		id, err := h.OpenSeed(parting, c4.SeedRequest{
			CreatorID: d.clientUID, Name: name + "-seed", Private: true, Bootable: true, Alg: "no", ExpectedFiles: 2,
		}, []byte(userData))
		if err != nil {
			return err
		}
		return h.CompleteSeed(parting, id, fmt.Appendf(nil, "instance-id: %[1]s\nlocal-hostname: %[1]s\n", name))
	})
	parts.Go(func() error {
		_, err := h.Networks(parting)
		return err
	})
	if err := parts.Wait(); err != nil {
		return err
	}
	volumes, err := d.volumes(ctx, h, name)
	if err != nil {
		return err
	}
	if _, err := h.Register(ctx, c4.RegisterRequest{
		ClientUID: d.clientUID, Name: name, Pledge: pledge, Volumes: volumes, HasNetwork: true, Networks: []c4.NetworkRef{{NetworkUID: h.network}},
	}); err != nil {
		return err
	}
	return poll.Until(ctx, looking, func(ctx context.Context) (bool, error) {
		vm, err := d.find(ctx, h, name)
		return err != nil || vm != nil && vm.State == c4.Running, err
	})
}

func (d *direct) remove(ctx context.Context, name string) error {
	d.mu.Lock()
	h := d.on[name]
	delete(d.on, name)
	d.mu.Unlock()
	vm, err := d.find(ctx, h, name)
	if err != nil {
		return err
	}
	if vm == nil {
		return fmt.Errorf("there is no VM %s", name)
	}
	ref := c4.VMRef{ClientUID: d.clientUID, VMUID: vm.UID}
	if err := h.Stop(ctx, ref); err != nil {
		return err
	}
	if err := poll.Until(ctx, looking, func(ctx context.Context) (bool, error) {
		vm, err := d.find(ctx, h, name)
		return err != nil || vm != nil && vm.State == c4.ShutOff, err
	}); err != nil {
		return err
	}
	if _, err := h.Forwards(ctx); err != nil {
		return err
	}
	if err := h.Unregister(ctx, ref); err != nil {
		return err
	}
	volumes, err := d.volumes(ctx, h, name)
	if err != nil {
		return err
	}
	parts, parting := errgroup.WithContext(ctx)
	for _, v := range volumes {
		parts.Go(func() error { return h.DestroyVolume(parting, v.VolumeID) })
	}
	if err := parts.Wait(); err != nil {
		return err
	}
	// It is believed when it was seen twice.
	if err := d.absent(ctx, h, name); err != nil {
		return err
	}
	return d.absent(ctx, h, name)
}

// absent demands that a host has nothing of a VM.
func (d *direct) absent(ctx context.Context, h directHost, name string) error {
	vm, err := d.find(ctx, h, name)
	if err != nil {
		return err
	}
	volumes, err := d.volumes(ctx, h, name)
	if err != nil {
		return err
	}
	if vm != nil || len(volumes) > 0 {
		return fmt.Errorf("host %s has VM %s or volumes of it", h.Host(), name)
	}
	return nil
}

// find is the VM of that name; nil if there is none.
func (d *direct) find(ctx context.Context, h directHost, name string) (*c4.VM, error) {
	vms, _, _, err := h.VMs(ctx, d.clientUID, nil)
	for i := range vms {
		if vms[i].Name == name {
			return &vms[i], err
		}
	}
	return nil, err
}

// volumes are those of a VM, the boot volume first.
func (d *direct) volumes(ctx context.Context, h directHost, name string) ([]c4.Volume, error) {
	all, err := h.Volumes(ctx, d.clientUID)
	of := slices.DeleteFunc(all, func(v c4.Volume) bool { return v.Name != name+"-boot" && v.Name != name+"-seed" })
	slices.SortFunc(of, func(a, b c4.Volume) int { return strings.Compare(a.Name, b.Name) })
	return of, err
}
