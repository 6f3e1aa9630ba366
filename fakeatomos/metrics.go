package fakeatomos

import (
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"elemento.cloud/cluster-api-provider-elemento/c4"
)

// metrics are those of one fake; several in a process have theirs each.
type metrics struct {
	registry *prometheus.Registry
	calls    *prometheus.HistogramVec
	fired    *prometheus.CounterVec
}

func newMetrics(f *Fake) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		calls: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "elemento_fake_c4_duration_seconds",
			Help:    "Duration of C4 calls as their host saw them, by service and HTTP status; none where there was no answer.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, []string{"host", "service", "code"}),
		fired: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "elemento_fake_faults_fired_total", Help: "Faults that fired, by effect.",
		}, []string{"effect"}),
	}
	m.registry.MustRegister(m.calls, m.fired, inventoryCollector{f})
	return m
}

// observe measures a call that has ended.
func (m *metrics) observe(e *JournalEntry) {
	_, path, _ := strings.Cut(e.Call, " ")
	service, _, _ := strings.Cut(path, "/")
	code := "none"
	if e.Status != 0 {
		code = strconv.Itoa(e.Status)
	}
	m.calls.WithLabelValues(e.Host, service, code).Observe(e.Answered.Sub(e.Arrived).Seconds())
}

// inventoryCollector counts what the fake holds, when it is asked.
type inventoryCollector struct{ fake *Fake }

var (
	hostUp = prometheus.NewDesc("elemento_fake_host_up",
		"Whether a host has power.", []string{"host", "domain"}, nil)
	vmsDesc = prometheus.NewDesc("elemento_fake_vms",
		"VMs on a host, by power state.", []string{"host", "domain", "power_state"}, nil)
	resourcesDesc = prometheus.NewDesc("elemento_fake_resources",
		"What a host holds beside VMs, by kind: volume, seed, network, forward.", []string{"host", "domain", "kind"}, nil)
	faultsDesc = prometheus.NewDesc("elemento_fake_faults",
		"Faults in force.", nil, nil)
)

// powerStateNames are the values of the label power_state.
var powerStateNames = map[c4.PowerState]string{c4.Running: "running", c4.ShutOff: "off", c4.Paused: "paused"}

// Describe implements prometheus.Collector.
func (inventoryCollector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{hostUp, vmsDesc, resourcesDesc, faultsDesc} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (c inventoryCollector) Collect(to chan<- prometheus.Metric) {
	show := func(desc *prometheus.Desc, value int, labels ...string) {
		to <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(value), labels...)
	}
	for _, h := range c.fake.Inventory().Hosts {
		up := 0
		if h.Up {
			up = 1
		}
		show(hostUp, up, h.Name, h.Domain)
		vms, kinds := map[c4.PowerState]int{}, map[string]int{"network": len(h.Networks), "forward": len(h.Forwards), "volume": 0, "seed": 0}
		for _, vm := range h.VMs {
			vms[vm.State]++
		}
		for _, v := range h.Volumes {
			if v.Seed {
				kinds["seed"]++
			} else {
				kinds["volume"]++
			}
		}
		for state, name := range powerStateNames {
			show(vmsDesc, vms[state], h.Name, h.Domain, name)
		}
		for kind, n := range kinds {
			show(resourcesDesc, n, h.Name, h.Domain, kind)
		}
	}
	show(faultsDesc, len(c.fake.Faults()))
}
