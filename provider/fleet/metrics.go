package fleet

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

var operationSeconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
	Name:    "elemento_vm_operation_duration_seconds",
	Help:    "How long calls to a daemon took, by operation and outcome: OK, the daemon's reason, or the gRPC code where no daemon answered.",
	Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
}, []string{"operation", "code"})

func init() { metrics.Registry.MustRegister(operationSeconds) }

func observe(operation string, err *Error, took time.Duration) {
	operationSeconds.WithLabelValues(operation, outcome(err)).Observe(took.Seconds())
}

// Collector shows what the streams tell, when it is asked: no series outlives
// what it is about.
type Collector struct {
	Fleet *Fleet
	// Expected tells whether an ElementoMachine or ElementoCleanup is about a VM.
	Expected func(ctx context.Context, vmName string) bool
	// Drifted counts the VMs that are not as their ElementoMachine says.
	Drifted func(ctx context.Context) (int, error)
	// Cleanups counts the ElementoCleanups.
	Cleanups func(ctx context.Context) (int, error)
}

var (
	streamUp = prometheus.NewDesc("elemento_daemon_stream_up",
		"Whether the stream from a daemon is up.", []string{"endpoint", "client_uid"}, nil)
	streamSilence = prometheus.NewDesc("elemento_daemon_stream_silence_seconds",
		"How long ago a daemon was last heard.", []string{"endpoint", "client_uid"}, nil)
	unexpectedVMs = prometheus.NewDesc("elemento_unexpected_vms",
		"VMs of the client UUID that neither an ElementoMachine nor an ElementoCleanup is about.", []string{"client_uid"}, nil)
	driftedVMs = prometheus.NewDesc("elemento_drifted_vms",
		"VMs that were changed by hand: their ElementoMachine's VMMatchesSpec is False.", nil, nil)
	cleanups = prometheus.NewDesc("elemento_cleanups",
		"ElementoCleanups that wait to be worked off.", nil, nil)
)

// Describe implements prometheus.Collector.
func (c *Collector) Describe(to chan<- *prometheus.Desc) {
	to <- streamUp
	to <- streamSilence
	to <- unexpectedVMs
	to <- driftedVMs
	to <- cleanups
}

// Collect implements prometheus.Collector.
func (c *Collector) Collect(to chan<- prometheus.Metric) {
	type stream struct{ endpoint, clientUID string }
	up, silence := map[stream]float64{}, map[stream]float64{}
	vms := map[string]map[string]bool{} // by client UUID
	c.Fleet.mu.Lock()
	for _, m := range c.Fleet.members {
		if vms[m.clientUID] == nil {
			vms[m.clientUID] = map[string]bool{}
		}
		for name := range m.vmHosts() {
			vms[m.clientUID][name] = true
		}
		m.mu.Lock()
		for _, d := range m.daemons {
			s := stream{d.endpoint, m.clientUID}
			up[s] += 0
			if d.alive {
				up[s] = 1
			}
			if !d.heard.IsZero() {
				silence[s] = time.Since(d.heard).Seconds()
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
	if drifted, err := c.Drifted(context.Background()); err == nil { // else the cache is not ready
		to <- prometheus.MustNewConstMetric(driftedVMs, prometheus.GaugeValue, float64(drifted))
	}
	if waiting, err := c.Cleanups(context.Background()); err == nil {
		to <- prometheus.MustNewConstMetric(cleanups, prometheus.GaugeValue, float64(waiting))
	}
}
