package fakeatomos

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/c4"
)

// Manufacturer is who made the hosts of a fake, as they say themselves. Nobody who
// asks them takes them for real ones.
const Manufacturer = "fake AtomOS"

// Host is one hypervisor.
type Host struct {
	fake        *Fake
	opts        HostOptions
	log         *slog.Logger
	certificate *tls.Certificate // nil with PlainHTTP
	fingerprint string
	state       stateDir
	// switching makes Up and Down exclude each other.
	switching sync.Mutex

	mu          sync.Mutex // guards all below
	up          bool
	isolated    bool
	maintenance bool
	community   bool
	slow        time.Duration      // before every call
	bootTime    time.Duration      // of VMs that start
	slots       int                // 0: as configured
	memoryMiB   int64              // 0: as configured
	clock       time.Duration      // how far it is ahead
	blank       time.Duration      // of every start, in which it lists nothing
	listsFrom   time.Time          // the end of the last one
	off         context.CancelFunc // ends power
	power       context.Context    // ends when the host goes down
	servers     []*http.Server
	serving     sync.WaitGroup
	underWay    sync.WaitGroup // calls; joined only while up
	vms         map[string]*vm
	volumes     map[string]*volume
	networks    map[string]*network
	forwards    map[string]*forward
	sequence    int64 // orders what was made
	// listed caches the reply of /running by client UUID.
	listed map[string][]byte
}

func newHost(f *Fake, o HostOptions) (*Host, error) {
	h := &Host{
		fake: f, opts: o, log: f.opts.Log.With("host", o.Name), community: o.Community, bootTime: f.opts.BootTime,
		state: newStateDir(f.opts.StateDir, o.Name),
		vms:   map[string]*vm{}, volumes: map[string]*volume{},
		networks: map[string]*network{}, forwards: map[string]*forward{},
		listed: map[string][]byte{},
	}
	if !f.opts.PlainHTTP {
		certificate, err := h.state.certificate(o.Address)
		if err != nil {
			return nil, err
		}
		h.certificate = certificate
		h.fingerprint = c4.Fingerprint(certificate.Certificate[0])
	}
	return h, h.load()
}

// Name returns the host's name.
func (h *Host) Name() string { return h.opts.Name }

// Domain returns the domain of the host.
func (h *Host) Domain() string { return h.opts.Domain }

// Address returns the host's address.
func (h *Host) Address() netip.Addr { return h.opts.Address }

// URL returns what c4.Config takes.
func (h *Host) URL() string {
	if h.certificate == nil {
		return "http://" + h.opts.Address.String()
	}
	return "https://" + h.opts.Address.String()
}

// Fingerprint returns the SHA-256 of the host's certificate in hex; "" without
// TLS.
func (h *Host) Fingerprint() string { return h.fingerprint }

// Up gives power to the host: it listens again, unless it is isolated, and its
// VMs start. An error means that an address is taken; the host is down then. Up
// of a host that is up does nothing.
func (h *Host) Up() error {
	h.switching.Lock()
	defer h.switching.Unlock()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.up {
		return nil
	}
	if !h.isolated {
		if err := h.openServices(); err != nil {
			return err
		}
	}
	h.power, h.off = context.WithCancel(h.fake.ctx)
	h.up = true
	h.listsFrom = time.Now().Add(h.blank)
	h.tell("up", nil)
	for _, fw := range h.forwards {
		if err := h.listen(fw); err != nil {
			h.log.Warn("forward not restored", "port", fw.Port, "err", err)
		}
	}
	for _, v := range h.inOrder() {
		h.powerOn(v)
	}
	h.log.Info("host up", "url", h.URL())
	return nil
}

// openServices makes the host listen on C4's ports. Its calls wait for the lock,
// which the caller holds.
func (h *Host) openServices() error {
	listeners := map[string]net.Listener{}
	for service, port := range map[string]int{"matcher": c4.MatcherPort, "storage": c4.StoragePort, "network": c4.NetworkPort} {
		l, err := listenTCP(h.opts.Address, port)
		if err != nil {
			for _, open := range listeners {
				_ = open.Close()
			}
			return fmt.Errorf("host %s: %w", h.opts.Name, err)
		}
		listeners[service] = l
	}
	for service, l := range listeners {
		server := &http.Server{
			Handler:           h.serve(service),
			ReadHeaderTimeout: 10 * time.Second,
			ErrorLog:          slog.NewLogLogger(h.log.Handler(), slog.LevelWarn),
		}
		h.servers = append(h.servers, server)
		if h.certificate != nil {
			// One protocol, so that a cut connection is one lost reply.
			l = tls.NewListener(l, &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{*h.certificate}, NextProtos: []string{"http/1.1"}})
		}
		h.serving.Go(func() {
			if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				h.log.Error("a service ended", "service", service, "err", err)
			}
		})
	}
	return nil
}

// Down takes power away at once: connections are cut, VMs stop, calls under way
// have no further effect. It returns when the guests have ended.
func (h *Host) Down() {
	h.switching.Lock()
	defer h.switching.Unlock()
	h.mu.Lock()
	if !h.up {
		h.mu.Unlock()
		return
	}
	h.up = false
	h.off()
	h.tell("down", nil)
	servers := h.servers
	h.servers = nil
	for _, fw := range h.forwards {
		fw.hangUp()
	}
	var ended []<-chan struct{}
	for _, v := range h.vms {
		ended = append(ended, h.cutPower(v, "crashed"))
	}
	h.mu.Unlock()
	h.closeServices(servers)
	for _, e := range ended {
		<-e
	}
	h.underWay.Wait()
	h.log.Info("host down")
}

// enter counts a call until leave; a host without power takes none.
func (h *Host) enter() {
	h.lock()
	defer h.mu.Unlock()
	h.underWay.Add(1)
}

func (h *Host) leave() { h.underWay.Done() }

// lock is how calls touch the host: a host without power does nothing any more.
func (h *Host) lock() {
	h.mu.Lock()
	if !h.up {
		h.mu.Unlock()
		panic(http.ErrAbortHandler)
	}
}

// wait holds a call up for so long, or until the host loses power, which cuts
// the call.
func (h *Host) wait(d time.Duration) {
	h.lock()
	power := h.power
	h.mu.Unlock()
	if !sleep(power, d) {
		panic(http.ErrAbortHandler)
	}
}

// sleep waits for d and tells whether ctx lasted that long.
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

func (h *Host) next() int64 {
	h.sequence++
	return h.sequence
}

func (h *Host) ping(*request) answer   { return ok("pong") }
func (h *Host) status(*request) answer { return ok("AtomOS matcher: running") }

func (h *Host) statusJSON(*request) answer {
	h.lock()
	defer h.mu.Unlock()
	p := h.processors()
	claims, memory, devices := h.claims()
	cores, threads := p.used(claims)
	info := c4.HostInfo{
		CPU: c4.HostCPU{
			Arch: h.opts.Arch, Flags: h.opts.Flags, Frequency: h.opts.FrequencyGHz,
			MaxCores: p.cores, MaxThreads: p.cores * p.smt, NCores: p.cores,
			UsedCores: cores, UsedThreads: threads,
			SMTOn: p.smt > 1, SMTRatio: p.smt, VendorID: "GenuineIntel",
		},
		Mem:          c4.HostMem{Size: h.memory(), Avail: max(h.memory()-memory, 0), IsECC: h.opts.ECC},
		PCI:          []c4.HostPCI{},
		Manufacturer: Manufacturer,
		Maintenance:  h.maintenance,
	}
	for _, device := range sortedKeys(h.opts.PCI) {
		id, _ := splitDevice(device)
		n := h.opts.PCI[device]
		info.PCI = append(info.PCI, c4.HostPCI{PCIID: id, Max: n, Avail: n - devices[device]})
	}
	return ok(info)
}

func (h *Host) metrics(*request) answer {
	h.lock()
	defer h.mu.Unlock()
	p := h.processors()
	claims, memory, _ := h.claims()
	cores, _ := p.used(claims)
	m := c4.HostMetrics{
		TotalCores: p.cores, AllocatedCores: cores,
		TotalSlots:      p.cores * p.smt * defaultOverprovision,
		CorePercentage:  100 * float64(cores) / float64(p.cores),
		AllocatedRAMMiB: memory, VMs: len(h.vms), Storages: len(h.volumes),
		Bridges: []string{},
	}
	clients := map[string]bool{}
	for _, v := range h.vms {
		m.AllocatedSlots += len(v.Threads)
		m.NICs += len(v.NICs)
		clients[v.Owner] = true
		if v.State == c4.Running {
			m.UsedRAMMiB += v.Pledge.Mem.Capacity
		}
	}
	m.Clients = len(clients)
	for _, n := range h.networks {
		m.Bridges = append(m.Bridges, n.DeviceName)
	}
	for _, vol := range h.volumes {
		m.AllocatedStorageGB += float64(vol.Size) / gigabyte
	}
	return ok(m)
}
