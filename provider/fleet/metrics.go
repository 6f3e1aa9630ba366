package fleet

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"elemento.cloud/cluster-api-provider-elemento/daemon/rpc"
)

var operationSeconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
	Name:    "elemento_vm_operation_duration_seconds",
	Help:    "How long calls to a daemon took, by operation and outcome: OK, the daemon's reason, or the gRPC code where no daemon answered.",
	Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
}, []string{"operation", "code"})

var streamLag = prometheus.NewHistogram(prometheus.HistogramOpts{
	Name:    "elemento_daemon_stream_lag_seconds",
	Help:    "From when a daemon asked a host, by its clock, to when the manager knew what was new.",
	Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
})

func init() { metrics.Registry.MustRegister(operationSeconds, streamLag) }

func observe(operation string, err *Error, took time.Duration) {
	operationSeconds.WithLabelValues(operation, outcome(err)).Observe(took.Seconds())
}

// Collector shows what the streams tell, when it is asked: no series outlives
// what it is about.
type Collector struct {
	Fleet *Fleet
	// Expected tells whether an ElementoMachine or ElementoCleanup is about a VM.
	Expected func(ctx context.Context, vmName string) bool
}

var (
	streamUp = prometheus.NewDesc("elemento_daemon_stream_up",
		"Whether the stream from a daemon is up.", []string{"endpoint", "client_uid"}, nil)
	streamSilence = prometheus.NewDesc("elemento_daemon_stream_silence_seconds",
		"How long ago a daemon was last heard.", []string{"endpoint", "client_uid"}, nil)
	identityExpiry = prometheus.NewDesc("elemento_identity_certificate_expiry_timestamp_seconds",
		"When the certificate ends with which the manager comes to the daemons for a client UUID; the first to end, where there are several.", []string{"client_uid"}, nil)
	unexpectedVMs = prometheus.NewDesc("elemento_unexpected_vms",
		"VMs of the client UUID that no ElementoMachine or ElementoCleanup that this manager sees is about.", []string{"client_uid"}, nil)
	vmsDesc = prometheus.NewDesc("elemento_vms",
		"VMs of the hosts that answer, by domain and power state.", []string{"client_uid", "domain", "power_state"}, nil)
)

// Describe implements prometheus.Collector.
func (c *Collector) Describe(to chan<- *prometheus.Desc) {
	to <- streamUp
	to <- streamSilence
	to <- identityExpiry
	to <- unexpectedVMs
	to <- vmsDesc
}

// scrapePatience bounds how long Expected may keep a scrape waiting.
const scrapePatience = 5 * time.Second

// Collect implements prometheus.Collector.
func (c *Collector) Collect(to chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapePatience)
	defer cancel()
	show := func(desc *prometheus.Desc, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	all := c.Fleet.census()
	for s, up := range all.up {
		show(streamUp, up, s.endpoint, s.clientUID)
	}
	for s, silence := range all.silence {
		show(streamSilence, silence.Seconds(), s.endpoint, s.clientUID)
	}
	for clientUID, ends := range all.expires {
		show(identityExpiry, float64(ends.Unix()), clientUID)
	}
	for clientUID, names := range all.vms {
		unexpected := 0
		for name := range names {
			if !c.Expected(ctx, name) {
				unexpected++
			}
		}
		show(unexpectedVMs, float64(unexpected), clientUID)
	}
	for p, count := range all.power {
		for of, name := range powerStateNames {
			show(vmsDesc, float64(count[of]), p.clientUID, p.domain, name)
		}
	}
}

// stream is that of a daemon for a client UUID, and place a domain with the client's VMs.
type (
	stream struct{ endpoint, clientUID string }
	place  struct{ clientUID, domain string }
)

// census is what there is at a moment. Several identities may act for a client: a stream
// is up, and a daemon heard, by whichever; the certificate is the first to end.
type census struct {
	up      map[stream]float64
	silence map[stream]time.Duration
	// By client UUID: when the certificate ends, and the names of VMs.
	expires map[string]time.Time
	vms     map[string]map[string]bool
	power   map[place]map[rpc.PowerState]int
}

func (f *Fleet) census() census {
	all := census{
		up: map[stream]float64{}, silence: map[stream]time.Duration{},
		expires: map[string]time.Time{}, vms: map[string]map[string]bool{}, power: map[place]map[rpc.PowerState]int{},
	}
	counted := map[[2]string]bool{} // client UUID and host
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, m := range f.members {
		if first, known := all.expires[m.clientUID]; !known || m.expires.Before(first) {
			all.expires[m.clientUID] = m.expires
		}
		if all.vms[m.clientUID] == nil {
			all.vms[m.clientUID] = map[string]bool{}
		}
		for name := range m.vmHosts() {
			all.vms[m.clientUID][name] = true
		}
		all.count(m, counted)
	}
	return all
}

// count adds the streams of a member, and what they tell of hosts that were not counted
// yet.
func (all census) count(m *Member, counted map[[2]string]bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, known := range m.merged {
		one := [2]string{m.clientUID, id}
		if counted[one] || !reachable(known.view.host) {
			continue
		}
		counted[one] = true
		p := place{m.clientUID, known.view.host.GetDomain()}
		if all.power[p] == nil {
			all.power[p] = map[rpc.PowerState]int{}
		}
		for _, vm := range known.view.vms {
			all.power[p][vm.GetPowerState()]++
		}
	}
	for _, d := range m.daemons {
		s := stream{d.endpoint, m.clientUID}
		all.up[s] += 0
		if d.alive {
			all.up[s] = 1
		}
		if d.heard.IsZero() {
			continue
		}
		silence := time.Since(d.heard)
		if least, known := all.silence[s]; !known || silence < least {
			all.silence[s] = silence
		}
	}
}

// powerStateNames are the values of the label power_state.
var powerStateNames = map[rpc.PowerState]string{
	rpc.PowerState_POWER_STATE_UNSPECIFIED: "unknown",
	rpc.PowerState_POWER_STATE_RUNNING:     "running",
	rpc.PowerState_POWER_STATE_OFF:         "off",
	rpc.PowerState_POWER_STATE_PAUSED:      "paused",
}
