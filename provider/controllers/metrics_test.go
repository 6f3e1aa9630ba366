package controllers_test

import (
	"context"
	"testing"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"k8s.io/apimachinery/pkg/runtime"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"

	"elemento.cloud/cluster-api-provider-elemento/e2e/metricspage"
	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
	"elemento.cloud/cluster-api-provider-elemento/provider/controllers"
	"elemento.cloud/cluster-api-provider-elemento/provider/fleet"
)

func TestEveryMetricOfTheManagerIsDocumented(t *testing.T) {
	t.Parallel()
	scheme := runtime.NewScheme()
	must(0, infrav1.AddToScheme(scheme))
	metricspage.Check(t, "The manager", ctrlmetrics.Registry.(prometheus.Collector),
		&fleet.Collector{Fleet: fleet.New(logr.Discard())},
		&controllers.Collector{Client: must(client.New(api, client.Options{Scheme: scheme}))})
}

func TestAScrapeDoesNotWaitForTheCacheForEver(t *testing.T) {
	t.Parallel()
	cache := &unboundedReads{}
	testutil.CollectAndCount(&controllers.Collector{Client: cache})
	if cache.lists != 3 || cache.unbounded > 0 {
		t.Errorf("%d of %d lists may keep a scrape waiting for ever", cache.unbounded, cache.lists)
	}
}

// unboundedReads is a cache that is not ready, and counts who would wait for it for ever.
type unboundedReads struct {
	client.Reader
	lists, unbounded int
}

func (r *unboundedReads) List(ctx context.Context, _ client.ObjectList, _ ...client.ListOption) error {
	r.lists++
	if _, bounded := ctx.Deadline(); !bounded {
		r.unbounded++
	}
	return context.DeadlineExceeded
}

func TestWhatHasNotHappenedYetIsShown(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]int{
		"elemento_machine_provision_duration_seconds": 6, // three stages of two roles
		"elemento_machine_deletion_duration_seconds":  2,
		"elemento_drift_found_total":                  4,
	} {
		if series := must(testutil.GatherAndCount(ctrlmetrics.Registry, name)); series != want {
			t.Errorf("%s has %d series, want %d", name, series, want)
		}
	}
}

// sum adds up the values of a gauge, or the counts of a histogram, over the series that
// have the labels: name, value, name, value …
func sum(t *testing.T, from prometheus.Gatherer, name string, labels ...string) (total float64) {
	t.Helper()
	for _, family := range must(from.Gather()) {
		if family.GetName() != name {
			continue
		}
	series:
		for _, m := range family.GetMetric() {
			has := map[string]string{}
			for _, l := range m.GetLabel() {
				has[l.GetName()] = l.GetValue()
			}
			for i := 0; i < len(labels); i += 2 {
				if has[labels[i]] != labels[i+1] {
					continue series
				}
			}
			total += m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return total
}

// It is not parallel: what it looks at is of the process, and nothing else may run.
func TestTheWayOfAMachineIsMeasuredOnceAStage(t *testing.T) {
	count := func(name string, labels ...string) func() float64 {
		before := sum(t, ctrlmetrics.Registry, name, labels...)
		return func() float64 { return sum(t, ctrlmetrics.Registry, name, labels...) - before }
	}
	const provision, deletion = "elemento_machine_provision_duration_seconds", "elemento_machine_deletion_duration_seconds"
	clusters := count("elemento_cluster_provision_duration_seconds")
	stages := map[string]func() float64{}
	for _, stage := range []string{"bootstrap_data", "vm", "running"} {
		stages[stage] = count(provision, "stage", stage, "role", "worker")
	}
	controlPlanes := count(provision, "stage", "running", "role", "control_plane")
	removed, left := count(deletion, "outcome", "removed"), count(deletion, "outcome", "left")
	lag := count("elemento_daemon_stream_lag_seconds")
	calls := count("elemento_vm_operation_duration_seconds", "operation", "EnsureVM", "code", "OK")

	s := newSite(t, hosts{"d1": 1})
	cluster, infra := s.provisionedCluster()
	_, m := s.provisionedMachine(cluster)
	_, c := s.provisionedMachine(cluster, func(machine *clusterv1.Machine, m *infrav1.ElementoMachine) {
		for _, object := range []client.Object{machine, m} {
			labels := object.GetLabels()
			labels[clusterv1.MachineControlPlaneLabel] = ""
			object.SetLabels(labels)
		}
	})
	awaitCondition(s, m, infrav1.ReadyCondition, infrav1.ReadyReason)
	awaitCondition(s, c, infrav1.ReadyCondition, infrav1.ReadyReason)
	s.await("the control plane is measured", func() bool { return controlPlanes() == 1 && lag() > 0 }, func() string { return "" })
	for stage, n := range stages {
		if n() != 1 {
			t.Errorf("stage %s of a worker was measured %v times, want once", stage, n())
		}
	}
	if clusters() != 1 || calls() < 2 {
		t.Errorf("%v clusters and %v calls were measured, want 1 and at least 2", clusters(), calls())
	}
	if removed() != 0 {
		t.Errorf("%v deletions were measured before there was one", removed())
	}
	s.remove(m)
	s.remove(c)
	s.remove(infra)
	s.await("both deletions are measured", func() bool { return removed() == 2 }, func() string { return "" })
	if left() != 0 {
		t.Errorf("%v machines were left behind, want none", left())
	}
}

func TestMachinesAreCountedByPhaseAndByWhatTheyWaitFor(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 1})
	cluster, _ := s.provisionedCluster()
	_, running := s.provisionedMachine(cluster)
	awaitCondition(s, running, infrav1.ReadyCondition, infrav1.ReadyReason)
	_, waiting := s.machine(cluster, func(machine *clusterv1.Machine, _ *infrav1.ElementoMachine) {
		machine.Spec.Bootstrap.DataSecretName = nil
		machine.Spec.Bootstrap.ConfigRef = clusterv1.ContractVersionedObjectReference{APIGroup: "bootstrap.example", Kind: "Config", Name: "config"}
	})
	awaitCondition(s, waiting, infrav1.BootstrapDataAvailableCondition, infrav1.WaitingForBootstrapDataReason)

	value := func(name string, labels ...string) float64 { return sum(t, s.metrics, name, labels...) }
	s.await("they are counted", func() bool {
		return value("elemento_machines", "phase", "provisioned") == 1 && value("elemento_machines", "phase", "provisioning") == 1 &&
			value("elemento_machines_not_ready", "phase", "provisioning", "reason", infrav1.WaitingForBootstrapDataReason) == 1 &&
			value("elemento_oldest_machine_age_seconds", "phase", "provisioning") > 0 &&
			value("elemento_clusters", "phase", "provisioned") == 1 &&
			value("elemento_vms", "domain", "d1", "power_state", "running", "client_uid", s.clientUID) == 1
	}, func() string { return describe(waiting) })
	if n := value("elemento_machines_not_ready"); n != 1 {
		t.Errorf("%v machines are not ready, want the one that waits", n)
	}
	if n := value("elemento_machines", "phase", "deleting") + value("elemento_oldest_machine_age_seconds", "phase", "deleting"); n != 0 {
		t.Errorf("%v is shown of deletions, of which there are none", n)
	}
	s.remove(waiting)
	s.remove(running)
	s.await("they are not counted any more", func() bool { return value("elemento_machines") == 0 && value("elemento_vms") == 0 }, func() string { return "" })
}
