package fakeatomos

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// controlServer is where tests in other processes steer the fake. It is no
// part of AtomOS and speaks plain HTTP and JSON:
//
//	GET    /inventory               Inventory
//	POST   /hosts/{name}/{event}    what befalls a host: see hostEvents
//	POST   /domains/{name}/{event}  down, up
//	POST   /vms/{name}/{event}      what befalls a VM, on ?host= or anywhere: see vmEvents
//	GET    /calls                   counts of C4 calls by host and call
//	GET    /metrics                 the fake and its process, for Prometheus: docs/metrics.md
//	GET    /journal?since=N         entries of changing calls after N
//	GET    /faults                  the faults in force
//	POST   /faults                  adds a Fault, answers it with its ID
//	DELETE /faults[/{id}]           removes one, or all
type controlServer struct {
	url     string
	server  *http.Server
	serving sync.WaitGroup
}

func serveControl(f *Fake, address string) (*controlServer, error) {
	var config net.ListenConfig
	l, err := config.Listen(f.ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	c := &controlServer{
		url:    "http://" + l.Addr().String(),
		server: &http.Server{Handler: controlHandler(f), ReadHeaderTimeout: 10 * time.Second},
	}
	c.serving.Go(func() {
		if err := c.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			f.opts.Log.Error("control listener ended", "err", err)
		}
	})
	return c, nil
}

func (c *controlServer) close() {
	_ = c.server.Close()
	c.serving.Wait()
}

func controlHandler(f *Fake) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(prometheus.Gatherers{prometheus.DefaultGatherer, f.metrics.registry}, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /inventory", func(w http.ResponseWriter, _ *http.Request) { ok(f.Inventory()).write(w) })
	mux.HandleFunc("GET /calls", func(w http.ResponseWriter, _ *http.Request) { ok(f.Calls()).write(w) })
	mux.HandleFunc("GET /journal", func(w http.ResponseWriter, r *http.Request) {
		since, err := int64(0), error(nil)
		if s := r.URL.Query().Get("since"); s != "" {
			since, err = strconv.ParseInt(s, 10, 64)
		}
		if err != nil {
			refuse(http.StatusBadRequest, "since is not a number").write(w)
			return
		}
		ok(f.Journal(since)).write(w)
	})
	mux.HandleFunc("GET /faults", func(w http.ResponseWriter, _ *http.Request) { ok(f.Faults()).write(w) })
	mux.HandleFunc("POST /faults", func(w http.ResponseWriter, r *http.Request) {
		var fault Fault
		raw, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
		if err == nil {
			err = json.Unmarshal(raw, &fault)
		}
		if err == nil {
			fault.ID, err = f.AddFault(fault)
		}
		if err != nil {
			refuse(http.StatusBadRequest, "%v", err).write(w)
			return
		}
		ok(fault).write(w)
	})
	mux.HandleFunc("DELETE /faults", func(w http.ResponseWriter, _ *http.Request) {
		f.RemoveFaults("")
		noContent.write(w)
	})
	mux.HandleFunc("DELETE /faults/{id}", func(w http.ResponseWriter, r *http.Request) {
		f.RemoveFaults(r.PathValue("id"))
		noContent.write(w)
	})
	mux.HandleFunc("POST /hosts/{name}/{event}", func(w http.ResponseWriter, r *http.Request) {
		h, err := f.Host(r.PathValue("name"))
		if err != nil {
			refuse(http.StatusNotFound, "%v", err).write(w)
			return
		}
		befall(w, r, hostEvents, h)
	})
	mux.HandleFunc("POST /domains/{name}/{event}", func(w http.ResponseWriter, r *http.Request) {
		befall(w, r, domainEvents, domainOf{f, r.PathValue("name")})
	})
	mux.HandleFunc("POST /vms/{name}/{event}", func(w http.ResponseWriter, r *http.Request) {
		befall(w, r, vmEvents, vmOf{f, r.URL.Query().Get("host"), r.PathValue("name")})
	})
	return mux
}

// happening is an event as it comes over the wire: what befalls whom, with a
// body that may say more.
type happening[T any] func(whom T, body []byte) error

// befall serves an event.
func befall[T any](w http.ResponseWriter, r *http.Request, events map[string]happening[T], whom T) {
	event := events[r.PathValue("event")]
	if event == nil {
		refuse(http.StatusNotFound, "event %q: use one of %v", r.PathValue("event"), sortedKeys(events)).write(w)
		return
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err == nil {
		err = event(whom, body)
	}
	if err != nil {
		refuse(http.StatusConflict, "%v", err).write(w)
		return
	}
	noContent.write(w)
}

// saying decodes the body of an event.
func saying[T, B any](do func(T, B) error) happening[T] {
	return func(whom T, raw []byte) error {
		var body B
		if err := decodeStrictly(raw, &body); err != nil {
			return fmt.Errorf("the body is not that of this event: %w", err)
		}
		return do(whom, body)
	}
}

// plainly is an event without a body.
func plainly[T any](do func(T) error) happening[T] {
	return func(whom T, _ []byte) error { return do(whom) }
}

// The bodies of events.
type (
	switchBody struct {
		On bool `json:"on"`
	}
	slowBody struct {
		Delay duration `json:"delay"`
	}
	bootsBody struct {
		Time duration `json:"time"`
	}
	blankBody struct {
		After duration `json:"after"`
	}
	capacityBody struct {
		Slots     int   `json:"slots"`
		MemoryMiB int64 `json:"memoryMiB"`
	}
	clockBody struct {
		By string `json:"by"` // such as "-1h"
	}
	wipeBody struct {
		Disks bool `json:"disks"`
	}
	vanishBody struct {
		Volumes bool `json:"volumes"`
	}
)

var hostEvents = map[string]happening[*Host]{
	"down":        plainly(func(h *Host) error { h.Down(); return nil }),
	"up":          plainly((*Host).Up),
	"isolate":     plainly(func(h *Host) error { h.Isolate(); return nil }),
	"reconnect":   plainly((*Host).Reconnect),
	"maintenance": saying(func(h *Host, b switchBody) error { h.SetMaintenance(b.On); return nil }),
	"slow":        saying(func(h *Host, b slowBody) error { h.SetSlow(time.Duration(b.Delay)); return nil }),
	"boots":       saying(func(h *Host, b bootsBody) error { h.SetBootTime(time.Duration(b.Time)); return nil }),
	"blank":       saying(func(h *Host, b blankBody) error { h.SetBlank(time.Duration(b.After)); return nil }),
	"capacity":    saying(func(h *Host, b capacityBody) error { h.SetCapacity(b.Slots, b.MemoryMiB); return nil }),
	"community":   saying(func(h *Host, b switchBody) error { h.SetCommunity(b.On); return nil }),
	"clock": saying(func(h *Host, b clockBody) error {
		by, err := time.ParseDuration(b.By)
		if err == nil {
			h.ShiftClock(by)
		}
		return err
	}),
	"wipe": saying(func(h *Host, b wipeBody) error { h.Wipe(b.Disks); return nil }),
}

// domainOf is a domain of a fake.
type domainOf struct {
	fake *Fake
	name string
}

var domainEvents = map[string]happening[domainOf]{
	"down": plainly(func(d domainOf) error { return d.fake.DomainDown(d.name) }),
	"up":   plainly(func(d domainOf) error { return d.fake.DomainUp(d.name) }),
}

// vmOf are the VMs of a name, on one host or all.
type vmOf struct {
	fake       *Fake
	host, name string
}

var vmEvents = map[string]happening[vmOf]{
	"crash":  plainly(func(v vmOf) error { return v.fake.CrashVM(v.host, v.name) }),
	"cut":    plainly(func(v vmOf) error { return v.fake.CutVM(v.host, v.name) }),
	"mend":   plainly(func(v vmOf) error { return v.fake.MendVM(v.host, v.name) }),
	"vanish": saying(func(v vmOf, b vanishBody) error { return v.fake.VanishVM(v.host, v.name, b.Volumes) }),
	"change": saying(func(v vmOf, c Change) error { return v.fake.ChangeVM(v.host, v.name, c) }),
}
