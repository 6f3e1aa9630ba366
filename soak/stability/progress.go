package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// progress tells how far a run has come: as metrics, and once a minute on the
// terminal.
type progress struct {
	elapsed, duration, turns, failed, violations, faults prometheus.Gauge

	// address is where it is told.
	address  string
	registry *prometheus.Registry
	server   *http.Server
	done     chan struct{}
	said     time.Time
}

func serveProgress(address string) (*progress, error) {
	registry := prometheus.NewRegistry()
	gauge := func(name, help string) prometheus.Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: "elemento_soak_" + name, Help: help})
		registry.MustRegister(g)
		return g
	}
	p := &progress{
		elapsed:    gauge("elapsed_seconds", "How long the workload has run, all parts of the run together."),
		duration:   gauge("duration_seconds", "How long it is to run."),
		turns:      gauge("clusters", "Clusters that came and went, in this part of the run."),
		failed:     gauge("failed_reconciles", "Failed reconcile loops of our manager, in this part of the run."),
		violations: gauge("violations", "Violations that the validators have found."),
		faults:     gauge("faults", "Faults that were set, in this part of the run."),
		registry:   registry,
		done:       make(chan struct{}),
	}
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("--metrics %s: %w", address, err)
	}
	p.server = &http.Server{Handler: promhttp.HandlerFor(registry, promhttp.HandlerOpts{}), ReadHeaderTimeout: 10 * time.Second}
	go func() {
		defer close(p.done)
		if err := p.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			fmt.Fprintln(os.Stdout, "the progress is no longer told:", err)
		}
	}()
	p.address = l.Addr().String()
	fmt.Fprintf(os.Stdout, "           progress as metrics at http://%s/metrics\n", p.address)
	return p, nil
}

func (p *progress) close() {
	_ = p.server.Close()
	<-p.done
}

func (p *progress) update(s *soak, violations int) {
	duration, elapsed := s.checkpoint.Settings.Duration, s.checkpoint.elapsed()
	s.mu.Lock()
	failed := s.failed
	s.mu.Unlock()
	faults := s.faultsSet()
	p.elapsed.Set(elapsed.Seconds())
	p.duration.Set(duration.Seconds())
	p.turns.Set(float64(s.turns.Load()))
	p.failed.Set(failed)
	p.violations.Set(float64(violations))
	p.faults.Set(float64(faults))
	if time.Since(p.said) < time.Minute {
		return
	}
	p.said = time.Now()
	fmt.Fprintf(os.Stdout, "           %s of %s: %d clusters came and went, %d faults, %.0f failed loops, %d violations\n",
		elapsed.Round(time.Second), duration, s.turns.Load(), faults, failed, violations)
}
