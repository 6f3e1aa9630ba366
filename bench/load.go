package main

import (
	"context"
	"slices"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemento.cloud/cluster-api-provider-elemento/e2e/life"
)

// load keeps many Machines in flight: asked for and not Running. It orders as many more
// as have come to run.
type load struct {
	clastix client.Client
	want    int
	lives   *life.Recorder
	// deployments are asked for so many replicas each, and others were asked of others
	// before.
	deployments []client.ObjectKey
	replicas    []int
	others      int
	// flying and there are how many were in flight whenever it was looked, and how many of
	// them were there.
	flying, there []int
}

// more has Clastix ask all MachineDeployments together for so many workers more, or a
// portion of them.
func (l *load) more(ctx context.Context, workers int) error {
	each := (workers + len(l.deployments) - 1) / len(l.deployments)
	wanted := make([]int, len(l.replicas))
	for i, n := range l.replicas {
		wanted[i] = n + each
	}
	for i, n := range raised(l.replicas, wanted) {
		if n == l.replicas[i] {
			continue
		}
		l.replicas[i] = n
		if _, err := scale(ctx, l.clastix, l.deployments[i], n); err != nil {
			return err
		}
	}
	return nil
}

// rise orders Machines, and waits a while until as many are there as are wanted in flight.
// What it has seen is forgotten.
func (l *load) rise(ctx context.Context) error {
	turn := time.NewTicker(pace)
	defer turn.Stop()
	end := time.Now().Add(rising)
	for there, running := l.count(); there-running < l.want && time.Now().Before(end); there, running = l.count() {
		select {
		case <-turn.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := l.keep(ctx); err != nil {
			return err
		}
	}
	l.flying, l.there = nil, nil
	return nil
}

// linger waits a while for the last Machines that were ordered one by one.
func (l *load) linger(ctx context.Context, singles []*oneByOne) {
	ctx, cancel := context.WithTimeout(ctx, late)
	defer cancel()
	turn := time.NewTicker(pace)
	defer turn.Stop()
	for slices.ContainsFunc(singles, func(o *oneByOne) bool { return len(o.there()) < len(o.sent) }) {
		select {
		case <-turn.C:
		case <-ctx.Done():
			return
		}
	}
}

func (l *load) count() (there, running int) { return count(l.lives.Lives()) }

// count counts the workers that are there, and those of them that run. One that is deleted
// is neither: Cluster API may make one too many, and delete it before it runs.
func count(lives []life.Life) (there, running int) {
	for _, one := range lives {
		_, leaves := one.At[life.Deleted]
		if one.ControlPlane || leaves || one.At[life.Created].IsZero() {
			continue
		}
		there++
		if !one.At[life.Running].IsZero() {
			running++
		}
	}
	return there, running
}

// look takes down how many are in flight, and returns that and how many of them are not
// there.
func (l *load) look() (flying, coming int) {
	there, running := l.count()
	flying = l.others - running
	for _, n := range l.replicas {
		flying += n
	}
	l.flying, l.there = append(l.flying, flying), append(l.there, there-running)
	return flying, flying - (there - running)
}

// keep orders more before those that are in flight are too few.
func (l *load) keep(ctx context.Context) error {
	if flying, coming := l.look(); coming <= ahead && flying < l.want+l.want/20 {
		return l.more(ctx, l.most()-flying)
	}
	return nil
}

// most are those that are asked for at most: so many more than are wanted in flight that
// enough of them are there, while others are yet to be made.
func (l *load) most() int { return l.want + l.want/8 }
