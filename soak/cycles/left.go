package main

import (
	"context"
	"maps"
	"slices"
	"time"

	. "github.com/onsi/gomega"

	"elemento.cloud/cluster-api-provider-elemento/e2e/inventory"
)

// state is what there is while there is no cluster.
type state struct {
	atomOS    inventory.Inventory
	objects   []string
	listening map[string][]string
}

// settled is how long after a cluster something of it may be there that nothing
// waits for, such as objects that Kubernetes collects when it gets to it.
const settled = 30 * time.Second

func (r *run) look(ctx context.Context) (state, error) {
	s := state{objects: slices.Sorted(maps.Keys(r.site.Objects(ctx, r.namespace))), listening: map[string][]string{}}
	var err error
	if s.atomOS, err = r.site.Hosts.Take(ctx); err != nil {
		return s, err
	}
	for _, process := range r.processes {
		resources, err := r.site.World.Process(process).Resources()
		if err != nil {
			return s, err
		}
		s.listening[process] = resources.Listening
	}
	return s, nil
}

// left waits until all is as it was, and returns what is not by then.
func (r *run) left(ctx context.Context, of string) []string {
	ctx, cancel := context.WithTimeout(ctx, settled)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		now, err := r.look(context.WithoutCancel(ctx))
		Expect(err).NotTo(HaveOccurred())
		differences := now.differs(r.baseline)
		if len(differences) == 0 {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			r.baseline = now
			for i := range differences {
				differences[i] = of + ": " + differences[i]
			}
			return differences
		}
	}
}

// differs says what is there on one side only.
func (s state) differs(before state) []string {
	var found []string
	for _, resource := range s.atomOS.Without(before.atomOS) {
		found = append(found, "left on AtomOS: "+resource.String())
	}
	for _, resource := range before.atomOS.Without(s.atomOS) {
		found = append(found, "gone from AtomOS: "+resource.String())
	}
	for _, object := range s.objects {
		if !slices.Contains(before.objects, object) {
			found = append(found, "left in Kubernetes: "+object)
		}
	}
	for _, object := range before.objects {
		if !slices.Contains(s.objects, object) {
			found = append(found, "gone from Kubernetes: "+object)
		}
	}
	for _, process := range slices.Sorted(maps.Keys(s.listening)) {
		for _, address := range s.listening[process] {
			if !slices.Contains(before.listening[process], address) {
				found = append(found, process+" still listens on "+address)
			}
		}
	}
	return found
}
