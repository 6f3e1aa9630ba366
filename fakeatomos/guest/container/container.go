// Package container runs guests that are system containers on a Docker Engine: a
// VM's boot image is a Docker image whose first process is an init system, its disk
// what the container writes, its seed a directory that the cloud-init inside finds
// (NoCloud). So a guest is as real as its image.
//
// All guests are on one bridge network of the engine, each with its VM's address, and
// its VM's MAC where the engine is of version 25 or later; the networks of the fake
// must be bridged and lie inside of that one. There is no
// NAT: a VM behind it runs without a guest. What the engine holds for guests (the
// containers and the volumes of their /var) bears two labels, [InstanceLabel] and
// [VMLabel].
//
// The engine is that of DOCKER_HOST, or the one at /var/run/docker.sock; contexts of
// Docker's client do not count. To cut a guest off it must be this machine's, and the
// process root.
package container

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"

	"elemento.cloud/cluster-api-provider-elemento/fakeatomos/guest"
)

// The labels of all that an engine holds for guests.
const (
	// InstanceLabel tells whose guest it is: Options.Instance.
	InstanceLabel = "cloud.elemento.atomos"
	// VMLabel is the VM's ID, and NameLabel its name.
	VMLabel   = "cloud.elemento.vm"
	NameLabel = "cloud.elemento.name"
)

// Why a guest is not started, besides what the engine says. Each is wrapped with
// guest.ErrNotStarted.
var (
	// ErrNAT is a VM behind NAT.
	ErrNAT = errors.New("container guests have bridged networks only (C4's mode null)")
	// ErrAddress is an address that the Docker network does not have.
	ErrAddress = errors.New("the address is not one of the Docker network: give the VM's network a DHCP range in it")
	// ErrNoImage is a VM without a boot image, or with one that no Docker image is
	// known for.
	ErrNoImage = errors.New("there is no Docker image to boot")
)

// ErrElsewhere is a guest that cannot be cut off, because this process does not see
// the machine that it is on.
var ErrElsewhere = errors.New("a guest's network can be cut on the Docker Engine's own machine and by root only")

// NodeRepository is the name, without a tag, of the Docker images of nodes, which
// e2e/node makes.
const NodeRepository = "elemento.cloud/node"

// NodeImage is the Docker image of a Kubernetes version, such as v1.36.3, where Options
// name no other.
func NodeImage(kubernetesVersion string) string { return NodeRepository + ":" + kubernetesVersion }

// Options shape the guests.
type Options struct {
	// Network is the name of the Docker network that the guests are on: a bridge
	// network that somebody has made, not Docker's default one.
	Network string
	// Instance tells the guests of one fake from those of others on the same
	// engine; Network if empty. Two at once must not have the same.
	Instance string
	// Images maps the name of a boot image to that of the Docker image; one that
	// is not there is the NodeImage of its Kubernetes version.
	Images map[string]string
	// KeepDisks leaves the guests' disks on the engine after Close, for a fake
	// whose VMs survive it.
	KeepDisks bool
	// ShutdownTimeout is how long a guest may take to heed its power button; 90
	// seconds if zero.
	ShutdownTimeout time.Duration
	// Log is slog.Default if nil.
	Log *slog.Logger
}

// Guests runs guests on a Docker Engine. See guest.Guests for its methods.
type Guests struct {
	options Options
	api     *client.Client
	ctx     context.Context // ends with Close
	cancel  context.CancelFunc

	mu       sync.Mutex
	machines map[string]*machine
}

var (
	_ guest.Guests  = (*Guests)(nil)
	_ guest.Wired   = (*Guests)(nil)
	_ guest.Lasting = (*Guests)(nil)
)

// machine is what is known of a VM that was booted.
type machine struct {
	run *run // nil without power

	// cable guards cut, and has one at a time pull or plug in.
	cable sync.Mutex
	cut   bool
}

// New returns guests that run until Close. It fails where no engine answers or the
// network is not there.
func New(ctx context.Context, options Options) (*Guests, error) {
	if options.Network == "" {
		return nil, errors.New("container guests: name the Docker network that they are on")
	}
	if options.ShutdownTimeout < 0 {
		return nil, errors.New("container guests: the shutdown timeout is negative")
	}
	if options.Instance == "" {
		options.Instance = options.Network
	}
	if options.ShutdownTimeout == 0 {
		options.ShutdownTimeout = 90 * time.Second
	}
	if options.Log == nil {
		options.Log = slog.Default()
	}
	api, err := client.New(client.FromEnv)
	if err != nil {
		return nil, fmt.Errorf("container guests: %w", err)
	}
	g := &Guests{options: options, api: api, machines: map[string]*machine{}}
	g.ctx, g.cancel = context.WithCancel(context.WithoutCancel(ctx))
	if _, err := g.subnets(ctx); err != nil {
		g.cancel()
		return nil, errors.Join(fmt.Errorf("container guests: %w", err), api.Close())
	}
	return g, nil
}

// Close cuts the power of all guests and, unless they are to be kept, removes their
// disks.
func (g *Guests) Close() {
	g.mu.Lock()
	ids := slices.Collect(maps.Keys(g.machines))
	g.mu.Unlock()
	var all sync.WaitGroup
	for _, id := range ids {
		all.Go(func() {
			g.PowerOff(id)
			if !g.options.KeepDisks {
				g.Remove(id)
			}
		})
	}
	all.Wait()
	g.cancel()
	if err := g.api.Close(); err != nil {
		g.options.Log.Warn("connection to the Docker Engine not closed", "err", err)
	}
}

// Keep cuts the power of guests of before and removes what belongs to VMs that are
// not among those given; see guest.Lasting.
func (g *Guests) Keep(ctx context.Context, ids []string) error {
	found, err := g.list(ctx, "")
	if err != nil {
		return fmt.Errorf("container guests: %w", err)
	}
	var all sync.WaitGroup
	results := make(chan error, len(found))
	for _, c := range found {
		id := c.Labels[VMLabel]
		all.Go(func() {
			if slices.Contains(ids, id) {
				results <- g.kill(ctx, id)
				return
			}
			g.options.Log.Info("a guest without a VM is removed", "name", c.Labels[NameLabel], "vm", id)
			results <- g.remove(ctx, id)
		})
	}
	all.Wait()
	close(results)
	var errs []error
	for err := range results {
		errs = append(errs, err)
	}
	errs = append(errs, g.removeVolumes(ctx, "", ids))
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("container guests: what is left of before: %w", err)
	}
	return nil
}

// Boot starts a guest from its disk, which it makes the first time. The seed is as
// the VM has it now.
func (g *Guests) Boot(ctx context.Context, vm guest.VM) error {
	if err := g.boot(ctx, vm); err != nil {
		return fmt.Errorf("%w: %w", guest.ErrNotStarted, err)
	}
	return nil
}

func (g *Guests) boot(ctx context.Context, vm guest.VM) error {
	m := g.know(vm.ID)
	if g.running(vm.ID) != nil {
		return errors.New("it is powered on already")
	}
	container, err := g.prepare(ctx, vm)
	if err != nil {
		return err
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	r := newRun(g.ctx, container)
	if err := g.start(ctx, r.container, m); err != nil {
		return err
	}
	g.mu.Lock()
	m.run = r
	g.mu.Unlock()
	go g.watch(r, m, vm)
	return nil
}

// Shutdown presses the power button of a guest, which its init system knows as
// SIGRTMIN+3; see guest.Guests.
func (g *Guests) Shutdown(ctx context.Context, id string) bool {
	r := g.running(id)
	if r == nil {
		return true
	}
	r.goingDown.Store(true)
	if err := g.signal(ctx, r.container, shutdownSignal); err != nil && !errdefs.IsConflict(err) && !errdefs.IsNotFound(err) {
		g.options.Log.Warn("the power button of a guest does not work", "vm", id, "err", err)
	}
	wait := time.NewTimer(g.options.ShutdownTimeout)
	defer wait.Stop()
	select {
	case <-r.ended:
		return true
	case <-ctx.Done():
	case <-wait.C:
		g.options.Log.Warn("a guest does not heed its power button", "vm", id, "after", g.options.ShutdownTimeout)
	}
	r.goingDown.Store(false) // it runs on, and may reboot by itself
	return false
}

// PowerOff cuts the power of a guest; see guest.Guests. An engine that does not do
// it in a minute leaves it running, which is logged.
func (g *Guests) PowerOff(id string) {
	g.mu.Lock()
	m := g.machines[id]
	var r *run
	if m != nil {
		r, m.run = m.run, nil
	}
	g.mu.Unlock()
	if r != nil {
		r.stop()
	}
	g.insist("power not cut", id, func(ctx context.Context) error { return g.kill(ctx, id) })
}

// Remove removes what the engine holds for a guest, if anything. Where the engine
// does not do it in a minute, which is logged, it goes with the next Keep.
func (g *Guests) Remove(id string) {
	g.PowerOff(id)
	g.insist("guest not removed", id, func(ctx context.Context) error { return g.remove(ctx, id) })
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.machines, id)
}

// know returns the machine of a VM, a new one the first time.
func (g *Guests) know(id string) *machine {
	g.mu.Lock()
	defer g.mu.Unlock()
	m := g.machines[id]
	if m == nil {
		m = &machine{}
		g.machines[id] = m
	}
	return m
}

// running returns the run of a guest that has power, or nil.
func (g *Guests) running(id string) *run {
	g.mu.Lock()
	defer g.mu.Unlock()
	if m := g.machines[id]; m != nil {
		return m.run
	}
	return nil
}
