package fakeatomos

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// controlServer is where tests in other processes steer the fake. It is no
// part of AtomOS and speaks plain HTTP and JSON:
//
//	GET    /inventory               Inventory
//	POST   /hosts/{name}/{action}   down, up, maintenance, normal
//	GET    /calls                   counts of C4 calls by host and call
//	GET    /metrics                 the process, for Prometheus
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
	mux.Handle("GET /metrics", promhttp.Handler())
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
	mux.HandleFunc("POST /hosts/{name}/{action}", func(w http.ResponseWriter, r *http.Request) {
		h, err := f.Host(r.PathValue("name"))
		if err != nil {
			refuse(http.StatusNotFound, "%v", err).write(w)
			return
		}
		switch action := r.PathValue("action"); action {
		case "down":
			h.Down()
		case "up":
			if err := h.Up(); err != nil {
				refuse(http.StatusConflict, "%v", err).write(w)
				return
			}
		case "maintenance":
			h.SetMaintenance(true)
		case "normal":
			h.SetMaintenance(false)
		default:
			refuse(http.StatusNotFound, "action %q: use down, up, maintenance or normal", action).write(w)
			return
		}
		noContent.write(w)
	})
	return mux
}
