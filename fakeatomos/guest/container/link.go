package container

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/moby/moby/client"
	"golang.org/x/sys/unix"
)

// Cut pulls a guest's cable: its interface and addresses stay, and so do its routes,
// but nothing passes. It stays pulled when the guest boots again.
func (g *Guests) Cut(id string) error { return g.setCut(id, true) }

// Mend plugs the cable in again.
func (g *Guests) Mend(id string) error { return g.setCut(id, false) }

func (g *Guests) setCut(id string, cut bool) error {
	g.mu.Lock()
	m := g.machines[id]
	var r *run
	if m != nil {
		m.cut, r = cut, m.run
	}
	g.mu.Unlock()
	if r == nil {
		return nil
	}
	return g.setLink(g.ctx, r.container, !cut)
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
	// The interface inside names its peer outside.
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/root/sys/class/net/eth0/iflink", found.Container.State.Pid))
	if err != nil {
		return fmt.Errorf("the guest's network can be cut on the Docker Engine's own machine and as root only: %w", err)
	}
	index, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil {
		return err
	}
	peer, err := net.InterfaceByIndex(index)
	if err != nil {
		return err
	}
	return setInterface(peer.Name, up)
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
