// Package history gathers what the parts of a run write down while it goes on,
// into one history in one order: what the fake AtomOS and the harness write as
// events, and the calls in the logs of daemons and manager. It also writes what
// none of them knows: the objects of Kubernetes, and whether the workload clusters'
// APIs answer.
package history

import (
	"time"

	"elemento.cloud/cluster-api-provider-elemento/fakeatomos/history"
)

// Event is one thing that happened. It is the one of the fake's package, which
// says what its fields mean.
type Event = history.Event

// The files of a run's history, in its directory. The fake writes AtomOS; the
// recorder Objects; the harness, its prober too, Harness.
const (
	AtomOS  = "atomos.jsonl"
	Objects = "objects.jsonl"
	Harness = "harness.jsonl"
	// Manager is our manager's log and Daemons are those of the daemons.
	Manager = "manager*.log"
	Daemons = "daemon-*.log"
	// events are all files that are events as they are.
	events = "*.jsonl"
)

// Dir is the directory of the history, in that of a run.
const Dir = "history"

// Known is when an event was known whole: at its end, for what takes time. It is
// the order of a history, because nobody can tell of a call before.
func Known(e Event) time.Time {
	if e.Ended.After(e.Time) {
		return e.Ended
	}
	return e.Time
}
