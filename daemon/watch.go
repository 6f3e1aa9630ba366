package daemon

import (
	"cmp"
	"context"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"elemento.cloud/cluster-api-provider-elemento/daemon/rpc"
)

// watch is one stream. It keeps what it has sent instead of what it has to
// send: every message is the difference to what is known at that moment. So a
// reader that is slow gets fewer and larger messages, and nothing piles up.
type watch struct {
	service *service
	stream  rpc.VMService_WatchVMsServer
	tenants []*tenant
	sent    []sent
}

// sent is what a stream last told of a host.
type sent struct {
	observation
	host *rpc.Host
	// fresh is the time of the last observation that the reader knows of.
	fresh time.Time
}

func (s *service) WatchVMs(req *rpc.WatchVMsRequest, stream rpc.VMService_WatchVMsServer) error {
	if err := checkClient(req); err != nil {
		return err
	}
	ctx := stream.Context()
	news := make(chan struct{}, 1)
	w := &watch{service: s, stream: stream, sent: make([]sent, len(s.hosts.all))}
	for _, h := range s.hosts.all {
		t := h.tenant(req.ClientUid)
		w.tenants = append(w.tenants, t)
		defer h.poller.subscribe(news)()
		defer t.poller.subscribe(news)()
	}
	s.metrics.streams.Inc()
	defer s.metrics.streams.Dec()

	if err := w.snapshot(ctx); err != nil {
		return err
	}
	turn := time.NewTicker(s.interval)
	defer turn.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return nil // the reader has had enough
		case <-s.draining.Done():
			return errDraining
		case <-news:
			err = w.changes(false)
		case <-turn.C:
			// The certificate that opened the stream may have ended meanwhile.
			if _, err := s.callers.authorize(ctx, req.ClientUid); err != nil {
				return err
			}
			if err = w.changes(true); err == nil {
				err = w.freshness()
			}
		}
		if err != nil {
			return err
		}
	}
}

// send tells the reader of an event.
func (w *watch) send(event string, msg *rpc.WatchVMsResponse) error {
	msg.Epoch = w.service.epoch
	w.service.metrics.messages.WithLabelValues(event).Inc()
	return w.stream.Send(msg)
}

// snapshot waits a little for the hosts and tells of all of them.
func (w *watch) snapshot(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, straggle)
	defer cancel()
	each(w.service.hosts.all, func(i int, h *host) {
		if _, known := h.known(); !known {
			_, _ = h.info.get(ctx)
		}
		if o, silent := w.tenants[i].last(); silent || time.Since(o.at) > w.service.interval {
			_, _ = w.tenants[i].vms.get(ctx) // the tenant keeps the outcome
		}
	})
	msg := &rpc.Snapshot{Interval: durationpb.New(w.service.interval)}
	for i, t := range w.tenants {
		o, silent := t.last()
		if silent {
			o = observation{}
		}
		observed := t.observed(o, silent)
		msg.Hosts = append(msg.Hosts, observed)
		w.sent[i] = sent{observation: o, host: observed.Host, fresh: o.at}
	}
	return w.send("snapshot", &rpc.WatchVMsResponse{Event: &rpc.WatchVMsResponse_Snapshot{Snapshot: msg}})
}

// changes tells of every host what is new. A changed capacity alone waits for
// the turn.
func (w *watch) changes(turn bool) error {
	for i, t := range w.tenants {
		before := &w.sent[i]
		o, silent := t.last()
		host := t.message(silent)
		if silent {
			o = before.observation // what the reader knows stays as it is
		}
		change := &rpc.HostChange{Host: host}
		if o.version != before.version {
			change.Changed, change.Removed = o.since(before.observation)
		}
		news := len(change.Changed)+len(change.Removed) > 0 || host.Health != before.host.Health || (turn && !sameCapacity(host, before.host))
		before.observation = o
		if !news {
			continue
		}
		if !o.at.IsZero() {
			change.ObservedAt = timestamppb.New(o.at)
		}
		before.host, before.fresh = host, o.at
		if err := w.send("change", &rpc.WatchVMsResponse{Event: &rpc.WatchVMsResponse_Change{Change: change}}); err != nil {
			return err
		}
		if len(change.Changed)+len(change.Removed) > 0 {
			w.service.metrics.lag.Observe(time.Since(o.at).Seconds())
		}
	}
	return nil
}

func sameCapacity(a, b *rpc.Host) bool {
	return a.Architecture == b.Architecture && a.Threads == b.Threads && a.ThreadsUsed == b.ThreadsUsed &&
		a.MemoryMib == b.MemoryMib && a.MemoryAvailableMib == b.MemoryAvailableMib
}

// since returns the VMs that are not as they were before, and the names of
// those that are no more.
func (o observation) since(before observation) (changed []*rpc.VM, removed []string) {
	for name, s := range o.vms {
		if old := before.vms[name]; old == nil || old.msg != s.msg {
			changed = append(changed, s.msg)
		}
	}
	for name := range before.vms {
		if o.vms[name] == nil {
			removed = append(removed, name)
		}
	}
	slices.SortFunc(changed, func(a, b *rpc.VM) int { return cmp.Compare(a.Name, b.Name) })
	slices.Sort(removed)
	return changed, removed
}

// freshness tells which hosts have been asked since. It comes also when none has
// answered: a stream that is silent would be taken for broken.
func (w *watch) freshness() error {
	msg := &rpc.Freshness{ObservedAt: map[string]*timestamppb.Timestamp{}}
	for i, t := range w.tenants {
		if o := w.sent[i].observation; o.at.After(w.sent[i].fresh) {
			msg.ObservedAt[t.host.ID] = timestamppb.New(o.at)
			w.sent[i].fresh = o.at
		}
	}
	return w.send("freshness", &rpc.WatchVMsResponse{Event: &rpc.WatchVMsResponse_Freshness{Freshness: msg}})
}
