package controllers

import (
	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

// Kinds of drift, which are the values of the label kind.
const (
	// driftGone is a VM that was there and is not any more.
	driftGone = "gone"
	// driftOff is a VM that ran and was found powered off.
	driftOff = "off"
	// driftChanged is a VM that was changed by hand.
	driftChanged = "changed"
	// driftUnexpected is a VM that nothing is about.
	driftUnexpected = "unexpected"
)

var driftFound = prometheus.NewCounterVec(prometheus.CounterOpts{
	Name: "elemento_drift_found_total",
	Help: "VMs that were found to be other than they should be, by kind: gone, off, changed, unexpected.",
}, []string{"kind"})

func init() {
	for _, kind := range []string{driftGone, driftOff, driftChanged, driftUnexpected} {
		driftFound.WithLabelValues(kind) // 0 is a value too
	}
	metrics.Registry.MustRegister(driftFound)
}
