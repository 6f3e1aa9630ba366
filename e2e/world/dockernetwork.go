package world

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/e2e/docker"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos/guest/container"
)

// networkLabel is on the Docker network of a world; its value is the number of the
// world's block.
const networkLabel = "cloud.elemento.world"

// A world's Docker network has 8,192 addresses of 10.77.0.0 to 10.92.255.255, and of
// these Docker itself the first quarter, for kind's nodes; what of the world runs on
// this machine, as hosts and daemons do, the second quarter; and guests the other half.
const (
	networkBits    = 19
	networkSize    = 1 << (32 - networkBits)
	networks       = 128
	ownAddresses   = networkSize / 4
	guestAddresses = networkSize / 2
)

// firstNetwork is the first address of the first world's.
var firstNetwork = netip.AddrFrom4([4]byte{10, 77, 0, 0})

// Docker may take so long to remove what is the world's, and is asked so many times, with
// so much time in between: it has been seen to wait without an end for a container that
// had ended.
const (
	dockerTime  = time.Minute
	dockerTries = 3
	dockerPause = 5 * time.Second
)

// dockerNetwork is a user-defined bridge network of Docker's on which containers and
// the processes of a world reach each other.
type dockerNetwork struct {
	// name is that of the network and of its bridge.
	name   string
	number int
}

func (n dockerNetwork) at(offset int) netip.Addr {
	first := firstNetwork.As4()
	var a [4]byte
	binary.BigEndian.PutUint32(a[:], binary.BigEndian.Uint32(first[:])+uint32(n.number*networkSize+offset))
	return netip.AddrFrom4(a)
}

// subnet is the whole network, dockers the part from which Docker gives addresses.
func (n dockerNetwork) subnet() netip.Prefix  { return netip.PrefixFrom(n.at(0), networkBits) }
func (n dockerNetwork) dockers() netip.Prefix { return netip.PrefixFrom(n.at(0), networkBits+2) }

// own is the part with the addresses of processes, guests that of guests.
func (n dockerNetwork) own() netip.Prefix { return netip.PrefixFrom(n.at(ownAddresses), networkBits+2) }
func (n dockerNetwork) guests() netip.Prefix {
	return netip.PrefixFrom(n.at(guestAddresses), networkBits+1)
}

// DockerNetwork is the name of the world's Docker network, which is also that of its kind
// cluster and what guests are labeled with; empty where nothing of the world is a
// container.
func (w *World) DockerNetwork() string {
	if w.network == nil {
		return ""
	}
	return w.network.name
}

// needsDocker tells whether anything of a world is a container.
func (o Options) needsDocker() bool {
	return o.Plane == PlaneKind || o.Elemento != nil && o.Elemento.Guests == GuestsContainer
}

// joinDocker makes the world's Docker network and has its addresses be of that.
func (w *World) joinDocker(ctx context.Context, o Options) (err error) {
	if w.network, err = makeDockerNetwork(ctx, w.block.number); err != nil {
		return err
	}
	w.block.network = w.network
	if w.dockerEnv, err = docker.Environment(ctx); err != nil {
		return err
	}
	ranges := []netip.Prefix{w.network.own()}
	if o.Elemento != nil && o.Elemento.Guests != GuestsContainer {
		ranges = append(ranges, w.network.guests())
	}
	return w.network.take(ctx, nodeImage(ctx, o.NodeImage), ranges...)
}

// makeDockerNetwork makes the network of the world whose block has that number,
// after it has removed what worlds left that were killed.
func makeDockerNetwork(ctx context.Context, number int) (*dockerNetwork, error) {
	if number >= networks {
		return nil, fmt.Errorf("making a Docker network: %d other worlds run on this machine; end some of them", number)
	}
	if _, err := docker.Ask(ctx); err != nil {
		return nil, err
	}
	if err := sweepNetworks(ctx, number); err != nil {
		return nil, fmt.Errorf("removing what a killed world has left in Docker: %w", err)
	}
	n := &dockerNetwork{name: "elemento-" + strconv.Itoa(number), number: number}
	if _, err := docker.Run(ctx, nil, "network", "create", "--driver=bridge",
		"--subnet="+n.subnet().String(), "--ip-range="+n.dockers().String(), "--gateway="+n.at(1).String(),
		"--opt=com.docker.network.bridge.name="+n.name, "--label="+networkLabel+"="+strconv.Itoa(number), n.name); err != nil {
		return nil, fmt.Errorf("making a Docker network; nothing else may use %s: %w", n.subnet(), err)
	}
	if _, err := net.InterfaceByName(n.name); err != nil {
		return nil, errors.Join(fmt.Errorf("the bridge of a Docker network is not on this machine, so that containers cannot reach what runs here; an engine that is rootless, remote or in a VM is of no use: %w", err), n.remove(ctx))
	}
	return n, nil
}

// take makes addresses of the network this machine's own: those of processes, and those
// of guests that are processes. It is done in a container of that image, which has the
// program ip, so that whoever may use Docker needs no other rights. They go with the
// network's bridge.
func (n *dockerNetwork) take(ctx context.Context, image string, ranges ...netip.Prefix) error {
	for _, r := range ranges {
		if _, err := docker.Run(ctx, nil, "run", "--rm", "--network=host", "--cap-add=NET_ADMIN", "--entrypoint=ip", image,
			"route", "add", "local", r.String(), "dev", n.name); err != nil {
			return fmt.Errorf("taking the addresses %s on the bridge %s: %w", r, n.name, err)
		}
	}
	return nil
}

// remove removes the network and the containers on it, with their volumes. Doing it
// twice is fine.
func (n *dockerNetwork) remove(ctx context.Context) error {
	ask := func(args ...string) (string, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), dockerTime)
		defer cancel()
		return docker.Run(ctx, nil, args...)
	}
	found, err := ask("network", "ls", "--quiet", "--filter=name=^"+n.name+"$", "--filter=label="+networkLabel)
	if err != nil || found == "" {
		return err
	}
	if err := n.clear(ctx); err != nil {
		return err
	}
	_, err = ask("network", "rm", n.name)
	return err
}

// clear removes the containers on the network, and what else Docker holds for guests,
// which are labeled with the network's name.
func (n *dockerNetwork) clear(ctx context.Context) error {
	return n.clearWithin(ctx, dockerTime, dockerPause)
}

// clearWithin does so in tries that take so long each. What one has not removed is for
// the next one.
func (n *dockerNetwork) clearWithin(ctx context.Context, each, pause time.Duration) (err error) {
	for try := range dockerTries {
		if try > 0 {
			time.Sleep(pause)
		}
		if err = n.clearOnce(ctx, each); err == nil {
			return nil
		}
	}
	return fmt.Errorf("removing what is on the network %s, %d times: %w", n.name, dockerTries, err)
}

func (n *dockerNetwork) clearOnce(ctx context.Context, within time.Duration) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), within)
	defer cancel()
	guests := "--filter=label=" + container.InstanceLabel + "=" + n.name
	for _, kind := range []struct{ find, remove []string }{
		{[]string{"ps", "--all", "--quiet", "--filter=network=" + n.name}, []string{"rm", "--force", "--volumes"}},
		{[]string{"ps", "--all", "--quiet", guests}, []string{"rm", "--force", "--volumes"}},
		{[]string{"volume", "ls", "--quiet", guests}, []string{"volume", "rm", "--force"}},
	} {
		found, err := docker.Run(ctx, nil, kind.find...)
		if err != nil {
			return err
		}
		if found == "" {
			continue
		}
		if _, err := docker.Run(ctx, nil, append(kind.remove, strings.Fields(found)...)...); err != nil {
			return err
		}
	}
	return nil
}

// sweepNetworks removes the networks of worlds that are no more, and what is on them.
// The one of our own number is such a one.
func sweepNetworks(ctx context.Context, own int) error {
	listed, err := docker.Run(ctx, nil, "network", "ls", "--filter=label="+networkLabel, "--format={{.Name}} {{.Label \""+networkLabel+"\"}}")
	if err != nil {
		return err
	}
	for line := range strings.Lines(listed) {
		var n dockerNetwork
		if _, err := fmt.Sscan(line, &n.name, &n.number); err != nil {
			continue // no world has labeled it
		}
		if _, err := net.InterfaceByName(n.name); err != nil {
			continue // of another machine's world, in an engine that is shared
		}
		if err := n.sweep(ctx, own); err != nil {
			return err
		}
	}
	return nil
}

// sweep removes the network unless its world lives.
func (n *dockerNetwork) sweep(ctx context.Context, own int) error {
	if n.number != own {
		hold, err := holdBlock(n.number)
		if errors.Is(err, syscall.EADDRINUSE) {
			return nil
		}
		if err != nil {
			return err
		}
		defer hold.Close()
	}
	return n.remove(ctx)
}
