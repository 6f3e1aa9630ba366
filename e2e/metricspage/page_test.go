package metricspage

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// listener hears what a check would fail its test with.
type listener struct {
	testing.TB
	said []string
}

func (l *listener) Errorf(format string, args ...any) {
	l.said = append(l.said, fmt.Sprintf(format, args...))
}

func TestWhatIsNotOnThePageAndWhatIsThereOnlyIsFound(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		prometheus.NewGauge(prometheus.GaugeOpts{Name: "elemento_made_up", Help: "Nothing."}),
		prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "elemento_daemon_host_health", Help: "Other labels."}, []string{"vm"}),
		prometheus.NewCounter(prometheus.CounterOpts{Name: "elemento_daemon_watch_streams", Help: "A counter without _total."}),
	)
	l := &listener{TB: t}
	Check(l, "The daemon", registry)
	for _, want := range [][]string{
		{"nothing of elemento_made_up"},
		{"has elemento_daemon_vm_doubles under", "not registered"},
		{"elemento_daemon_host_health has the labels", `"vm"`},
		{"elemento_daemon_host_health has the label vm;"},
		{"elemento_daemon_watch_streams is a gauge", "it is a counter"},
	} {
		if !slices.ContainsFunc(l.said, func(said string) bool {
			return !slices.ContainsFunc(want, func(w string) bool { return !strings.Contains(said, w) })
		}) {
			t.Errorf("nothing is said of %q; only:\n%s", want, strings.Join(l.said, "\n"))
		}
	}
}
