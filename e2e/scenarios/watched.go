package main

import (
	"fmt"
	"os"
	"path/filepath"

	. "github.com/onsi/gomega"

	"elemento.cloud/cluster-api-provider-elemento/e2e/suite"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos/history"
)

// watched is the history of the run, and who judges it.
type watched struct {
	dir   string
	steps *history.Writer
}

func watch(site *suite.Site) *watched {
	dir := filepath.Join(site.Dir, "history")
	Expect(os.MkdirAll(dir, 0o755)).To(Succeed())
	return &watched{dir: dir, steps: site.World.History()}
}

// mark says in the history where a scenario has come to.
func (w *watched) mark(name, event string) {
	w.steps.Add(history.Event{Kind: history.Step, Event: event, Name: name})
}

// holder is the VM that holds a virtual address, as its guests have told.
func (w *watched) holder(address string) (vm string, err error) {
	_, err = history.Read(filepath.Join(w.dir, "atomos.jsonl"), 0, func(e history.Event) error {
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
