package controllers

import (
	"maps"
	"slices"
	"sync"
	"time"

	apitypes "k8s.io/apimachinery/pkg/types"
)

// fullHosts remember, for a while, which hosts have turned out to have no room for a
// machine though they said that they had, so that a search comes to an end: each host is
// tried once, and then none for a time. What is forgotten is tried once more.
type fullHosts struct {
	mu    sync.Mutex
	known map[apitypes.UID]fullFor
}

type fullFor struct {
	hosts []string
	at    time.Time // of the last one
}

// add notes one and returns all of the machine's.
func (f *fullHosts) add(machine apitypes.UID, host string) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	maps.DeleteFunc(f.known, func(_ apitypes.UID, full fullFor) bool { return time.Since(full.at) > 5*time.Minute })
	if f.known == nil {
		f.known = map[apitypes.UID]fullFor{}
	}
	hosts := append(slices.Clone(f.known[machine].hosts), host)
	f.known[machine] = fullFor{hosts, time.Now()}
	return hosts
}

// forget ends the machine's search.
func (f *fullHosts) forget(machine apitypes.UID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.known, machine)
}
