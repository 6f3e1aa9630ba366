package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"strconv"
	"time"
)

// engine answers what the peer asks of a Docker Engine also where its machines are in
// memory: whether it is there, and, for the capacity in its templates, how large its
// machine is.
type engine struct {
	server *http.Server
	done   chan error
}

// engineVersion is one of Docker's API that the peer's client speaks.
const engineVersion = "1.51"

// startEngine listens on a port of an address.
func startEngine(ctx context.Context, address string, port int) (*engine, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(address, strconv.Itoa(port)))
	if err != nil {
		return nil, fmt.Errorf("answering in the place of a Docker Engine: %w", err)
	}
	answers := http.NewServeMux()
	answers.HandleFunc("/_ping", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Api-Version", engineVersion)
		w.Header().Set("Ostype", "linux")
		fmt.Fprint(w, "OK")
	})
	answers.HandleFunc("GET /v"+engineVersion+"/info", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"OSType": "linux", "NCPU": runtime.NumCPU(), "MemTotal": 4 << 30})
	})
	e := &engine{server: &http.Server{Handler: answers, ReadHeaderTimeout: 10 * time.Second}, done: make(chan error, 1)}
	go func() { e.done <- e.server.Serve(listener) }()
	return e, nil
}

// close ends it.
func (e *engine) close() error {
	err := e.server.Close()
	if served := <-e.done; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}
