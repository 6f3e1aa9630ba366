package daemon

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"elemento.cloud/cluster-api-provider-elemento/c4"
	"elemento.cloud/cluster-api-provider-elemento/daemon/rpc"
)

// metrics are the daemon's own; several daemons in a process have theirs each.
type metrics struct {
	registry *prometheus.Registry
	calls    *prometheus.HistogramVec
	c4       *prometheus.HistogramVec
	health   *prometheus.GaugeVec
	doubles  *prometheus.GaugeVec
	streams  prometheus.Gauge
	lag      prometheus.Histogram
}

// latencies in seconds, from a call answered from memory to a deadline.
var latencies = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 120}

func newMetrics() *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		calls: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "elemento_daemon_grpc_duration_seconds", Help: "Duration of gRPC calls, by method and code.", Buckets: latencies,
		}, []string{"method", "code"}),
		c4: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "elemento_daemon_c4_duration_seconds", Help: "Duration of C4 calls, by host, call and outcome.", Buckets: latencies,
		}, []string{"host", "call", "code"}),
		health: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "elemento_daemon_host_health", Help: "1 for the state that a host is in, 0 for the others.",
		}, []string{"host", "domain", "state"}),
		doubles: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "elemento_daemon_vm_doubles", Help: "Names that more than one VM of a client has on a host.",
		}, []string{"host", "client"}),
		streams: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "elemento_daemon_watch_streams", Help: "Watches that are open.",
		}),
		lag: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "elemento_daemon_watch_lag_seconds", Help: "From asking a host to having sent what was new to a watcher.", Buckets: latencies,
		}),
	}
	m.registry.MustRegister(m.calls, m.c4, m.health, m.doubles, m.streams, m.lag,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func (m *metrics) observeC4(host string, o c4.Observation) {
	code := "OK"
	if o.Err != nil {
		code = c4.CodeOf(o.Err).String()
	}
	m.c4.WithLabelValues(host, o.Call, code).Observe(o.Duration.Seconds())
}

// states are the values of the label "state".
var states = map[rpc.HostHealth]string{
	rpc.HostHealth_HOST_HEALTH_READY:       "ready",
	rpc.HostHealth_HOST_HEALTH_MAINTENANCE: "maintenance",
	rpc.HostHealth_HOST_HEALTH_UNREACHABLE: "unreachable",
}

func (m *metrics) setHealth(host, domain string, health rpc.HostHealth) {
	for h, state := range states {
		value := 0.0
		if h == health {
			value = 1
		}
		m.health.WithLabelValues(host, domain, state).Set(value)
	}
}

func (m *metrics) setDoubles(host, client string, n int) {
	m.doubles.WithLabelValues(host, client).Set(float64(n))
}

// showExpiry adds when the daemon's certificate ends.
func (m *metrics) showExpiry(expires func() time.Time) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "elemento_daemon_certificate_expiry_timestamp_seconds", Help: "When the daemon's certificate ends.",
	}, func() float64 { return float64(expires().Unix()) }))
}
