package watch

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"elemento.cloud/cluster-api-provider-elemento/e2e/world"
	fakehistory "elemento.cloud/cluster-api-provider-elemento/fakeatomos/history"
	"elemento.cloud/cluster-api-provider-elemento/reports"
	"elemento.cloud/cluster-api-provider-elemento/soak/history"
	"elemento.cloud/cluster-api-provider-elemento/soak/validate"
)

func TestTheFirstViolationIsToldAtOnceAndAllAreKept(t *testing.T) {
	t.Parallel()
	w := &Watch{violated: make(chan struct{})}
	select {
	case <-w.Violated():
		t.Fatal("an invariant is said to be broken before one is")
	default:
	}
	w.violation(validate.Violation{Validator: "OneVM", What: "twice"})
	select {
	case <-w.Violated():
	default:
		t.Fatal("nobody is told of a violation")
	}
	w.violation(validate.Violation{Validator: "OneVM", What: "thrice"})
	if found := w.Violations(); len(found) != 2 || found[0].What != "twice" || found[1].What != "thrice" {
		t.Errorf("the violations are %v", found)
	}
}

func TestAReportShowsWhatWasJudgedAndWhatWasNot(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	shown := ForReport([]validate.Result{
		{Validator: "OneVM", Verdict: reports.Passed, Judged: 3},
		{Validator: "APIAnswers", Verdict: reports.NotRun, Explanation: "there was nothing"},
		{Validator: "VMModel", Verdict: reports.Unknown, Judged: 2, Explanation: "not in time"},
		{Validator: "NothingLeft", Verdict: reports.Failed, Judged: 5, Violations: []validate.Violation{{Validator: "NothingLeft", Time: at, What: "a volume"}}},
	})
	if len(shown) != 4 {
		t.Fatalf("%d validators are shown, want all", len(shown))
	}
	if v := shown[0]; v.Name != "OneVM" || v.Verdict != reports.Passed || v.Checked != 3 {
		t.Errorf("one that passed is shown as %+v", v)
	}
	if v := shown[1]; v.Verdict != reports.NotRun || v.Rule != "there was nothing" {
		t.Errorf("one that had nothing to judge is shown as %+v", v)
	}
	if v := shown[2]; v.Verdict != reports.Unknown || v.Rule != "not in time" {
		t.Errorf("one that does not know is shown as %+v", v)
	}
	if v := shown[3]; v.Verdict != reports.Failed || len(v.Violations) != 1 || v.Violations[0] != "03:04:05.000 NothingLeft: a volume" {
		t.Errorf("one that failed is shown as %+v", v)
	}
}

func TestAValidatorThatHadNothingToJudgeIsADoubt(t *testing.T) {
	t.Parallel()
	results := []validate.Result{{Validator: "OneVM", Verdict: reports.Passed, Judged: 3}, {Validator: "APIAnswers", Verdict: reports.NotRun}}
	for n, want := range map[int]reports.Verdict{1: reports.Passed, 2: reports.Unknown} {
		e := reports.Record("a run", "make it", io.Discard).Begin("F1")
		Tell(e, results[:n])
		if got := e.Conclude(); got != want {
			t.Errorf("with %d of the results the verdict is %s, want %s", n, got, want)
		}
	}
	if idle := Idle(results); !slices.Equal(idle, []string{"APIAnswers"}) {
		t.Errorf("%q had nothing to judge", idle)
	}
}

func TestTheFailedLoopsOfAManagerInAPodAreJudged(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	objects, err := fakehistory.Open(filepath.Join(dir, history.Harness))
	if err != nil {
		t.Fatal(err)
	}
	for n := range 2 {
		text := fmt.Sprintf("# TYPE controller_runtime_reconcile_errors_total counter\ncontroller_runtime_reconcile_errors_total{controller=\"elementomachine\"} %d\n", n)
		parser := expfmt.NewTextParser(model.UTF8Validation)
		s := Sample{At: time.Now(), Process: world.ElementoProvider}
		s.holds(world.Resources{}, errors.New("there is no process of that name"))
		s.fails(parser.TextToMetricFamilies(strings.NewReader(text)))
		objects.Add(s.event())
	}
	if err := objects.Close(); err != nil {
		t.Fatal(err)
	}
	results, err := validate.Run(dir, validate.NewNoReconcileErrors(validate.Limits{}))
	if err != nil {
		t.Fatal(err)
	}
	if r := results[0]; r.Judged != 2 || r.Verdict != reports.Failed {
		t.Errorf("a loop that failed between two samples: %+v", r)
	}
}
