// Mutants shows that the validators can find what they are for: programs of ours
// are made wrong on purpose, one at a time, and run through a short workload with
// the fault that exposes them; the validator meant for each must catch it. The same
// workload, with the programs as they are, must have nothing to be caught.
//
//	go run ./soak/mutants [flags]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"

	"elemento.cloud/cluster-api-provider-elemento/e2e/world"
	"elemento.cloud/cluster-api-provider-elemento/reports"
	"elemento.cloud/cluster-api-provider-elemento/soak/validate"
)

func main() {
	out := flag.String("out", "out/mutants", "`directory` for the report, the logs and the histories")
	only := flag.String("only", "", "run only the mutants whose names match this `pattern`, and no control run unless it matches \"no mutant\"")
	limit := flag.Duration("limit", 5*time.Minute, "how long one may take")
	together := flag.Int("together", 2, "how many worlds there are at a time")
	flag.Parse()
	// The libraries talk of every connection that is cut on purpose.
	klog.SetLogger(klog.Background().V(10))
	klog.LogToStderr(false)
	klog.SetOutput(discard{})
	ctrl.SetLogger(klog.Background())
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	caught, err := run(ctx, *out, *only, *limit, *together)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	if err != nil || !caught {
		stop()
		os.Exit(1)
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

// run runs all of them, and tells whether each was caught and the control run was
// not.
func run(ctx context.Context, out, only string, limit time.Duration, together int) (bool, error) {
	pattern, err := regexp.Compile(only)
	if err != nil {
		return false, fmt.Errorf("-only: %w", err)
	}
	if out, err = filepath.Abs(out); err != nil {
		return false, err
	}
	if err := errors.Join(os.RemoveAll(out), os.MkdirAll(out, 0o755)); err != nil {
		return false, err
	}
	all := append([]mutant{control}, mutants()...)
	var chosen []mutant
	for _, m := range all {
		if pattern.MatchString(m.name) {
			chosen = append(chosen, m)
		}
	}
	title, command := "Mutants: what the validators find", "make mutants"
	if len(chosen) < len(all) {
		title += fmt.Sprintf(" (%d of %d)", len(chosen), len(all))
		command += fmt.Sprintf(" ARGS=\"-only '%s'\"", only)
	}
	recorder := reports.Record(title, command, os.Stdout)
	environment := reports.ThisMachine(ctx)
	environment.Target, environment.Plane, environment.Guests = "fake", string(world.PlaneEmbedded), "simulated"
	recorder.Describe(environment)
	trials := make([]trial, len(chosen))
	var worlds errgroup.Group
	worlds.SetLimit(max(1, together))
	for i, m := range chosen {
		worlds.Go(func() error {
			trials[i] = tried(ctx, recorder, filepath.Join(out, strconv.Itoa(i)), m, limit)
			return nil
		})
	}
	_ = worlds.Wait() // what went wrong stands in the trials
	report := recorder.Finish()
	path, err := reports.Write(out, report)
	if err != nil {
		return false, err
	}
	fmt.Printf("\n%s\nreport: %s\n", table(trials), path)
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	return len(trials) > 0 && !slices.ContainsFunc(trials, func(t trial) bool { return t.err != nil || !t.good() }), nil
}

// tried is what became of one of them, taken down.
func tried(ctx context.Context, recorder *reports.Recorder, dir string, m mutant, limit time.Duration) (t trial) {
	defer func() {
		_ = recover() // the step has failed, and says so
		for _, v := range t.validators() {
			recorder.Validator(v)
		}
		fmt.Printf("           %s: %s\n", t.name, t)
	}()
	recorder.Step(m.name, func() {
		if t = try(ctx, dir, m, limit); t.err != nil || !t.good() {
			panic("not as it must be")
		}
	})
	return t
}

// trial is what became of a mutant, or of the control run.
type trial struct {
	mutant
	// caught is when each validator complained first, since the start of the
	// workload, and what it said.
	caught map[string]time.Duration
	said   map[string]string
	took   time.Duration
	// results are those at the end.
	results []validate.Result
	err     error
}

// good tells whether it went as it must.
func (t trial) good() bool {
	if t.catches != "" {
		_, is := t.caught[t.catches]
		return is
	}
	return len(t.caught) == 0 && validate.Verdict(t.results) == reports.Passed
}

func (t trial) String() string {
	var all []string
	for name, after := range t.caught {
		all = append(all, fmt.Sprintf("%s after %.1f s: %s", name, after.Seconds(), t.said[name]))
	}
	slices.Sort(all)
	switch {
	case t.err != nil:
		return fmt.Sprintf("not run to its end: %v", t.err)
	case len(all) == 0:
		return "caught by nobody"
	default:
		return "caught by " + strings.Join(all, "; ")
	}
}

// validators are what the trial says of the validators in the report: the control
// run's as they are; that of a mutant has passed if it complained.
func (t trial) validators() (all []reports.Validator) {
	if t.catches != "" {
		v := reports.Validator{
			Name: t.catches, Rule: "finds " + t.name, Checked: 1, Verdict: reports.Passed,
		}
		if !t.good() || t.err != nil {
			v.Verdict, v.Violations = reports.Failed, []string{t.String()}
		}
		return []reports.Validator{v}
	}
	for _, r := range t.results {
		v := reports.Validator{Name: r.Validator, Rule: "finds nothing where there is no mutant", Checked: r.Judged, Verdict: r.Verdict}
		for _, violation := range r.Violations {
			v.Violations = append(v.Violations, violation.String())
		}
		all = append(all, v)
	}
	return all
}

// table is for the terminal.
func table(trials []trial) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-52s %-18s %-8s %s\n", "mutant", "meant for it", "after", "others that complained")
	for _, t := range trials {
		meant, after := t.catches, "MISSED"
		if d, is := t.caught[t.catches]; is {
			after = fmt.Sprintf("%.1f s", d.Seconds())
		}
		var others []string
		for name := range t.caught {
			if name != t.catches {
				others = append(others, name)
			}
		}
		slices.Sort(others)
		if meant == "" {
			meant, after = "(control)", "nothing"
			if !t.good() {
				after = "FAILED"
			}
		}
		if t.err != nil {
			others = append(others, "error: "+strings.SplitN(t.err.Error(), "\n", 2)[0])
		}
		fmt.Fprintf(&b, "%-52s %-18s %-8s %s\n", t.name, meant, after, strings.Join(others, ", "))
	}
	return b.String()
}
