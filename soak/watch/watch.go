// Package watch keeps the history of a suite while it runs, and has the validators
// judge it all the while.
package watch

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	dto "github.com/prometheus/client_model/go"
	"k8s.io/client-go/rest"

	"elemento.cloud/cluster-api-provider-elemento/e2e/suite"
	"elemento.cloud/cluster-api-provider-elemento/e2e/world"
	fakehistory "elemento.cloud/cluster-api-provider-elemento/fakeatomos/history"
	"elemento.cloud/cluster-api-provider-elemento/reports"
	"elemento.cloud/cluster-api-provider-elemento/soak/history"
	"elemento.cloud/cluster-api-provider-elemento/soak/validate"
)

// every is how often the processes are sampled.
const every = 15 * time.Second

// patience is how long a process may take to tell of itself.
const patience = 10 * time.Second

// Watch is a history that is being written and judged. Its suite must be one that
// is recorded.
type Watch struct {
	site    *suite.Site
	dir     string
	objects *fakehistory.Writer
	// stopWriting ends what writes, and stopJudging what reads, which is later.
	stopWriting, stopJudging context.CancelFunc
	writing, judging         sync.WaitGroup

	violated chan struct{}
	end      func() ([]validate.Result, error)
	mu       sync.Mutex
	found    []validate.Violation
	results  []validate.Result
	failed   error
	sampled  func(Sample)
}

// Sample is what a process of the world holds at a moment.
type Sample struct {
	At      time.Time
	Process string
	// Resources are nil for a manager in a pod, which is no process of this machine's.
	*world.Resources
	// Errors are the failed reconcile loops since its start, by controller, of our
	// manager; nil where it did not tell them.
	Errors map[string]float64 `json:"controller_runtime_reconcile_errors_total,omitzero"`
}

// holds takes the resources of the process, if they could be measured.
func (s *Sample) holds(r world.Resources, err error) {
	if err == nil {
		s.Resources = &r
	}
}

// event is the sample as the history has it.
func (s *Sample) event() fakehistory.Event {
	return fakehistory.Event{Time: s.At, Kind: fakehistory.Sample, Name: s.Process, Detail: fakehistory.Detail(s)}
}

// fails takes the failed loops from the metrics of our manager, if it told any.
func (s *Sample) fails(families map[string]*dto.MetricFamily, err error) {
	if err == nil {
		s.Errors = history.CountErrors(families)
	}
}

// Begin begins to write and to judge the history of a suite. sampled, which may be
// nil, is told of each sample.
func Begin(ctx context.Context, site *suite.Site, limits validate.Limits, sampled func(Sample)) (*Watch, error) {
	w := &Watch{site: site, dir: filepath.Join(site.Dir, history.Dir), violated: make(chan struct{}), sampled: sampled}
	w.end = sync.OnceValues(w.finish)
	var err error
	if w.objects, err = fakehistory.Open(filepath.Join(w.dir, history.Objects)); err != nil {
		return nil, err
	}
	var writing, judging context.Context
	writing, w.stopWriting = context.WithCancel(context.WithoutCancel(ctx))
	judging, w.stopJudging = context.WithCancel(context.WithoutCancel(ctx))
	wait, err := history.Record(writing, site.World.Config(), w.objects)
	if err != nil {
		w.stopWriting()
		w.stopJudging()
		return nil, errors.Join(err, w.objects.Close())
	}
	w.writing.Go(wait)
	w.writing.Go(func() { history.Probe(writing, site.Admin, site.World.History()) })
	w.writing.Go(func() { w.sample(writing) })
	w.judging.Go(func() {
		results, err := validate.Follow(judging, w.dir, w.violation, validate.All(limits)...)
		w.mu.Lock()
		defer w.mu.Unlock()
		w.results, w.failed = results, err
	})
	return w, nil
}

// Also writes down the objects of another management plane, to which some are moved,
// until stop is called: before that plane is taken down.
func (w *Watch) Also(ctx context.Context, config *rest.Config, name string) (stop func() error, err error) {
	objects, err := fakehistory.Open(filepath.Join(w.dir, "objects-"+name+".jsonl"))
	if err != nil {
		return nil, err
	}
	recording, cancel := context.WithCancel(context.WithoutCancel(ctx))
	wait, err := history.Record(recording, config, objects)
	if err != nil {
		cancel()
		return nil, errors.Join(err, objects.Close())
	}
	return func() error {
		cancel()
		wait()
		err := objects.Close()
		// It has said that nobody looks any more; here somebody does.
		w.objects.Add(fakehistory.Event{Kind: fakehistory.Object, Event: "recorded", Name: "all but those of " + name})
		return err
	}, nil
}

func (w *Watch) violation(v validate.Violation) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.found = append(w.found, v); len(w.found) == 1 {
		close(w.violated)
	}
}

// Violated is closed when an invariant is broken.
func (w *Watch) Violated() <-chan struct{} { return w.violated }

// Violations are those that are certain by now.
func (w *Watch) Violations() []validate.Violation {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]validate.Violation(nil), w.found...)
}

// End ends the history, unless it has ended, and returns what the validators came to.
func (w *Watch) End() ([]validate.Result, error) { return w.end() }

func (w *Watch) finish() ([]validate.Result, error) {
	w.stopWriting()
	w.writing.Wait()
	w.stopJudging()
	w.judging.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := errors.Join(w.failed, w.objects.Close()); err != nil {
		return nil, fmt.Errorf("judging the history in %s: %w", w.dir, err)
	}
	return w.results, nil
}

// Processes are the names of ours: our manager, the fake and the daemons.
func Processes(w *world.World) []string {
	names := []string{world.ElementoProvider, world.FakeProcess}
	for n := range w.Endpoints() {
		names = append(names, world.DaemonProcess(n+1))
	}
	return names
}

// sample writes down what the processes hold, those that run and answer, now and
// then and at the end.
func (w *Watch) sample(ctx context.Context) {
	processes := Processes(w.site.World)
	tick := time.NewTicker(every)
	defer tick.Stop()
	for last := false; ; {
		for _, process := range processes {
			w.sampleOne(process)
		}
		if last {
			return
		}
		select {
		case <-ctx.Done():
			last = true // what has come about since the tick before
		case <-tick.C:
		}
	}
}

func (w *Watch) sampleOne(process string) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s := Sample{At: time.Now(), Process: process}
	s.holds(w.site.World.Resources(ctx, process))
	if process == world.ElementoProvider {
		s.fails(w.site.World.Metrics(ctx, process))
	}
	if s.Resources == nil && s.Errors == nil {
		return // it may have been killed just now
	}
	w.site.World.History().Add(s.event())
	if w.sampled != nil {
		w.sampled(s)
	}
}

// Tell puts results into the examination of a run that is to give each validator
// something to judge: where one had nothing, the run has not shown what it is for.
func Tell(e *reports.Examination, results []validate.Result) {
	e.Validator(ForReport(results)...)
	for _, name := range Idle(results) {
		e.Doubt(name + " had nothing to judge")
	}
}

// Idle names the validators that had nothing to judge.
func Idle(results []validate.Result) (names []string) {
	for _, r := range results {
		if r.Verdict == reports.NotRun {
			names = append(names, r.Validator)
		}
	}
	return names
}

// ForReport are results as a report shows them. One that had nothing to judge is shown
// as not run, which changes no verdict.
func ForReport(results []validate.Result) []reports.Validator {
	var shown []reports.Validator
	for _, r := range results {
		v := reports.Validator{Name: r.Validator, Rule: r.Explanation, Checked: r.Judged, Verdict: r.Verdict}
		for _, violation := range r.Violations {
			v.Violations = append(v.Violations, violation.String())
		}
		shown = append(shown, v)
	}
	return shown
}
