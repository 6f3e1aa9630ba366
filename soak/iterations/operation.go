package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// kind is what is done to a VM.
type kind string

// The operations, in the order of a life. Three of them begin when the Machine is
// applied.
const (
	create        kind = "create"  // until the ElementoMachine is provisioned
	boot          kind = "boot"    // until the VM runs
	address       kind = "address" // until the ElementoMachine tells the VM's
	attachVolume  kind = "attach volume"
	attachNetwork kind = "attach network"
	pause         kind = "pause" // of our manager, which would power a VM on
	stop          kind = "stop"
	start         kind = "start"
	resume        kind = "resume"
	reboot        kind = "reboot"
	detachNetwork kind = "detach network"
	detachVolume  kind = "detach volume"
	remove        kind = "delete" // until the Machine is gone, and all of it from the host
)

var kinds = []kind{create, boot, address, attachVolume, attachNetwork, pause, stop, start, resume, reboot, detachNetwork, detachVolume, remove}

// deadlines are those by which an operation must have come to its end: what a
// person waits for, and longer where the daemon waits for what may land late.
var deadlines = map[kind]time.Duration{
	create: 4 * time.Minute, boot: 4 * time.Minute, address: 4 * time.Minute,
	attachVolume: 3 * time.Minute, attachNetwork: time.Minute,
	pause: time.Minute, stop: time.Minute, start: time.Minute, resume: time.Minute, reboot: time.Minute,
	detachNetwork: time.Minute, detachVolume: 3 * time.Minute,
	remove: 4 * time.Minute,
}

// The outcomes of an operation.
const (
	succeededOutcome = "succeeded"
	// failedOutcome is that of one which ended with an error that repeating does
	// not help.
	failedOutcome = "failed"
	// lostOutcome is that of one which was said to be done and is not: lost work,
	// which nothing excuses.
	lostOutcome = "said to be done and is not"
	// lateOutcome is that of one which its deadline has ended.
	lateOutcome = "deadline passed"
	// skippedOutcome is that of one which was not begun, because one before it has
	// not succeeded. It counts as not succeeded too.
	skippedOutcome = "not begun"
)

// operation is one thing that was done to one VM.
type operation struct {
	Run       string    `json:"run"`
	Iteration int       `json:"iteration"`
	VM        int       `json:"vm"`
	Machine   string    `json:"machine"`
	Operation kind      `json:"operation"`
	Begin     time.Time `json:"begin"`
	End       time.Time `json:"end"`
	Deadline  time.Time `json:"deadline"`
	// Attempts are the calls that were made to a daemon; 0 for what the provider
	// does.
	Attempts int    `json:"attempts,omitempty"`
	Outcome  string `json:"outcome"`
	Detail   string `json:"detail,omitempty"`
}

// operationsFile, among the artifacts, has a line for each operation.
const operationsFile = "operations.jsonl"

// operationLog writes operations down as they end.
type operationLog struct {
	mu   sync.Mutex
	file *os.File
}

func openLog(path string) (*operationLog, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("writing down operations: %w", err)
	}
	file, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("writing down operations: %w", err)
	}
	return &operationLog{file: file}, nil
}

func (l *operationLog) add(o operation) error {
	line, err := json.Marshal(o)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	_, err = l.file.Write(append(line, '\n'))
	return err
}

// Close closes the file.
func (l *operationLog) Close() error { return l.file.Close() }
