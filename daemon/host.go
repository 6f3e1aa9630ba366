package daemon

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"elemento.cloud/cluster-api-provider-elemento/c4"
	"elemento.cloud/cluster-api-provider-elemento/daemon/rpc"
)

// maxDeadline is the longest deadline that a call may have.
const maxDeadline = 2 * time.Minute

// host is a hypervisor and what this daemon knows of it.
type host struct {
	Host
	c4       *c4.Client
	interval time.Duration
	settle   time.Duration // see Config.HostSettleTime
	log      *slog.Logger
	// spawn runs a function beside its caller and is waited for when the daemon
	// ends; the function must end with its context.
	spawn func(context.Context, func(context.Context))

	// What all clients share on this host.
	info     shared[c4.HostInfo]
	networks shared[[]c4.Network]
	forwards shared[[]c4.Forward]
	poller   poller

	// making holds one who makes a network of a client and name at a time.
	making keyLock[networkKey]
	// unseen are managed networks that the host was asked for and that no look
	// has shown yet.
	unseen late[networkKey]
	// forwarding holds one who changes the forward of a port at a time.
	forwarding keyLock[uint32]
	// pointing are the ports of which a request to forward them ended without an
	// answer.
	pointing late[uint32]

	mu           sync.Mutex
	tenants      map[string]*tenant
	cut          bool      // the last question did not even reach the host
	back         time.Time // when it was reached again after that; zero if it always was
	standing     standing  // as it answers what it is like
	failedAt     time.Time
	lastSeen     time.Time
	hardware     *c4.HostInfo          // as it was last told, nil before
	asked        time.Time             // when hardware was asked for
	changed      time.Time             // when something was last placed on or taken from the host
	lastNetworks map[string]c4.Network // by UID
	owners       bool                  // forwards tell whose they are
}

func newHost(cfg Host, interval time.Duration, m *metrics, log *slog.Logger, spawn func(context.Context, func(context.Context))) (*host, error) {
	h := &host{Host: cfg, interval: interval, log: log, spawn: spawn, tenants: map[string]*tenant{}}
	bearer, err := readToken(cfg.TokenFile, log)
	if err != nil {
		return nil, err
	}
	h.c4, err = c4.New(c4.Config{
		URL: cfg.URL, Fingerprint: cfg.Fingerprint, Timeout: maxDeadline,
		Observe: func(ctx context.Context, o c4.Observation) {
			m.observeC4(cfg.ID, o)
			h.tellOf(ctx, o)
		},
		RequestHeader: func(ctx context.Context, header http.Header) {
			if id := requestID(ctx); id != "" {
				header.Set("X-Request-Id", id)
			}
			if word := bearer.current(); word != "" {
				header.Set("Authorization", "Bearer "+word)
			}
		},
	})
	if err != nil {
		return nil, err
	}
	h.info = shared[c4.HostInfo]{ask: h.askInfo, spawn: spawn}
	h.networks = shared[[]c4.Network]{ask: h.askNetworks, spawn: spawn}
	h.forwards = shared[[]c4.Forward]{ask: h.askForwards, spawn: spawn}
	h.poller = poller{
		look: func(ctx context.Context) {
			h.guarded(ctx, func() { _, _ = h.info.get(ctx) }) // askInfo keeps the outcome
		},
		pace:  func(time.Duration) (time.Duration, bool) { return interval, h.poller.watched() },
		spawn: spawn,
	}
	return h, nil
}

// tellOf writes, for debugging, a line of what was asked of the host for a request.
// What is asked again and again, for nobody in particular, leaves none.
func (h *host) tellOf(ctx context.Context, o c4.Observation) {
	id := requestID(ctx)
	if id == "" || !h.log.Enabled(ctx, slog.LevelDebug) {
		return
	}
	h.log.DebugContext(ctx, "asked a host", append([]any{"requestID", id, "host", h.ID, "c4", o.Call, "took", o.Duration}, outcomeOf(o.Err)...)...)
}

// outcomeOf is what a log says of what a host answered: not its words, which may repeat
// what it was sent.
func outcomeOf(err error) []any {
	e, ok := errors.AsType[*c4.Error](err)
	switch {
	case err == nil:
		return []any{"outcome", "OK"}
	case ok && e.Status != 0:
		return []any{"outcome", e.Code.String(), "status", e.Status}
	}
	return []any{"outcome", c4.CodeOf(err).String(), "err", err}
}

// tellHealth writes that the host's health is another one now; why, where it is
// silent.
func (h *host) tellHealth(health rpc.HostHealth, err error) {
	switch health {
	case rpc.HostHealth_HOST_HEALTH_UNSPECIFIED:
	case rpc.HostHealth_HOST_HEALTH_UNREACHABLE:
		h.log.Warn("a host does not answer", append([]any{"host", h.ID, "domain", h.Domain}, outcomeOf(err)...)...)
	default:
		h.log.Info("a host answers", "host", h.ID, "domain", h.Domain, "state", healthStates[health])
	}
}

// tenant returns what is known of a client's VMs on this host.
func (h *host) tenant(clientUID string) *tenant {
	h.mu.Lock()
	defer h.mu.Unlock()
	t := h.tenants[clientUID]
	if t == nil {
		t = newTenant(h, clientUID)
		h.tenants[clientUID] = t
	}
	return t
}

func (h *host) askInfo(ctx context.Context) (c4.HostInfo, error) {
	began := time.Now()
	info, err := h.c4.Info(ctx)
	h.answered(err, &h.standing)
	if err != nil {
		return info, err
	}
	h.mu.Lock()
	rested := h.hardware != nil && h.hardware.Maintenance
	news := h.hardware == nil || rested != info.Maintenance
	h.hardware, h.asked = &info, began
	h.mu.Unlock()
	if rested != info.Maintenance {
		h.tellHealth(h.health(), nil)
	}
	if news {
		h.poller.announce()
	}
	return info, nil
}

func (h *host) askNetworks(ctx context.Context) ([]c4.Network, error) {
	began := time.Now()
	networks, err := h.c4.Networks(ctx)
	if err != nil {
		return nil, err
	}
	known := make(map[string]c4.Network, len(networks))
	for _, n := range networks {
		known[n.NetworkUID] = n
		h.unseen.landed(networkKey{n.CreatorUID, n.Name}, began)
	}
	h.mu.Lock()
	h.lastNetworks = known
	h.mu.Unlock()
	return networks, nil
}

func (h *host) askForwards(ctx context.Context) ([]c4.Forward, error) {
	forwards, err := h.c4.Forwards(ctx)
	if slices.ContainsFunc(forwards, func(f c4.Forward) bool { return f.CreatorUID != "" }) {
		h.mu.Lock()
		h.owners = true
		h.mu.Unlock()
	}
	return forwards, err
}

// tellsOwners tells whether the host says whose its forwards are, as far as is
// known.
func (h *host) tellsOwners() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.owners
}

// networkNames translates network UIDs, as far as they are known.
func (h *host) networkNames() map[string]string {
	h.mu.Lock()
	defer h.mu.Unlock()
	names := make(map[string]string, len(h.lastNetworks))
	for uid, n := range h.lastNetworks {
		names[uid] = n.Name
	}
	return names
}

// networkOf returns a network by its UID, asking only if it is new: what is
// known of a network does not change.
func (h *host) networkOf(ctx context.Context, uid string) (c4.Network, error) {
	h.mu.Lock()
	n, known := h.lastNetworks[uid]
	h.mu.Unlock()
	if known {
		return n, nil
	}
	if _, err := h.lookNetworks(ctx); err != nil {
		return c4.Network{}, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.lastNetworks[uid], nil
}

// answered records whether a question was answered, in the standing that the
// question has, if any, and tells whether that makes it another one. A host that is
// not even reached is unreachable at once, until it answers something.
func (h *host) answered(err error, in *standing) (changed bool) {
	before := h.health()
	now := time.Now()
	h.mu.Lock()
	switch code := c4.CodeOf(err); {
	case err == nil:
		if h.cut || h.lastSeen.IsZero() && !h.failedAt.IsZero() {
			h.back = now
		}
		h.cut, h.lastSeen = false, now
	case code == c4.Unreachable || code == c4.Untrusted:
		h.cut, h.failedAt = true, now
		in = nil
	default:
		h.failedAt = now
	}
	if in != nil {
		changed = in.answered(err == nil, now, h.interval)
	}
	h.mu.Unlock()
	if health := h.health(); health != before {
		h.tellHealth(health, err)
		h.poller.announce()
	}
	return changed
}

// settling is the failure of who would take for gone what a host does not show, in
// whichever standing he asked, while the host has not answered for long enough since it
// came back. It is nil where the host is believed.
func (h *host) settling(in *standing) error {
	h.mu.Lock()
	back := h.back
	if in.back.After(back) {
		back = in.back
	}
	away := h.cut || in.silent && in.back.IsZero()
	left := h.settle - time.Since(back)
	h.mu.Unlock()
	switch {
	case h.settle == 0 || !away && (back.IsZero() || left <= 0):
		return nil
	case away:
		left = h.settle
	}
	if away && !h.poller.watched() {
		h.poller.kick() // nothing else finds out that it is back
	}
	return failf(rpc.Reason_REASON_WRONG_STATE, h.ID, "host %s has only just come back and may not list yet what it has; believing it in %s at the earliest", h.ID, left.Round(100*time.Millisecond))
}

// health is that of the host as it tells what it is like.
func (h *host) health() rpc.HostHealth {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.healthIf(h.standing.silent)
}

// healthIf is the host's health for whom it is silent or not. The caller holds mu.
func (h *host) healthIf(silent bool) rpc.HostHealth {
	switch {
	case h.cut || silent || (h.lastSeen.IsZero() && !h.failedAt.IsZero()):
		return rpc.HostHealth_HOST_HEALTH_UNREACHABLE
	case h.lastSeen.IsZero():
		return rpc.HostHealth_HOST_HEALTH_UNSPECIFIED
	case h.hardware != nil && h.hardware.Maintenance:
		return rpc.HostHealth_HOST_HEALTH_MAINTENANCE
	}
	return rpc.HostHealth_HOST_HEALTH_READY
}

// fresh tells whether what is known of the host's capacity is good enough to
// place a VM by: young, and not from before the last VM was placed here.
func (h *host) fresh() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.hardware != nil && h.asked.After(h.changed) && time.Since(h.asked) < h.interval
}

// worthAsking is false for a host that has just failed to answer: asking it
// again would only hold up a caller who has other hosts.
func (h *host) worthAsking() bool {
	silent := h.health() == rpc.HostHealth_HOST_HEALTH_UNREACHABLE
	h.mu.Lock()
	defer h.mu.Unlock()
	return !silent || time.Since(h.failedAt) > 5*h.interval
}

// capacityChanged says that what is known of the host's capacity is outdated.
func (h *host) capacityChanged() {
	h.mu.Lock()
	h.changed = time.Now()
	h.mu.Unlock()
}

// known returns the host's hardware as it was last told.
func (h *host) known() (c4.HostInfo, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.hardware == nil {
		return c4.HostInfo{}, false
	}
	return *h.hardware, true
}

// room is the memory in MB that the host has last told to be available.
func (h *host) room() int64 {
	info, _ := h.known()
	return info.Mem.Avail
}

// message is the host as callers see it.
func (h *host) message() *rpc.Host {
	m := &rpc.Host{Id: h.ID, Domain: h.Domain, Health: h.health()}
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.lastSeen.IsZero() {
		m.LastSeen = timestamppb.New(h.lastSeen)
	}
	if info := h.hardware; info != nil {
		m.Architecture = info.CPU.Arch
		m.Threads, m.ThreadsUsed = count(info.CPU.MaxThreads), count(info.CPU.UsedThreads)
		m.MemoryMib, m.MemoryAvailableMib = uint64(max(info.Mem.Size, 0)), uint64(max(info.Mem.Avail, 0))
	}
	return m
}

// count turns a number that a host reports into one that cannot be negative.
func count(n int) uint32 { return uint32(min(max(n, 0), 1<<31-1)) }

// hosts is all hosts of the site.
type hosts struct {
	byID map[string]*host
	all  []*host // by ID
}

func (hs hosts) get(id string) (*host, error) {
	if h := hs.byID[id]; h != nil {
		return h, nil
	}
	return nil, failf(rpc.Reason_REASON_HOST_UNKNOWN, id, "host %q is not in this daemon's configuration; add it under hosts, or delete what still refers to it", id)
}

// in returns the hosts of the domains by ID; of all domains if none is named.
func (hs hosts) in(domains ...string) ([]*host, error) {
	if len(domains) == 0 {
		return hs.all, nil
	}
	var found []*host
	for _, d := range slices.Compact(slices.Sorted(slices.Values(domains))) {
		before := len(found)
		for _, h := range hs.all {
			if h.Domain == d {
				found = append(found, h)
			}
		}
		if len(found) == before {
			return nil, failf(rpc.Reason_REASON_DOMAIN_UNKNOWN, "", "no host of domain %q is in this daemon's configuration; the domains are: %s", d, strings.Join(hs.domains(), ", "))
		}
	}
	return found, nil
}

// besides returns all hosts but one.
func (hs hosts) besides(one *host) []*host {
	return slices.DeleteFunc(slices.Clone(hs.all), func(h *host) bool { return h == one })
}

func (hs hosts) domains() []string {
	var names []string
	for _, h := range hs.all {
		names = append(names, h.Domain)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// each runs f for every host at the same time and waits for all. f brings its
// own way to hand over results; i is the host's place in the list.
func each(list []*host, f func(i int, h *host)) {
	atOnce(len(list), func(i int) { f(i, list[i]) })
}
