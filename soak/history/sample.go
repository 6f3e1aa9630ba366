package history

import (
	"encoding/json"
	"time"

	dto "github.com/prometheus/client_model/go"

	"elemento.cloud/cluster-api-provider-elemento/fakeatomos/history"
)

// reconcileErrors is the metric of controller-runtime, and the key of it in the
// detail of a sample.
const reconcileErrors = "controller_runtime_reconcile_errors_total"

// ErrorsSample is a sample of a manager's failed reconcile loops since its start,
// by controller.
func ErrorsSample(at time.Time, process string, byController map[string]float64) Event {
	return Event{
		Time: at, Kind: history.Sample, Name: process,
		Detail: history.Detail(map[string]any{reconcileErrors: byController}),
	}
}

// ReconcileErrors reads what ErrorsSample has made, from a sample that may tell more.
func ReconcileErrors(e Event) (byController map[string]float64, is bool) {
	var detail map[string]json.RawMessage
	if json.Unmarshal(e.Detail, &detail) != nil || detail[reconcileErrors] == nil {
		return nil, false
	}
	if json.Unmarshal(detail[reconcileErrors], &byController) != nil {
		return nil, false
	}
	if byController == nil {
		byController = map[string]float64{}
	}
	return byController, true
}

// CountErrors takes the failed reconcile loops, by controller, from a manager's
// metrics.
func CountErrors(metrics map[string]*dto.MetricFamily) map[string]float64 {
	byController := map[string]float64{}
	for _, m := range metrics[reconcileErrors].GetMetric() {
		for _, label := range m.GetLabel() {
			if label.GetName() == "controller" {
				byController[label.GetValue()] += m.GetCounter().GetValue()
			}
		}
	}
	return byController
}
