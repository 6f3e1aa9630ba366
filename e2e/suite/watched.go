package suite

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/e2e/binaries"
	"elemento.cloud/cluster-api-provider-elemento/e2e/watch"
	"elemento.cloud/cluster-api-provider-elemento/reports"
)

// dashboardsDir is the directory, in that of the report, of the pictures of dashboards.
const dashboardsDir = "dashboards"

// look draws the dashboards as Prometheus shows them of the whole run, where the world is
// watched. It is an error if a query of those dashboards gives nothing that the suite is to
// fill.
func (s *Site) look(ctx context.Context) error {
	url := s.World.PrometheusURL()
	if url == "" {
		return nil
	}
	repository, err := binaries.Repository(ctx)
	if err != nil {
		return err
	}
	prometheus, err := watch.Connect(url)
	if err != nil {
		return err
	}
	shipped := filepath.Join(repository, "provider", "config", "prometheus", "dashboards")
	unanswered, err := prometheus.Draw(ctx, shipped, filepath.Join(s.Dir, dashboardsDir), s.began, time.Now())
	if err != nil {
		return err
	}
	s.Report.Evidence(reports.Evidence{Title: "the dashboards at the end of the run", Path: dashboardsDir})
	var errs []error
	for _, query := range unanswered {
		dashboard, _, _ := strings.Cut(query, ":")
		if slices.Contains(s.options.Dashboards, dashboard) {
			errs = append(errs, fmt.Errorf("nothing of this run is on a dashboard: %s", query))
		}
	}
	return errors.Join(errs...)
}
