package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	. "github.com/onsi/gomega"

	"elemento.cloud/cluster-api-provider-elemento/e2e/suite"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos/history"
	"elemento.cloud/cluster-api-provider-elemento/reports"
	runhistory "elemento.cloud/cluster-api-provider-elemento/soak/history"
	"elemento.cloud/cluster-api-provider-elemento/soak/validate"
	"elemento.cloud/cluster-api-provider-elemento/soak/watch"
)

// watched is the history of the run, and who judges it.
type watched struct {
	*watch.Watch
	atomOS string
	steps  *history.Writer
	// told is how many violations have been told of.
	told int
	// faults are, by their IDs, the moments at which faults of the fake have fired,
	// up to the byte of its history that was read last.
	faults map[string][]history.Event
	read   int64
}

func watchOver(ctx context.Context, site *suite.Site) *watched {
	w, err := watch.Begin(ctx, site, validate.Limits{}, nil)
	Expect(err).NotTo(HaveOccurred())
	return &watched{Watch: w, atomOS: filepath.Join(site.Dir, runhistory.Dir, runhistory.AtomOS), steps: site.World.History(), faults: map[string][]history.Event{}}
}

// mark says in the history where a scenario has come to.
func (w *watched) mark(name, event string) {
	w.steps.Add(history.Event{Kind: history.Step, Event: event, Name: name})
}

// violated says what the validators have found since it was asked last.
func (w *watched) violated() error {
	var errs []error
	found := w.Violations()
	for _, v := range found[w.told:] {
		errs = append(errs, errors.New(v.String()))
	}
	w.told = len(found)
	return errors.Join(errs...)
}

// fired tells by their IDs when and where the faults of the fake have fired.
func (w *watched) fired() (map[string][]history.Event, error) {
	var err error
	w.read, err = history.Read(w.atomOS, w.read, func(e history.Event) error {
		if e.Kind == history.Fault && e.Event == "fired" {
			w.faults[e.ID] = append(w.faults[e.ID], e)
		}
		return nil
	})
	return w.faults, err
}

// judge ends the history and puts into the report what the validators came to.
func (w *watched) judge(e *reports.Examination) {
	results, err := w.End()
	Expect(err).NotTo(HaveOccurred())
	watch.Tell(e, results)
}

// holder is the VM that holds a virtual address, as its guests have told.
func (w *watched) holder(address string) (vm string, err error) {
	_, err = history.Read(w.atomOS, 0, func(e history.Event) error {
		if e.Kind == history.Cluster && e.Event == "holder" && e.Address == address {
			vm = e.VM
		}
		return nil
	})
	if err == nil && vm == "" {
		err = fmt.Errorf("no VM has ever held %s", address)
	}
	return vm, err
}
