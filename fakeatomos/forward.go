package fakeatomos

import (
	"cmp"
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"elemento.cloud/cluster-api-provider-elemento/c4"
)

// dialTimeout bounds how long a forward tries to reach its target.
const dialTimeout = 5 * time.Second

// forward leads a port of the host to a port of a guest. It stays when its VM
// goes; connections then end at once.
type forward struct {
	forwardRecord
	listener net.Listener // nil while the host is down
}

type forwardRecord struct {
	c4.Forward
	Sequence int64 `json:"sequence"`
}

// hangUp ends listening.
func (fw *forward) hangUp() {
	if fw.listener != nil {
		_ = fw.listener.Close()
		fw.listener = nil
	}
}

// listen opens a forward's port. The caller holds the lock; the host has power.
func (h *Host) listen(fw *forward) error {
	l, err := listenTCP(h.opts.Address, fw.Port)
	if err != nil {
		return err
	}
	fw.listener = l
	power, port := h.power, fw.Port
	h.fake.work.Go(func() {
		for {
			from, err := l.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				h.log.Warn("forward", "port", port, "err", err)
				if !sleep(power, 50*time.Millisecond) { // out of file descriptors, say
					return
				}
				continue
			}
			h.fake.work.Go(func() { h.carry(power, from, port) })
		}
	})
	return nil
}

// carry joins a connection on a port to the target that its forward has now,
// until either side ends, the target cannot be reached, or the host loses
// power. As with connection tracking, an established connection outlives its
// forward.
func (h *Host) carry(power context.Context, from net.Conn, port int) {
	defer from.Close()
	target, ok := h.targetOf(port)
	if !ok {
		return
	}
	// From the host's own address, which is how a guest behind NAT knows it.
	dialer := net.Dialer{Timeout: dialTimeout, LocalAddr: &net.TCPAddr{IP: h.opts.Address.AsSlice()}}
	to, err := dialer.DialContext(power, "tcp4", target.String())
	if err != nil {
		return
	}
	defer to.Close()
	stop := context.AfterFunc(power, func() { _, _ = from.Close(), to.Close() })
	defer stop()
	var both sync.WaitGroup
	both.Go(func() { pipe(to, from) })
	both.Go(func() { pipe(from, to) })
	both.Wait()
}

// pipe copies one direction and passes its end on; an error ends both.
func pipe(to, from net.Conn) {
	if _, err := io.Copy(to, from); err != nil {
		_, _ = from.Close(), to.Close()
		return
	}
	if half, ok := to.(*net.TCPConn); ok {
		_ = half.CloseWrite()
	}
}

// targetOf finds the guest that a port leads to, by its address or else by its
// VM; false when this host cannot reach it.
func (h *Host) targetOf(port int) (netip.AddrPort, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	fw := h.forwardAt(port)
	if fw == nil {
		return netip.AddrPort{}, false
	}
	address, err := netip.ParseAddr(fw.Target)
	if v := h.vms[fw.TargetVMUID]; err != nil && v != nil {
		address = v.address()
	}
	return netip.AddrPortFrom(address, uint16(fw.TargetPort)), address.IsValid() && h.fake.leases.reachable(h.opts.Address, address)
}

func (h *Host) forwardAt(port int) *forward {
	for _, fw := range h.forwards {
		if fw.Port == port {
			return fw
		}
	}
	return nil
}

func (h *Host) createForward(r *request, in c4.Forward) answer {
	h.lock()
	defer h.mu.Unlock()
	switch {
	case in.Protocol != "tcp":
		return refuse(http.StatusBadRequest, "protocol %q is not tcp", in.Protocol)
	case in.Port < 1 || in.Port > 65535 || in.TargetPort < 1 || in.TargetPort > 65535:
		return refuse(http.StatusBadRequest, "port and target_port must be between 1 and 65535")
	case in.Target == "" && in.TargetVMUID == "":
		return refuse(http.StatusBadRequest, "target and target_vm_uid are both empty")
	}
	if in.Target != "" {
		if a, err := netip.ParseAddr(in.Target); err != nil || !a.Is4() {
			return refuse(http.StatusBadRequest, "target %q is not an IPv4 address", in.Target)
		}
	}
	if in.TargetVMUID != "" {
		if h.vms[in.TargetVMUID] == nil {
			return notFound()
		}
	}
	before := h.forwardAt(in.Port)
	if slices.Contains(c4Ports, in.Port) || before != nil && !in.Force {
		return refuse(http.StatusConflict, "in_use")
	}
	fw := &forward{forwardRecord: forwardRecord{in, h.next()}}
	fw.ForwardUID, fw.Force = uuid.NewString(), false
	if before != nil {
		fw.listener, before.listener = before.listener, nil // no moment without one
	}
	if fw.listener == nil {
		if err := h.listen(fw); err != nil {
			return refuse(http.StatusConflict, "in_use")
		}
	}
	if before != nil {
		h.dropForward(before)
	}
	h.forwards[fw.ForwardUID] = fw
	h.state.put("forwards", fw.ForwardUID, fw.forwardRecord)
	h.tellForward(fw, "made")
	r.entry.ID = fw.ForwardUID
	return ok(fw.Forward)
}

func (h *Host) dropForward(fw *forward) {
	fw.hangUp()
	delete(h.forwards, fw.ForwardUID)
	h.state.delete("forwards", fw.ForwardUID)
	h.tellForward(fw, "removed")
}

// deleteForward cannot check an owner: the call names none.
func (h *Host) deleteForward(_ *request, ref c4.ForwardRef) answer {
	h.lock()
	defer h.mu.Unlock()
	fw := h.forwards[ref.ForwardUID]
	if fw == nil {
		return notFound()
	}
	h.dropForward(fw)
	return ok("OK")
}

func (h *Host) listForwards(*request) answer {
	h.lock()
	defer h.mu.Unlock()
	list := []c4.Forward{}
	for _, fw := range h.forwardsInOrder() {
		if h.lists() {
			list = append(list, fw.Forward)
		}
	}
	return ok(list)
}

func (h *Host) forwardsInOrder() []*forward {
	return slices.SortedFunc(maps.Values(h.forwards), func(a, b *forward) int { return cmp.Compare(a.Sequence, b.Sequence) })
}
