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
	unexpectedVMs = prometheus.NewDesc("elemento_unexpected_vms",
		"VMs of the client UUID that no ElementoMachine or ElementoCleanup that this manager sees is about.", []string{"client_uid"}, nil)
	vmsDesc = prometheus.NewDesc("elemento_vms",
		"VMs of the hosts that answer, by domain and power state.", []string{"client_uid", "domain", "power_state"}, nil)
)

// Describe implements prometheus.Collector.
func (c *Collector) Describe(to chan<- *prometheus.Desc) {
	to <- streamUp
	to <- streamSilence
	to <- unexpectedVMs
	to <- vmsDesc
}

// Collect implements prometheus.Collector.
func (c *Collector) Collect(to chan<- prometheus.Metric) {
	type stream struct{ endpoint, clientUID string }
	up, silence := map[stream]float64{}, map[stream]float64{} // by whichever identity
	vms := map[string]map[string]bool{}                       // by client UUID
	type place struct{ clientUID, domain string }
	power := map[place]map[rpc.PowerState]int{}
	counted := map[[2]string]bool{} // client UUID and host: several identities may act for a client
	c.Fleet.mu.Lock()
	for _, m := range c.Fleet.members {
		if vms[m.clientUID] == nil {
			vms[m.clientUID] = map[string]bool{}
		}
		for name := range m.vmHosts() {
			vms[m.clientUID][name] = true
		}
		m.mu.Lock()
		for id, known := range m.merged {
			one := [2]string{m.clientUID, id}
			if counted[one] || !reachable(known.view.host) {
				continue
			}
			counted[one] = true
			p := place{m.clientUID, known.view.host.GetDomain()}
			if power[p] == nil {
				power[p] = map[rpc.PowerState]int{}
			}
			for _, vm := range known.view.vms {
				power[p][vm.GetPowerState()]++
			}
		}
		for _, d := range m.daemons {
			s := stream{d.endpoint, m.clientUID}
			up[s] += 0
			if d.alive {
				up[s] = 1
			}
			if !d.heard.IsZero() {
				since := time.Since(d.heard).Seconds()
				if least, known := silence[s]; !known || since < least {
					silence[s] = since
				}
			}
		}
		m.mu.Unlock()
	}
	c.Fleet.mu.Unlock()

	for s, value := range up {
		to <- prometheus.MustNewConstMetric(streamUp, prometheus.GaugeValue, value, s.endpoint, s.clientUID)
	}
	for s, value := range silence {
		to <- prometheus.MustNewConstMetric(streamSilence, prometheus.GaugeValue, value, s.endpoint, s.clientUID)
	}
	for clientUID, names := range vms {
		unexpected := 0
		for name := range names {
			if !c.Expected(context.Background(), name) {
				unexpected++
			}
		}
		to <- prometheus.MustNewConstMetric(unexpectedVMs, prometheus.GaugeValue, float64(unexpected), clientUID)
	}
	for p, count := range power {
		for of, name := range powerStateNames {
			to <- prometheus.MustNewConstMetric(vmsDesc, prometheus.GaugeValue, float64(count[of]), p.clientUID, p.domain, name)
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
