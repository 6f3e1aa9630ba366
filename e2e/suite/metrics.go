package suite

import (
	"context"
	"errors"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/utils/ptr"

	"elemento.cloud/cluster-api-provider-elemento/e2e/world"
	"elemento.cloud/cluster-api-provider-elemento/reports"
)

// Reconciles are the loops of a manager since its start.
type Reconciles struct{ All, Failed int }

// Reconciles counts those of our manager; it says false on a management plane
// that the suite did not start, whose manager it cannot reach.
func (s *Site) Reconciles(ctx context.Context) (Reconciles, bool) {
	if s.World.Manager(world.ElementoProvider) == nil {
		return Reconciles{}, false
	}
	families, err := s.World.Metrics(ctx, world.ElementoProvider)
	succeeded(err)
	for _, name := range []string{"controller_runtime_reconcile_total", "controller_runtime_reconcile_errors_total"} {
		Expect(families).To(HaveKey(name), "the manager does not tell its loops")
	}
	var r Reconciles
	for _, m := range families["controller_runtime_reconcile_total"].GetMetric() {
		r.All += int(m.GetCounter().GetValue())
	}
	for _, m := range families["controller_runtime_reconcile_errors_total"].GetMetric() {
		r.Failed += int(m.GetCounter().GetValue())
	}
	return r, true
}

// NoFailedLoops counts the reconcile loops of our manager where nothing went wrong, so
// that none may have failed: waiting is none that fails.
func (s *Site) NoFailedLoops(ctx SpecContext) {
	if loops, known := s.Reconciles(ctx); known {
		Expect(loops.All).To(BeNumerically(">", 0))
		s.Report.Figure(
			reports.Figure{Name: "reconcile loops of our manager", Value: float64(loops.All), Command: "controller_runtime_reconcile_total"},
			reports.Figure{Name: "of these failed", Value: float64(loops.Failed), AtMost: ptr.To(0.0), Command: "controller_runtime_reconcile_errors_total"},
		)
	}
}

// Metric sums up the series of a metric of our manager, of those that have all the
// labels; one that there is none of is 0.
func (s *Site) Metric(ctx context.Context, name string, labels map[string]string) (float64, error) {
	if s.World.Manager(world.ElementoProvider) == nil {
		return 0, errors.New("the metrics of a manager that the suite did not start cannot be reached")
	}
	families, err := s.World.Metrics(ctx, world.ElementoProvider)
	if err != nil {
		return 0, err
	}
	sum := 0.0
	for _, m := range families[name].GetMetric() {
		matching := 0
		for _, l := range m.GetLabel() {
			if want, asked := labels[l.GetName()]; asked && want == l.GetValue() {
				matching++
			}
		}
		if matching == len(labels) {
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return sum, nil
}
