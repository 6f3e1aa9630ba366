package container

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	"golang.org/x/sys/unix"
)

// Cut pulls a guest's cable: its interface and addresses stay, and so do its routes,
// but nothing passes. It stays pulled when the guest boots again.
func (g *Guests) Cut(id string) error { return g.setCut(id, true) }

// Mend plugs the cable in again.
func (g *Guests) Mend(id string) error { return g.setCut(id, false) }

func (g *Guests) setCut(id string, cut bool) error {
	m := g.know(id)
	m.cable.Lock()
	defer m.cable.Unlock()
	was := m.cut
	m.cut = cut // which a guest that just boots finds when it has started
	r := g.running(id)
	if r == nil {
		return nil
	}
	err := g.setLink(g.ctx, r.container, !cut)
	if err != nil {
		m.cut = was
	}
	return err
}

// setLink switches the near end of a running container's cable.
func (g *Guests) setLink(ctx context.Context, containerID string, up bool) error {
	ctx, cancel := call(ctx, callTimeout)
	defer cancel()
	found, err := g.api.ContainerInspect(ctx, containerID, client.ContainerInspectOptions{})
	if err != nil {
		return err
	}
	if found.Container.State == nil || found.Container.State.Pid == 0 {
		return nil // no power: its next boot sees to it
	}
	var endpoint *network.EndpointSettings
	if found.Container.NetworkSettings != nil {
		endpoint = found.Container.NetworkSettings.Networks[g.options.Network]
	}
	if endpoint == nil {
		return nil // it has no cable
	}
	near, err := nearEnd(found.Container.State.Pid, endpoint.MacAddress)
	if err == nil {
		err = setInterface(near, up)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrElsewhere, err)
	}
	return nil
}

// nearEnd is the name, on this machine, of the near end of the cable that ends at the
// interface with that address in a process. With an engine that is elsewhere the number
// is that of another process here, or of none.
func nearEnd(pid int, address network.HardwareAddr) (string, error) {
	read := func(name string) (string, error) {
		content, err := os.ReadFile(fmt.Sprintf("/proc/%d/root/sys/class/net/eth0/%s", pid, name))
		return strings.TrimSpace(string(content)), err
	}
	found, err := read("address")
	if err != nil {
		return "", err
	}
	if found != address.String() {
		return "", fmt.Errorf("process %d of this machine has the address %s, and the guest %s", pid, found, address)
	}
	// The interface inside names its peer outside.
	raw, err := read("iflink")
	if err != nil {
		return "", err
	}
	index, err := strconv.Atoi(raw)
	if err != nil {
		return "", err
	}
	peer, err := net.InterfaceByIndex(index)
	if err != nil {
		return "", err
	}
	return peer.Name, nil
}

// setInterface sets an interface of this machine up or down.
func setInterface(name string, up bool) error {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(socket)
	request, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(socket, unix.SIOCGIFFLAGS, request); err != nil {
		return fmt.Errorf("interface %s: %w", name, err)
	}
	flags := request.Uint16() &^ unix.IFF_UP
	if up {
		flags |= unix.IFF_UP
	}
	request.SetUint16(flags)
	if err := unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, request); err != nil {
		return fmt.Errorf("interface %s: %w", name, err)
	}
	return nil
}
