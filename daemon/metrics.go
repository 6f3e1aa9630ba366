package daemon

import (
	"maps"
	"slices"
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
	streams  prometheus.Gauge
	messages *prometheus.CounterVec
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
		streams: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "elemento_daemon_watch_streams", Help: "Watches that are open.",
		}),
		messages: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "elemento_daemon_watch_messages_total", Help: "Messages sent to watchers, by event: snapshot, change, freshness.",
		}, []string{"event"}),
		lag: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "elemento_daemon_watch_lag_seconds", Help: "From asking a host to having sent what was new to a watcher.", Buckets: latencies,
		}),
	}
	m.registry.MustRegister(m.calls, m.c4, m.streams, m.messages, m.lag,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// observeCall measures a gRPC call. Whoever calls what there is not does not make
// the series more.
func (m *metrics) observeCall(fullMethod, name, code string, took time.Duration) {
	if _, known := changing[fullMethod]; !known {
		name = "unknown"
	}
	m.calls.WithLabelValues(name, code).Observe(took.Seconds())
}

func (m *metrics) observeC4(host string, o c4.Observation) {
	code := "OK"
	if o.Err != nil {
		code = c4.CodeOf(o.Err).String()
	}
	m.c4.WithLabelValues(host, o.Call, code).Observe(o.Duration.Seconds())
}

// showExpiry adds when the daemon's certificate ends.
func (m *metrics) showExpiry(expires func() time.Time) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "elemento_daemon_certificate_expiry_timestamp_seconds", Help: "When the daemon's certificate ends.",
	}, func() float64 { return float64(expires().Unix()) }))
}

// showHosts adds what the daemon knows of the hosts.
func (m *metrics) showHosts(of hosts) { m.registry.MustRegister(of) }

// outdated is the age at which what a host told is no longer shown.
const outdated = time.Minute

var (
	hostHealth = prometheus.NewDesc("elemento_daemon_host_health",
		"1 for the state that a host is in, 0 for the others.", []string{"host", "domain", "state"}, nil)
	hostSeen = prometheus.NewDesc("elemento_daemon_host_last_seen_timestamp_seconds",
		"When a host last answered.", []string{"host", "domain"}, nil)
	hostMemory = prometheus.NewDesc("elemento_daemon_host_memory_bytes",
		"Memory that a host has for VMs.", []string{"host", "domain"}, nil)
	hostMemoryFree = prometheus.NewDesc("elemento_daemon_host_memory_available_bytes",
		"Memory that a host has left for VMs.", []string{"host", "domain"}, nil)
	hostThreads = prometheus.NewDesc("elemento_daemon_host_threads",
		"Hardware threads that a host has for VMs.", []string{"host", "domain"}, nil)
	hostThreadsUsed = prometheus.NewDesc("elemento_daemon_host_used_threads",
		"Hardware threads of a host that VMs have.", []string{"host", "domain"}, nil)
	hostVMs = prometheus.NewDesc("elemento_daemon_host_vms",
		"VMs on a host, of the clients that are watched, by power state.", []string{"host", "domain", "power_state"}, nil)
	vmDoubles = prometheus.NewDesc("elemento_daemon_vm_doubles",
		"Names that more than one VM of a client has on a host.", []string{"host", "client_uid"}, nil)
)

// healthStates and powerStateNames are the values of the labels state and power_state.
var (
	healthStates = map[rpc.HostHealth]string{
		rpc.HostHealth_HOST_HEALTH_READY:       "ready",
		rpc.HostHealth_HOST_HEALTH_MAINTENANCE: "maintenance",
		rpc.HostHealth_HOST_HEALTH_UNREACHABLE: "unreachable",
	}
	powerStateNames = map[rpc.PowerState]string{
		rpc.PowerState_POWER_STATE_UNSPECIFIED: "unknown",
		rpc.PowerState_POWER_STATE_RUNNING:     "running",
		rpc.PowerState_POWER_STATE_OFF:         "off",
		rpc.PowerState_POWER_STATE_PAUSED:      "paused",
	}
)

// Describe implements prometheus.Collector.
func (hs hosts) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{hostHealth, hostSeen, hostMemory, hostMemoryFree, hostThreads, hostThreadsUsed, hostVMs, vmDoubles} {
		to <- d
	}
}

// Collect implements prometheus.Collector. What is known of a host that is silent,
// or is outdated, is not shown.
func (hs hosts) Collect(to chan<- prometheus.Metric) {
	for _, h := range hs.all {
		h.collect(func(desc *prometheus.Desc, value float64, labels ...string) {
			to <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, append([]string{h.ID}, labels...)...)
		})
	}
}

func (h *host) collect(show func(desc *prometheus.Desc, value float64, labels ...string)) {
	health := h.health()
	h.mu.Lock()
	lastSeen, hardware, asked := h.lastSeen, h.hardware, h.asked
	tenants := slices.Collect(maps.Values(h.tenants))
	h.mu.Unlock()

	if health != rpc.HostHealth_HOST_HEALTH_UNSPECIFIED {
		for of, state := range healthStates {
			show(hostHealth, number(of == health), h.Domain, state)
		}
	}
	if !lastSeen.IsZero() {
		show(hostSeen, float64(lastSeen.UnixMilli())/1000, h.Domain)
	}
	if hardware != nil && health != rpc.HostHealth_HOST_HEALTH_UNREACHABLE && time.Since(asked) < outdated {
		const mib = 1 << 20
		show(hostMemory, float64(hardware.Mem.Size)*mib, h.Domain)
		show(hostMemoryFree, float64(hardware.Mem.Avail)*mib, h.Domain)
		show(hostThreads, float64(hardware.CPU.MaxThreads), h.Domain)
		show(hostThreadsUsed, float64(hardware.CPU.UsedThreads), h.Domain)
	}
	vms, told := map[rpc.PowerState]int{}, false
	for _, t := range tenants {
		o, silent := t.last()
		if silent || time.Since(o.at) > outdated {
			continue
		}
		told = true
		for _, s := range o.vms {
			vms[s.msg.PowerState]++
		}
		show(vmDoubles, float64(len(o.doubles)), t.clientUID)
	}
	if told {
		for of, state := range powerStateNames {
			show(hostVMs, float64(vms[of]), h.Domain, state)
		}
	}
}

func number(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
