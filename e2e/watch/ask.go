package watch

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/prometheus/client_golang/api"
	promv1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"
)

// Prometheus is one that is asked.
type Prometheus struct{ api promv1.API }

// Connect returns the Prometheus at a URL. It does not connect yet.
func Connect(url string) (*Prometheus, error) {
	client, err := api.NewClient(api.Config{Address: url})
	if err != nil {
		return nil, err
	}
	return &Prometheus{promv1.NewAPI(client)}, nil
}

// asking is how long one question may take.
const asking = 30 * time.Second

// Span is a time of which Prometheus is asked, in steps.
type Span struct {
	From, To time.Time
	Step     time.Duration
}

// Range is what a query gives over a span: a point for each step at which there is one.
func (p *Prometheus) Range(ctx context.Context, query string, over Span) (model.Matrix, error) {
	ctx, cancel := context.WithTimeout(ctx, asking)
	defer cancel()
	value, _, _, err := p.api.QueryRange(ctx, query, promv1.Range{Start: over.From, End: over.To, Step: over.Step})
	if err != nil {
		return nil, fmt.Errorf("asking Prometheus for %s: %w", query, err)
	}
	matrix, ok := value.(model.Matrix)
	if !ok {
		return nil, fmt.Errorf("asking Prometheus for %s: it answers a %s", query, value.Type())
	}
	return matrix, nil
}

// Now is what a query gives at this moment.
func (p *Prometheus) Now(ctx context.Context, query string) (model.Vector, error) {
	ctx, cancel := context.WithTimeout(ctx, asking)
	defer cancel()
	value, _, _, err := p.api.Query(ctx, query, time.Now())
	if err != nil {
		return nil, fmt.Errorf("asking Prometheus for %s: %w", query, err)
	}
	vector, ok := value.(model.Vector)
	if !ok {
		return nil, fmt.Errorf("asking Prometheus for %s: it answers a %s", query, value.Type())
	}
	return vector, nil
}

// Alerts are the alerts that are pending or firing now, by name.
func (p *Prometheus) Alerts(ctx context.Context) (map[string]promv1.AlertState, error) {
	ctx, cancel := context.WithTimeout(ctx, asking)
	defer cancel()
	result, err := p.api.Alerts(ctx)
	if err != nil {
		return nil, fmt.Errorf("asking Prometheus for its alerts: %w", err)
	}
	active := map[string]promv1.AlertState{}
	for _, a := range result.Alerts {
		name := string(a.Labels[model.AlertNameLabel])
		if active[name] != promv1.AlertStateFiring {
			active[name] = a.State
		}
	}
	return active, nil
}

// Labels are those of all series that a selector matches and that had something in a span.
func (p *Prometheus) Labels(ctx context.Context, selector string, over Span) ([]model.LabelSet, error) {
	ctx, cancel := context.WithTimeout(ctx, asking)
	defer cancel()
	series, _, _, err := p.api.Series(ctx, []string{selector}, over.From, over.To)
	if err != nil {
		return nil, fmt.Errorf("asking Prometheus for the series %s: %w", selector, err)
	}
	return series, nil
}

// TroubledRules says which rules could not be evaluated the last time, and why.
func (p *Prometheus) TroubledRules(ctx context.Context) (troubles []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, asking)
	defer cancel()
	result, err := p.api.Rules(ctx, nil)
	if err != nil {
		return nil, fmt.Errorf("asking Prometheus for its rules: %w", err)
	}
	for _, group := range result.Groups {
		for _, rule := range group.Rules {
			switch r := rule.(type) {
			case promv1.AlertingRule:
				if r.LastError != "" {
					troubles = append(troubles, r.Name+": "+r.LastError)
				}
			case promv1.RecordingRule:
				if r.LastError != "" {
					troubles = append(troubles, r.Name+": "+r.LastError)
				}
			}
		}
	}
	return troubles, nil
}

// Answers are what the queries of a dashboard gave, by panel and query.
type Answers map[int]map[string]model.Matrix

// Ask asks the queries of a dashboard.
func (p *Prometheus) Ask(ctx context.Context, d Dashboard, over Span) (Answers, error) {
	answers := Answers{}
	for _, panel := range d.Panels {
		answers[panel.ID] = map[string]model.Matrix{}
		for _, target := range panel.Targets {
			matrix, err := p.Range(ctx, target.Expr, over)
			if err != nil {
				return nil, fmt.Errorf("%s: %q: %w", d.Name, panel.Title, err)
			}
			answers[panel.ID][target.RefID] = matrix
		}
	}
	return answers, nil
}

// Unanswered are the queries of a dashboard that gave no number.
func (a Answers) Unanswered(d Dashboard) (queries []string) {
	for _, panel := range d.Panels {
		for _, target := range panel.Targets {
			if !hasNumber(a[panel.ID][target.RefID]) {
				queries = append(queries, fmt.Sprintf("%s: %q asks for %s", d.Name, panel.Title, target.Expr))
			}
		}
	}
	return queries
}

func hasNumber(matrix model.Matrix) bool {
	for _, series := range matrix {
		for _, point := range series.Values {
			if !math.IsNaN(float64(point.Value)) {
				return true
			}
		}
	}
	return false
}
