// Package simulated runs guests that are machines of a Kubernetes cluster in
// all that their surroundings can see, without running one: a guest reads its
// seed as cloud-init and kubeadm do, joins over the network from its own
// address, and its control planes serve an API and etcd there. What it needs
// comes from its seed and its network alone. Of the commands of a seed it runs
// kubeadm, and before it curl (curl.go); all others are as if they had been.
//
// # Virtual IPs
//
// Control planes hold a virtual IP among themselves when their seeds bring the
// static pod of kube-vip (a manifest in /etc/kubernetes/manifests) or the
// configuration of keepalived (/etc/keepalived/keepalived.conf). Whoever holds
// the address serves its API there, on its own port and with its own certificate,
// which covers the address if it is the cluster's endpoint. Nobody holds it whose
// API does not serve, so nobody does without a majority of etcd. When the holder's
// API ends, the address answers to nobody until the holder's lease is over and
// another control plane takes it; a holder that is back before keeps it.
//
// A guest listens on its addresses on this machine, and so it does on a virtual
// IP: it has to be one of the loopback network, in the range of the guests' network
// and outside of what DHCP gives out there, as on a real one. In a world of
// e2e/world, whose guests have 127.128.0.0 and up, it is the last but one address
// of the cluster's network: a managed network gives that to no machine.
package simulated

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/fakeatomos/guest"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos/guest/simulated/cloudinit"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos/history"
)

// ErrNoKubernetes is a seed that runs kubeadm on an image without it.
var ErrNoKubernetes = errors.New("the seed runs kubeadm, and the boot image holds no Kubernetes")

// A machine that cannot reach its cluster tries again after a while that
// doubles from the first to the last.
const (
	firstRetry = 50 * time.Millisecond
	lastRetry  = 5 * time.Second
)

// Options shape the guests.
type Options struct {
	// Log is slog.Default if nil.
	Log *slog.Logger
	// NodeStartupTime is how long cloud-init and the kubelet take from the
	// first boot to a ready node; zero is as fast as it gets.
	NodeStartupTime time.Duration
	// NodeGrace is for how long a node whose machine is off is still believed
	// to be ready; zero is one second. In a real cluster it is 40 to 50 seconds.
	NodeGrace time.Duration
	// VIPTakeover is how long after the end of a virtual IP's holder another
	// control plane takes it; zero is what the seed says: kube-vip's lease
	// duration, by default 5 seconds, or the silence after which keepalived's
	// backups give a master up, by default 4 seconds.
	VIPTakeover time.Duration
	// History is told what clusters know of themselves; nil drops it.
	History *history.Writer
}

// Guests runs simulated guests. See guest.Guests for its methods.
type Guests struct {
	options Options

	// cutting has a machine and its node agree on whether the network is cut.
	cutting sync.Mutex

	mu       sync.Mutex
	machines map[string]*machine
	clusters map[string]*cluster
	closed   bool
}

var (
	_ guest.Guests = (*Guests)(nil)
	_ guest.Wired  = (*Guests)(nil)
)

// machine is one VM. Its calls come one at a time; the mutex of Guests guards
// what its work in the background shares with them.
type machine struct {
	vm      guest.VM
	powered bool
	// cut tells that the network is.
	cut bool
	// node is on the disk of a machine that joined a cluster.
	node *node
	// finished is the instance whose seed was worked off in vain: cloud-init
	// does not do that twice.
	finished string
	// cancel and done belong to the work in the background; nil without any.
	cancel context.CancelFunc
	done   chan struct{}
}

// New returns guests that run until Close.
func New(options Options) (*Guests, error) {
	if options.NodeStartupTime < 0 || options.NodeGrace < 0 || options.VIPTakeover < 0 {
		return nil, errors.New("simulated guests: a duration is negative")
	}
	if options.Log == nil {
		options.Log = slog.Default()
	}
	if options.NodeGrace == 0 {
		options.NodeGrace = time.Second
	}
	return &Guests{options: options, machines: map[string]*machine{}, clusters: map[string]*cluster{}}, nil
}

// Close powers off all guests and forgets them.
func (g *Guests) Close() {
	g.mu.Lock()
	g.closed = true
	ids := make([]string, 0, len(g.machines))
	for id := range g.machines {
		ids = append(ids, id)
	}
	clusters := g.clusters
	g.clusters = map[string]*cluster{}
	g.mu.Unlock()
	for _, c := range clusters {
		c.close()
	}
	for _, id := range ids {
		g.PowerOff(id)
		g.Remove(id)
	}
}

// Boot starts a guest. A seed that cannot be read is an error here; what goes
// wrong later, as a join that is refused, is logged.
func (g *Guests) Boot(ctx context.Context, vm guest.VM) error {
	g.mu.Lock()
	if g.closed {
		g.mu.Unlock()
		return errors.New("simulated guests: closed")
	}
	m := g.know(vm.ID)
	if m.powered {
		g.mu.Unlock()
		return fmt.Errorf("guest %s is powered on already", vm.ID)
	}
	m.vm, m.powered = vm, true
	joined, finished := m.node, m.finished
	g.mu.Unlock()

	if joined != nil {
		if err := joined.cluster.powerOn(ctx, joined, vm); err != nil {
			return fmt.Errorf("guest %s: %w", vm.Name, err)
		}
		return nil
	}
	seed, err := cloudinit.Read(vm.UserData, vm.MetaData)
	if err != nil {
		return fmt.Errorf("guest %s: %w", vm.Name, err)
	}
	p, err := planOf(seed)
	switch {
	case err != nil:
		return fmt.Errorf("guest %s: %w", vm.Name, err)
	case p == nil || seed.InstanceID != "" && seed.InstanceID == finished:
		return nil
	case vm.KubernetesVersion == "":
		return fmt.Errorf("guest %s: %w", vm.Name, ErrNoKubernetes)
	}
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed || !m.powered {
		cancel()
		return nil // powered off in the meantime
	}
	m.cancel, m.done = cancel, done
	go func() {
		defer close(done)
		defer cancel()
		g.bootstrap(work, m, p)
	}()
	return nil
}

// bootstrap makes a machine a node, trying until it is one, is refused, or is
// powered off.
func (g *Guests) bootstrap(ctx context.Context, m *machine, p *plan) {
	log := g.options.Log.With("guest", m.vm.Name)
	if !sleep(ctx, g.options.NodeStartupTime) {
		return
	}
	for _, c := range p.calls {
		if err := c.run(ctx, m.vm.Address, func() bool { return g.isCut(m.vm.ID) }); err != nil {
			log.Warn("a command before kubeadm has failed", "error", err)
		}
		if ctx.Err() != nil {
			return
		}
	}
	for retry := firstRetry; ; retry = min(2*retry, lastRetry) {
		n := &node{vm: m.vm, name: p.nodeName(m.vm.Name)}
		err := g.attempt(ctx, p, n)
		if err == nil {
			g.cutting.Lock()
			g.mu.Lock()
			m.node = n
			cut := m.cut
			g.mu.Unlock()
			if cut { // in the meantime
				n.cluster.setCut(n, true)
			}
			g.cutting.Unlock()
			log.Info("node is ready", "node", n.name, "cluster", n.cluster.id, "controlPlane", n.control != nil)
			return
		}
		var refused *RefusedError
		var broken *SeedError
		if errors.As(err, &refused) || errors.As(err, &broken) {
			log.Warn("guest does not become a node", "error", err)
			g.mu.Lock()
			m.finished = p.seed.InstanceID
			g.mu.Unlock()
			return
		}
		log.Debug("guest tries again to become a node", "after", retry, "error", err)
		if !sleep(ctx, retry) {
			return
		}
	}
}

// errCut is a machine whose network is cut.
var errCut = errors.New("the machine's network is cut")

// attempt runs kubeadm once.
func (g *Guests) attempt(ctx context.Context, p *plan, n *node) error {
	if g.isCut(n.vm.ID) {
		return errCut
	}
	if p.join == nil {
		c, err := newCluster(ctx, &g.options, p, n)
		if err != nil {
			return err
		}
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.closed {
			c.close()
			return context.Canceled
		}
		g.clusters[c.id] = c
		return nil
	}
	id, discovered, err := discover(ctx, n.vm.Address, p.join)
	if err != nil {
		return err
	}
	g.mu.Lock()
	c := g.clusters[id]
	g.mu.Unlock()
	if c == nil {
		return &RefusedError{"the cluster is not one of simulated guests"}
	}
	if p.api != nil {
		config, err := c.configuration()
		if err != nil {
			return err
		}
		own, err := readAuthorities(p.seed.Files, config.pki())
		if err != nil {
			return err
		}
		if !own.cluster.certificate.Equal(discovered) || !own.etcd.certificate.Equal(c.authorities.etcd.certificate) {
			return &RefusedError{"the seed's certificate authorities are not the cluster's"}
		}
	}
	return c.enter(ctx, p, n)
}

// Shutdown ends a guest, which always heeds; see guest.Guests.
func (g *Guests) Shutdown(_ context.Context, id string) bool {
	g.PowerOff(id)
	return true
}

// PowerOff ends a guest and waits for its end; see guest.Guests.
func (g *Guests) PowerOff(id string) {
	g.mu.Lock()
	m := g.machines[id]
	if m == nil || !m.powered {
		g.mu.Unlock()
		return
	}
	cancel, done := m.cancel, m.done
	m.cancel, m.done = nil, nil
	g.mu.Unlock()
	if cancel != nil {
		cancel()
		<-done
	}
	g.mu.Lock()
	m.powered = false
	joined := m.node
	g.mu.Unlock()
	if joined != nil {
		joined.cluster.powerOff(joined)
	}
}

// Cut cuts the network of a guest that runs on; see guest.Wired. It never fails.
func (g *Guests) Cut(id string) error { return g.setCut(id, true) }

// Mend gives a guest its network back. It never fails.
func (g *Guests) Mend(id string) error { return g.setCut(id, false) }

func (g *Guests) setCut(id string, cut bool) error {
	g.cutting.Lock()
	defer g.cutting.Unlock()
	g.mu.Lock()
	m := g.know(id)
	m.cut = cut
	joined := m.node
	g.mu.Unlock()
	if joined != nil {
		joined.cluster.setCut(joined, cut)
	}
	return nil
}

// know returns the machine of a VM, a new one the first time; g.mu is held.
func (g *Guests) know(id string) *machine {
	m := g.machines[id]
	if m == nil {
		m = &machine{}
		g.machines[id] = m
	}
	return m
}

func (g *Guests) isCut(id string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	m := g.machines[id]
	return m != nil && m.cut
}

// Remove forgets a guest's disk; see guest.Guests. A cluster goes with the
// last control plane's disk.
func (g *Guests) Remove(id string) {
	g.mu.Lock()
	m := g.machines[id]
	delete(g.machines, id)
	g.mu.Unlock()
	if m == nil || m.node == nil {
		return
	}
	if c := m.node.cluster; c.remove(m.node) {
		g.mu.Lock()
		delete(g.clusters, c.id)
		g.mu.Unlock()
	}
}

// Usage returns figures that follow from a guest's size and work: nothing when
// it is off, an idle system's when it runs no node, and more for a node, most
// for a control plane.
func (g *Guests) Usage(id string) (cpuMillis, memoryMiB int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	m := g.machines[id]
	if m == nil || !m.powered {
		return 0, 0
	}
	cpuMillis, memoryMiB = 10*int64(m.vm.Processors), 180
	if m.node != nil {
		cpuMillis, memoryMiB = cpuMillis+40, memoryMiB+260
		if m.node.control != nil {
			cpuMillis, memoryMiB = cpuMillis+150, memoryMiB+900
		}
	}
	return min(cpuMillis, 1000*int64(m.vm.Processors)), min(memoryMiB, m.vm.MemoryMiB*9/10)
}

// sleep waits and tells whether the context still lives.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
