// Package history is what happened, on one clock, as JSON Lines: who did what to
// which resource and when. Several processes write, each a file of its own; the
// files of one directory are the history of a run. A line is on its way to the disk
// when Add returns, so that whoever is killed loses nothing.
package history

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// Kind says what an event is about.
type Kind string

// The kinds. Which fields an event has, and what Event says, depends on it.
const (
	// Call is a C4 call as its host saw it: Time is its arrival, Ended its answer;
	// Host, Call, Owner, VM, Name, UID, Status, Applied, Faults, ID. A call that
	// only reads is left out when it was answered as the last time.
	Call Kind = "call"
	// VM is a VM on its host: Event is made, started (power on), running, booted
	// (its guest is up and has its address), rebooted (begins to, and says running
	// and booted again), failed (its guest did not come up), stopping (running
	// again, if it does not heed), off, crashed (lost power, also with its host, or
	// its guest ended by itself), cut and mended (its network), changed, vanished
	// (taken away by no call) or removed. Host, VM, UID, Owner, Address; Detail of
	// made and changed: slots, memoryMiB, volumes, networks; of failed: error.
	VM Kind = "vm"
	// Volume, Network and Forward are those of a host: Event is made, changed or
	// removed. Host, Name, UID, Owner; VM of a forward is its target. Detail of a
	// volume: size in bytes, seed, complete, reserved; of a forward: its ends.
	Volume  Kind = "volume"
	Network Kind = "network"
	Forward Kind = "forward"
	// Host is a host itself: Event is up, down, isolated, reachable, maintenance,
	// normal, slow, boots, capacity, community, clock or wiped. Host, Name of the domain,
	// Detail.
	Host Kind = "host"
	// Fault is one that was set, fired or ended: Event is added, fired or removed,
	// Name what people call it (its ID, if nothing), ID that of Faults, Detail the
	// fault. Of one that fired: Call (empty at boot), Host, VM, Owner, UID.
	Fault Kind = "fault"
	// Process is a program that the run started: Event is started, stopped, killed,
	// ended (by itself), paused or resumed. Name.
	Process Kind = "process"
	// RPC is a call over gRPC as one end saw it, from Time to Ended: Name is the
	// method, End which end ("manager", "daemon" or "harness"), Peer the daemon's
	// address; Host, VM, Owner, Code, ID, and Detail of the result.
	RPC Kind = "rpc"
	// Object is one of Kubernetes: Event is added, modified or deleted, Detail the
	// object without what nobody judges; or of none: recorded, when all that are
	// there have been told, and unrecorded, when nothing is told any more.
	Object Kind = "object"
	// Cluster is what a workload cluster's guests know: Event is majority or
	// minority (of etcd), serving or silent (an API server, of VM with UID), or
	// holder (VM with UID holds the virtual IP Address; nobody does without a VM).
	// Name is the cluster's endpoint.
	Cluster Kind = "cluster"
	// Probe is a question to a workload cluster's API from outside: Event is
	// answered or failed. Name is the Cluster, Address its endpoint.
	Probe Kind = "probe"
	// Step is something that the workload did or that a scenario came to: Event is
	// begin, end, passed or failed. Name.
	Step Kind = "step"
	// Sample are figures of a process at a moment: Name, Detail.
	Sample Kind = "sample"
)

// Event is one line.
type Event struct {
	// Time is when it happened, or began.
	Time time.Time `json:"time"`
	Kind Kind      `json:"kind"`
	// Event says what happened; the kind tells the words.
	Event string `json:"event,omitempty"`
	// Ended is when it was over, for what takes time; zero if nobody knows.
	Ended time.Time `json:"ended,omitzero"`
	// Run tells the runs of a history that was continued apart, from 1; 0 is 1.
	Run int `json:"run,omitempty"`

	Host    string `json:"host,omitempty"`
	Owner   string `json:"owner,omitempty"`
	VM      string `json:"vm,omitempty"`
	Name    string `json:"name,omitempty"`
	UID     string `json:"uid,omitempty"`
	Address string `json:"address,omitempty"`

	// Call is the name of a C4 call, such as "POST matcher/register", and Status
	// its HTTP status as the host had it, also where the caller never got it; 0
	// when the host lost power before.
	Call   string   `json:"call,omitempty"`
	Status int      `json:"status,omitempty"`
	Faults []string `json:"faults,omitempty"`
	// Applied tells of a call that it had its effect.
	Applied bool `json:"applied,omitempty"`

	// ID is the request's, the same on both wires.
	ID   string `json:"id,omitempty"`
	End  string `json:"end,omitempty"`
	Peer string `json:"peer,omitempty"`
	// Code is "OK", a daemon's reason, or the gRPC code where no daemon answered.
	Code string `json:"code,omitempty"`

	// Detail is what belongs to the kind and to no field above.
	Detail json.RawMessage `json:"detail,omitempty"`
}

// Writer appends events to a file. A nil Writer drops them. Its methods may be
// called from several goroutines.
type Writer struct {
	mu     sync.Mutex
	file   *os.File
	failed error
}

// Open opens the file for appending, and makes it if need be.
func Open(path string) (*Writer, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("opening the history: %w", err)
	}
	w := &Writer{file: file}
	if err := w.dropHalfLine(); err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("opening the history: %w", err)
	}
	return w, nil
}

// dropHalfLine takes away what a writer has left that was killed in a line.
func (w *Writer) dropHalfLine() error {
	info, err := w.file.Stat()
	if err != nil {
		return err
	}
	const most = 1 << 20 // the longest line, by far
	rest := make([]byte, min(info.Size(), most))
	if _, err := w.file.ReadAt(rest, info.Size()-int64(len(rest))); err != nil && err != io.EOF {
		return err
	}
	return w.file.Truncate(info.Size() - int64(len(rest)) + int64(bytes.LastIndexByte(rest, '\n')+1))
}

// Add writes an event; without a time it happened now. What cannot be written is
// told by Close: those who have something to tell have no use for the error.
func (w *Writer) Add(e Event) {
	if w == nil {
		return
	}
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	e.Time = e.Time.UTC()
	if !e.Ended.IsZero() {
		e.Ended = e.Ended.UTC()
	}
	line, err := json.Marshal(e)
	w.mu.Lock()
	defer w.mu.Unlock()
	if err == nil {
		_, err = w.file.Write(append(line, '\n'))
	}
	if w.failed == nil {
		w.failed = err
	}
}

// Close closes the file and returns what went wrong with it first.
func (w *Writer) Close() error {
	if w == nil {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.file.Close(); w.failed == nil {
		w.failed = err
	}
	if w.failed != nil {
		return fmt.Errorf("writing the history: %w", w.failed)
	}
	return nil
}

// Detail makes the detail of an event. What cannot be made into JSON is said so.
func Detail(v any) json.RawMessage {
	raw, err := json.Marshal(v)
	if err != nil {
		raw, _ = json.Marshal("not JSON: " + err.Error())
	}
	return raw
}
