package controllers

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/ptr"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/cluster-api/util"
	"sigs.k8s.io/cluster-api/util/conditions"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
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

// Stages of a machine on its way, which are the values of the label stage.
const (
	stageBootstrapData = "bootstrap_data"
	stageVM            = "vm"
	stageRunning       = "running"
)

// What a machine is for, which are the values of the label role.
const (
	roleControlPlane = "control_plane"
	roleWorker       = "worker"
)

// How a deletion ended, which are the values of the label outcome.
const (
	outcomeRemoved = "removed"
	outcomeLeft    = "left"
)

// wayLong are seconds, from a VM that is there at once to the patience of the shipped
// health checks, and half as much again.
var wayLong = []float64{1, 2, 5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 300, 450, 600, 900, 1200, 1800}

var (
	driftFound = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "elemento_drift_found_total",
		Help: "VMs that were found to be other than they should be, by kind: gone, off, changed, unexpected.",
	}, []string{"kind"})
	machineProvision = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "elemento_machine_provision_duration_seconds",
		Help:    "From the creation of a Machine to a stage, by role: bootstrap_data, vm, running.",
		Buckets: wayLong,
	}, []string{"stage", "role"})
	machineDeletion = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "elemento_machine_deletion_duration_seconds",
		Help:    "From the deletion of an ElementoMachine to its release, by outcome: removed, or left to an ElementoCleanup.",
		Buckets: wayLong,
	}, []string{"outcome"})
	clusterProvision = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:    "elemento_cluster_provision_duration_seconds",
		Help:    "From the creation of a Cluster to its infrastructure.",
		Buckets: wayLong,
	})
)

func init() {
	// 0 is a value too: without it Prometheus would not see the first one come.
	for _, kind := range []string{driftGone, driftOff, driftChanged, driftUnexpected} {
		driftFound.WithLabelValues(kind)
	}
	for _, outcome := range []string{outcomeRemoved, outcomeLeft} {
		machineDeletion.WithLabelValues(outcome)
	}
	for _, stage := range []string{stageBootstrapData, stageVM, stageRunning} {
		for _, role := range []string{roleControlPlane, roleWorker} {
			machineProvision.WithLabelValues(stage, role)
		}
	}
	metrics.Registry.MustRegister(driftFound, machineProvision, machineDeletion, clusterProvision)
}

// observeWay measures the stages that a machine has come to since before. One that was
// moved from another management cluster was made there.
func observeWay(machine *clusterv1.Machine, before, now *infrav1.ElementoMachine) {
	if machine == nil || machine.Spec.ProviderID != "" || ptr.Deref(before.Status.Initialization.Provisioned, false) {
		return
	}
	role := roleWorker
	if util.IsControlPlaneMachine(machine) {
		role = roleControlPlane
	}
	reached := func(condition string) bool {
		return !conditions.IsTrue(before, condition) && conditions.IsTrue(now, condition)
	}
	for stage, is := range map[string]bool{
		stageBootstrapData: reached(infrav1.BootstrapDataAvailableCondition),
		stageVM:            reached(infrav1.VMProvisionedCondition),
		stageRunning:       ptr.Deref(now.Status.Initialization.Provisioned, false),
	} {
		if is {
			machineProvision.WithLabelValues(stage, role).Observe(time.Since(machine.CreationTimestamp.Time).Seconds())
		}
	}
}

// Collector counts, when it is asked, what there is of our objects, from the cache.
type Collector struct {
	Client client.Reader
}

// Phases of an object, which are the values of the label phase.
const (
	phaseProvisioning = "provisioning"
	phaseProvisioned  = "provisioned"
	phaseDeleting     = "deleting"
)

var (
	machinesDesc = prometheus.NewDesc("elemento_machines",
		"ElementoMachines, by phase: provisioning, provisioned, deleting.", []string{"phase"}, nil)
	machinesNotReady = prometheus.NewDesc("elemento_machines_not_ready",
		"ElementoMachines whose Ready is not True, by phase and the reason of that.", []string{"phase", "reason"}, nil)
	oldestMachine = prometheus.NewDesc("elemento_oldest_machine_age_seconds",
		"How long the oldest ElementoMachine of a phase has been in it: provisioning, deleting.", []string{"phase"}, nil)
	clustersDesc = prometheus.NewDesc("elemento_clusters",
		"ElementoClusters, by phase: provisioning, provisioned, deleting.", []string{"phase"}, nil)
	clustersNotReady = prometheus.NewDesc("elemento_clusters_not_ready",
		"ElementoClusters whose Ready is not True, by phase and the reason of that.", []string{"phase", "reason"}, nil)
	driftedVMs = prometheus.NewDesc("elemento_drifted_vms",
		"VMs that were changed by hand: their ElementoMachine's VMMatchesSpec is False.", nil, nil)
	cleanupsDesc = prometheus.NewDesc("elemento_cleanups",
		"ElementoCleanups that wait to be worked off.", nil, nil)
	oldestCleanup = prometheus.NewDesc("elemento_oldest_cleanup_age_seconds",
		"How long the oldest ElementoCleanup has been waiting.", nil, nil)
)

// Describe implements prometheus.Collector.
func (c *Collector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{machinesDesc, machinesNotReady, oldestMachine, clustersDesc, clustersNotReady, driftedVMs, cleanupsDesc, oldestCleanup} {
		to <- d
	}
}

// scrapePatience bounds how long the cache may keep a scrape waiting.
const scrapePatience = 5 * time.Second

// Collect implements prometheus.Collector. Where the cache is not ready there is
// nothing to show.
func (c *Collector) Collect(to chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapePatience)
	defer cancel()
	show := func(desc *prometheus.Desc, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	machines := &infrav1.ElementoMachineList{}
	if err := c.Client.List(ctx, machines, client.UnsafeDisableDeepCopy); err == nil {
		drifted, all := 0, newCensus()
		for i := range machines.Items {
			m := &machines.Items[i]
			all.count(m, m.Status.Initialization.Provisioned)
			if conditions.IsFalse(m, infrav1.VMMatchesSpecCondition) {
				drifted++
			}
		}
		show(driftedVMs, float64(drifted))
		all.show(machinesDesc, machinesNotReady, show)
		for _, phase := range []string{phaseProvisioning, phaseDeleting} {
			show(oldestMachine, all.oldest[phase].Seconds(), phase)
		}
	}
	clusters := &infrav1.ElementoClusterList{}
	if err := c.Client.List(ctx, clusters, client.UnsafeDisableDeepCopy); err == nil {
		all := newCensus()
		for i := range clusters.Items {
			all.count(&clusters.Items[i], clusters.Items[i].Status.Initialization.Provisioned)
		}
		all.show(clustersDesc, clustersNotReady, show)
	}
	cleanups := &infrav1.ElementoCleanupList{}
	if err := c.Client.List(ctx, cleanups, client.UnsafeDisableDeepCopy); err == nil {
		var oldest time.Duration
		for i := range cleanups.Items {
			oldest = max(oldest, time.Since(cleanups.Items[i].CreationTimestamp.Time))
		}
		show(cleanupsDesc, float64(len(cleanups.Items)))
		show(oldestCleanup, oldest.Seconds())
	}
}

// census is what there is of one kind.
type census struct {
	phases   map[string]int
	notReady map[[2]string]int // by phase and reason
	oldest   map[string]time.Duration
}

func newCensus() census {
	return census{
		phases:   map[string]int{phaseProvisioning: 0, phaseProvisioned: 0, phaseDeleting: 0},
		notReady: map[[2]string]int{}, oldest: map[string]time.Duration{},
	}
}

func (c census) count(object interface {
	client.Object
	conditions.Getter
}, provisioned *bool) {
	phase, since := phaseProvisioning, object.GetCreationTimestamp()
	switch deleted := object.GetDeletionTimestamp(); {
	case deleted != nil:
		phase, since = phaseDeleting, *deleted
	case ptr.Deref(provisioned, false):
		phase = phaseProvisioned
	}
	c.phases[phase]++
	c.oldest[phase] = max(c.oldest[phase], time.Since(since.Time))
	switch ready := conditions.Get(object, infrav1.ReadyCondition); {
	case ready == nil:
		c.notReady[[2]string{phase, infrav1.NotObservedReason}]++
	case !conditions.IsTrue(object, infrav1.ReadyCondition):
		c.notReady[[2]string{phase, ready.Reason}]++
	}
}

func (c census) show(all, notReady *prometheus.Desc, show func(desc *prometheus.Desc, value float64, labels ...string)) {
	for phase, n := range c.phases {
		show(all, float64(n), phase)
	}
	for of, n := range c.notReady {
		show(notReady, float64(n), of[0], of[1])
	}
}
