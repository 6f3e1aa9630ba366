package container

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"

	"elemento.cloud/cluster-api-provider-elemento/fakeatomos/guest"
)

const (
	// shutdownSignal has systemd shut down.
	shutdownSignal = "SIGRTMIN+3"
	// killSignal takes a guest its power.
	killSignal = "SIGKILL"
	// seedDirectory is where cloud-init looks for NoCloud's files.
	seedDirectory = "var/lib/cloud/seed/nocloud"
	// cpuPeriod is the kernel's default, in microseconds.
	cpuPeriod = 100_000
)

// prepare returns a VM's container, made the first time, with its present seed.
func (g *Guests) prepare(ctx context.Context, vm guest.VM) (string, error) {
	found, err := g.list(ctx, vm.ID)
	if err != nil {
		return "", err
	}
	var id string
	if len(found) > 0 {
		id = found[0].ID
		err = g.resize(ctx, id, vm)
	} else {
		id, err = g.create(ctx, vm)
	}
	if err != nil {
		return "", err
	}
	return id, g.seed(ctx, id, vm)
}

// size is what a container may use.
func size(vm guest.VM) container.Resources {
	return container.Resources{
		Memory: vm.MemoryMiB << 20, MemorySwap: vm.MemoryMiB << 20,
		CPUPeriod: cpuPeriod, CPUQuota: int64(vm.Processors) * cpuPeriod,
	}
}

// resize gives a container the size that its VM has now.
func (g *Guests) resize(ctx context.Context, containerID string, vm guest.VM) error {
	ctx, cancel := call(ctx, callTimeout)
	defer cancel()
	resources := size(vm)
	_, err := g.api.ContainerUpdate(ctx, containerID, client.ContainerUpdateOptions{Resources: &resources})
	return err
}

// create makes a container that is not started.
func (g *Guests) create(ctx context.Context, vm guest.VM) (string, error) {
	image := g.options.Images[vm.Image]
	if image == "" && vm.KubernetesVersion != "" {
		image = NodeImage(vm.KubernetesVersion)
	}
	if image == "" {
		return "", fmt.Errorf("boot image %q: %w", vm.Image, ErrNoImage)
	}
	networks, err := g.attachment(ctx, vm)
	if err != nil {
		return "", err
	}
	labels := map[string]string{InstanceLabel: g.options.Instance, VMLabel: vm.ID, NameLabel: vm.Name}
	noInit := false
	ctx, cancel := call(ctx, creationTimeout)
	defer cancel()
	options := client.ContainerCreateOptions{
		Config: &container.Config{
			Hostname: vm.Name[:min(len(vm.Name), 63)], Image: image, Labels: labels,
			Tty: true, StopSignal: shutdownSignal, // a console for systemd's messages: docker logs
		},
		HostConfig: &container.HostConfig{
			Privileged: true, SecurityOpt: []string{"seccomp=unconfined", "apparmor=unconfined"},
			CgroupnsMode: container.CgroupnsModePrivate, Init: &noInit,
			Tmpfs: map[string]string{"/tmp": "", "/run": ""},
			// Not on overlayfs, since the guest's containers have theirs there.
			Mounts:      []mount.Mount{{Type: mount.TypeVolume, Target: "/var", VolumeOptions: &mount.VolumeOptions{Labels: labels}}},
			NetworkMode: networks.mode,
			LogConfig:   container.LogConfig{Type: "json-file", Config: map[string]string{"max-size": "10m"}},
			Resources:   size(vm),
		},
		NetworkingConfig: networks.config,
	}
	var made client.ContainerCreateResult
	for _, options.Name = range containerNames(vm) {
		if made, err = g.api.ContainerCreate(ctx, options); !errdefs.IsConflict(err) && !errdefs.IsInvalidArgument(err) {
			break
		}
	}
	if errdefs.IsNotFound(err) {
		return "", fmt.Errorf("Docker image %s of boot image %q: %w: %w", image, vm.Image, ErrNoImage, err)
	}
	for _, w := range made.Warnings {
		g.options.Log.Warn("Docker Engine", "vm", vm.Name, "warning", w)
	}
	return made.ID, err
}

// attachment is how a container is on the network.
type attachment struct {
	mode   container.NetworkMode
	config *network.NetworkingConfig
}

func (g *Guests) attachment(ctx context.Context, vm guest.VM) (attachment, error) {
	if !vm.Address.IsValid() {
		return attachment{mode: "none"}, nil
	}
	if !vm.Bridged {
		return attachment{}, ErrNAT
	}
	subnets, err := g.subnets(ctx)
	if err != nil {
		return attachment{}, err
	}
	if !slices.ContainsFunc(subnets, func(p netip.Prefix) bool { return p.Contains(vm.Address) }) {
		return attachment{}, fmt.Errorf("%s on %s %v: %w", vm.Address, g.options.Network, subnets, ErrAddress)
	}
	endpoint := &network.EndpointSettings{IPAMConfig: &network.EndpointIPAMConfig{IPv4Address: vm.Address}}
	if err := endpoint.MacAddress.UnmarshalText([]byte(vm.MAC)); err != nil {
		return attachment{}, err
	}
	return attachment{container.NetworkMode(g.options.Network), &network.NetworkingConfig{
		EndpointsConfig: map[string]*network.EndpointSettings{g.options.Network: endpoint},
	}}, nil
}

// containerNames are for people: the VM's name, which that of its node mostly is, or one
// that the ID makes unique, where somebody else has that or Docker does not take it.
func containerNames(vm guest.VM) []string {
	name := strings.Map(func(r rune) rune {
		if r < 128 && (r == '-' || r == '.' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z') {
			return r
		}
		return '-'
	}, vm.Name)
	unique, _, _ := strings.Cut(vm.ID, "-")
	return []string{name, "vm-" + name + "-" + unique}
}

// seed puts the seed's files where cloud-init finds them: on the guest's own disk,
// which the Docker Engine keeps, and in no file of the fake's.
func (g *Guests) seed(ctx context.Context, containerID string, vm guest.VM) error {
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for _, f := range []struct {
		name    string
		content []byte
	}{{"user-data", vm.UserData}, {"meta-data", vm.MetaData}, {"network-config", vm.NetworkConfig}} {
		if f.content == nil {
			continue
		}
		if err := w.WriteHeader(&tar.Header{Name: seedDirectory + "/" + f.name, Mode: 0o600, Size: int64(len(f.content))}); err != nil {
			return err
		}
		if _, err := w.Write(f.content); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	ctx, cancel := call(ctx, callTimeout)
	defer cancel()
	_, err := g.api.CopyToContainer(ctx, containerID, client.CopyToContainerOptions{DestinationPath: "/", Content: &archive})
	if err != nil {
		return fmt.Errorf("seed: %w", err)
	}
	return nil
}
