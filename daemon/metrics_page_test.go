package daemon

import (
	"testing"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/e2e/metricspage"
)

func TestEveryMetricOfTheDaemonIsDocumented(t *testing.T) {
	t.Parallel()
	m := newMetrics()
	m.showExpiry(time.Now)
	m.showHosts(hosts{})
	metricspage.Check(t, "The daemon", m.registry)
}
