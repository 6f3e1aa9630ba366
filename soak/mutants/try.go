package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/e2e/binaries"
	"elemento.cloud/cluster-api-provider-elemento/e2e/world"
	"elemento.cloud/cluster-api-provider-elemento/soak/history"
	"elemento.cloud/cluster-api-provider-elemento/soak/validate"
)

// rest is how long a history goes on after the workload, so that what is left is
// told from what is about to go.
const rest = 7 * time.Second

// limits of the trials, which are short.
var limits = validate.Limits{Left: 10 * time.Second, Cleanup: time.Minute}

var errCaught = errors.New("the mutant is caught")

// try runs a mutant through its workload, until it is caught.
func try(ctx context.Context, dir string, m mutant, limit time.Duration) (t trial) {
	started := time.Now()
	t = trial{mutant: m, caught: map[string]time.Duration{}, said: map[string]string{}}
	defer func() { t.took = time.Since(started) }()
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("it has taken longer than %s", limit))
	defer cancel()
	repository, err := binaries.Repository(ctx)
	if err != nil {
		t.err = err
		return t
	}
	files, err := world.Overlay(repository, m.edits...)
	if err != nil {
		t.err = err
		return t
	}
	s, err := newStage(ctx, dir, files)
	if err != nil {
		t.err = err
		return t
	}
	began := time.Now()
	note := func(v validate.Violation) {
		if _, is := t.caught[v.Validator]; !is {
			t.caught[v.Validator], t.said[v.Validator] = time.Since(began), v.String()
		}
	}

	work, stopWork := context.WithCancelCause(ctx)
	follow, stopFollow := context.WithCancel(context.WithoutCancel(ctx))
	followed := make(chan error, 1)
	go func() {
		var err error
		t.results, err = validate.Follow(follow, filepath.Join(dir, history.Dir), func(v validate.Violation) {
			note(v)
			if v.Validator == m.catches {
				stopWork(errCaught)
			}
		}, validate.All(limits)...)
		followed <- err
	}()
	err = play(work, s, m.workload)
	if errors.Is(context.Cause(work), errCaught) {
		err = nil
	}
	stopWork(nil)
	endErr := s.end(context.WithoutCancel(ctx))
	stopFollow()
	followErr := <-followed
	for _, r := range t.results {
		if len(r.Violations) > 0 {
			note(r.Violations[0])
		}
	}
	if _, is := t.caught[m.catches]; is {
		err = nil // who was caught need not have come to the end
	}
	t.err = errors.Join(err, endErr, followErr)
	return t
}

// play does the acts of a workload, and rests.
func play(ctx context.Context, s *stage, workload []act) error {
	for _, act := range workload {
		if err := act.do(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", act.name, err)
		}
	}
	over := time.Now().Add(rest)
	return eventually(ctx, "the history is long enough", func(context.Context) (bool, error) { return time.Now().After(over), nil })
}
