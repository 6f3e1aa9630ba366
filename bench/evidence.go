package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/e2e/suite"
	"elemento.cloud/cluster-api-provider-elemento/soak/history"
)

// evidence is all that a run has written down of its Machines, since a moment.
type evidence struct {
	events []history.Event
	// asks are the calls to hosts that daemons have made for requests.
	asks []ask
	// writes are those to the API server.
	writes []write
}

// ask is a C4 call as a daemon has it.
type ask struct {
	request string
	span
}

// write is a request that changes an object, as the API server has it.
type write struct {
	by, resource, name string
	span
}

// listing is the call by which daemons take the inventory of a host, and registering
// the one that makes a VM.
const (
	listing     = "GET matcher/running"
	registering = "POST matcher/register"
)

// gather reads the history in a directory, and the audit log where there is one, of
// what began since a moment.
func gather(dir, auditLog, namespace string, since time.Time) (*evidence, error) {
	e := &evidence{}
	if err := history.Read(dir, func(event history.Event) error {
		if !event.Time.Before(since) {
			e.events = append(e.events, event)
		}
		return nil
	}); err != nil {
		return nil, err
	}
	logs, err := filepath.Glob(filepath.Join(dir, history.Daemons))
	if err != nil {
		return nil, err
	}
	for _, log := range logs {
		if err := suite.Lines(log, func(text []byte) error { return e.readAsk(text, since) }); err != nil {
			return nil, err
		}
	}
	if auditLog == "" {
		return e, nil
	}
	return e, suite.Lines(auditLog, func(text []byte) error { return e.readWrite(text, namespace, since) })
}

// readAsk reads the line of a daemon's log that tells of a call to a host, if it is
// one.
func (e *evidence) readAsk(text []byte, since time.Time) error {
	if !bytes.Contains(text, []byte(`"asked a host"`)) {
		return nil
	}
	var l struct {
		Time    time.Time     `json:"time"`
		Request string        `json:"requestID"`
		Took    time.Duration `json:"took"`
	}
	if err := json.Unmarshal(text, &l); err != nil {
		return fmt.Errorf("reading what a daemon asked its hosts: %w", err)
	}
	if began := l.Time.Add(-l.Took); !began.Before(since) {
		e.asks = append(e.asks, ask{l.Request, span{began, l.Time}})
	}
	return nil
}

// readWrite reads a line of the audit log, if it is of a change of an object in the
// namespace.
func (e *evidence) readWrite(text []byte, namespace string, since time.Time) error {
	if !bytes.Contains(text, []byte(`"`+namespace+`"`)) {
		return nil
	}
	var l struct {
		Verb      string
		User      struct{ Username string }
		ObjectRef struct{ Resource, Namespace, Name string }
		Received  time.Time `json:"requestReceivedTimestamp"`
		Done      time.Time `json:"stageTimestamp"`
	}
	if err := json.Unmarshal(text, &l); err != nil {
		return fmt.Errorf("reading the audit log: %w", err)
	}
	if l.ObjectRef.Namespace == namespace && !slices.Contains([]string{"get", "list", "watch"}, l.Verb) && !l.Received.Before(since) {
		e.writes = append(e.writes, write{l.User.Username, l.ObjectRef.Resource, l.ObjectRef.Name, span{l.Received, l.Done}})
	}
	return nil
}
