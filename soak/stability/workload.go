package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/e2e/suite"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos/history"
)

// patience is how long a step of the workload may take: far longer than it does,
// and no longer than two reconciliation cycles.
const patience = 20 * time.Minute

// lane makes clusters one after the other and does with each what people do:
// more workers, another template, fewer workers, no cluster.
type lane struct {
	name string
	// number is that of its network, from 1.
	number int
	soak   *soak
	rand   *rand.Rand
	// turn counts its clusters.
	turn int
}

// run makes turns until ctx is over, and ends after a whole one.
func (l *lane) run(ctx context.Context) error {
	for ctx.Err() == nil {
		l.turn++
		if err := l.life(context.WithoutCancel(ctx)); err != nil {
			return err
		}
		l.soak.turns.Add(1)
	}
	return nil
}

// The kinds of steps.
const (
	createStep    = "create a cluster"
	scaleUpStep   = "more workers"
	rollStep      = "all workers anew"
	scaleDownStep = "fewer workers"
	deleteStep    = "delete a cluster"
)

// life is the life of one cluster.
func (l *lane) life(ctx context.Context) error {
	workers := 1 + l.rand.IntN(2)
	more := workers + 1 + l.rand.IntN(2)
	c := l.soak.cluster(fmt.Sprintf("%s-%d", l.name, l.turn), l.number, 1)
	err := l.soak.do(ctx, c,
		step{createStep, func(ctx context.Context) error { return c.apply(ctx, workers) }, c.Has(workers)},
		step{scaleUpStep, func(ctx context.Context) error { return c.Scale(ctx, more) }, c.Has(more)},
		step{rollStep, c.roll, c.rolled(more)},
		step{scaleDownStep, func(ctx context.Context) error { return c.Scale(ctx, 1) }, c.Has(1)},
		step{deleteStep, c.AskDeletion, c.Gone},
	)
	if err != nil {
		return err
	}
	return c.forget(workers)
}

// step is something that is asked for, and when it has come true.
type step struct {
	name string
	ask  func(context.Context) error
	done func(context.Context) error
}

// do takes one step after the other, each with an end.
func (s *soak) do(ctx context.Context, c *cluster, steps ...step) error {
	for _, step := range steps {
		name := c.Key.Name + ": " + step.name
		started := time.Now()
		s.history.Add(history.Event{Kind: history.Step, Event: "begin", Name: name})
		if err := s.await(ctx, step.ask, step.done); err != nil {
			s.history.Add(history.Event{Kind: history.Step, Event: "failed", Name: name})
			return fmt.Errorf("%s: %w", name, err)
		}
		s.history.Add(history.Event{Kind: history.Step, Event: "end", Name: name})
		s.took(step.name, time.Since(started))
	}
	return nil
}

// errStopped ends a step of a run that is stopped; whoever stopped it has said why.
var errStopped = errors.New("the run was stopped")

func ignoreStopped(err error) error {
	if errors.Is(err, errStopped) {
		return nil
	}
	return err
}

// await asks, and asks again while the management plane is away, and then waits.
func (s *soak) await(ctx context.Context, ask, done func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	asked := false
	var last error
	for {
		if !asked {
			last = ask(ctx)
			asked = last == nil
		}
		if asked {
			if last = done(ctx); last == nil {
				return nil
			}
		}
		select {
		case <-s.stopped:
			return errStopped
		case <-ctx.Done():
			return fmt.Errorf("after %s: %w", patience, last)
		case <-tick.C:
		}
	}
}

// cluster is a workload cluster of the soak.
type cluster struct {
	suite.Cluster
	// old are the workers' Machines that were there before they were asked for anew.
	old map[string]bool
}

// forget removes the manifest of a cluster that came and went: all are alike, and
// those of a cluster that did not stay.
func (c *cluster) forget(workers int) error {
	for _, name := range []string{c.Manifest(workers), "clusterctl-upgrade-config-" + c.Key.Name + ".yaml"} {
		if err := os.Remove(filepath.Join(c.Site.Dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

func (c *cluster) apply(ctx context.Context, workers int) error {
	return suite.Apply(ctx, c.Site.Admin, "soak", c.Generate(ctx, workers))
}

// roll gives the workers a new template, which has a GiB of memory more.
func (c *cluster) roll(ctx context.Context) error {
	if c.old == nil { // it may be asked again, when some are new already
		machines, err := c.ListMachines(ctx, c.Site.Admin)
		if err != nil {
			return err
		}
		c.old = map[string]bool{}
		for _, m := range machines.Workers {
			c.old[m.Name] = true
		}
	}
	return c.Roll(ctx, 1024)
}

// rolled holds when all workers are new ones.
func (c *cluster) rolled(workers int) func(context.Context) error {
	return func(ctx context.Context) error {
		machines, err := c.ListMachines(ctx, c.Site.Admin)
		if err != nil {
			return err
		}
		for _, m := range machines.Workers {
			if c.old[m.Name] {
				return fmt.Errorf("Machine %s is still of the old template", m.Name)
			}
		}
		return c.Has(workers)(ctx)
	}
}
