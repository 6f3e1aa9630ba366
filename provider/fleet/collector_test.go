package fleet

import (
	"context"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
)

// Several identities act for one client.
func TestADaemonIsAsSilentAsToTheIdentityThatHeardItLastAndTheFirstCertificateToEndIsTold(t *testing.T) {
	t.Parallel()
	f := New(logr.Discard())
	now := time.Now()
	heard := func(ago time.Duration, alive bool) *Member {
		return &Member{clientUID: "client", expires: now.Add(ago), daemons: []*daemon{{endpoint: "daemon-1", heard: now.Add(-ago), alive: alive}}}
	}
	f.members = map[string]*Member{"a": heard(time.Hour, false), "b": heard(time.Minute, true), "c": heard(2*time.Hour, false)}
	registry := prometheus.NewRegistry()
	registry.MustRegister(&Collector{Fleet: f, Expected: func(context.Context, string) bool { return true }})
	for range 20 { // members come in any order
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		shown := map[string]float64{}
		for _, family := range families {
			for _, m := range family.GetMetric() {
				shown[family.GetName()] = m.GetGauge().GetValue()
			}
		}
		if up, silence := shown["elemento_daemon_stream_up"], shown["elemento_daemon_stream_silence_seconds"]; up != 1 || silence < 60 || silence > 600 {
			t.Fatalf("the stream is up: %v, and the daemon was heard %v s ago, want 1 and a minute", up, silence)
		}
		if ends, want := shown["elemento_identity_certificate_expiry_timestamp_seconds"], float64(now.Add(time.Minute).Unix()); ends != want {
			t.Fatalf("the first certificate ends at %v, want %v", ends, want)
		}
	}
}
