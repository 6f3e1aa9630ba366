package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"time"
)

// request is what the audit log says of one request.
type request struct {
	Verb string
	User struct{ Username string }
	// Stage is that at which the line was written.
	Stage     string
	ObjectRef struct {
		Resource, Namespace, Name, Subresource, APIGroup string
	}
	ResponseStatus           struct{ Code int }
	RequestReceivedTimestamp time.Time
	StageTimestamp           time.Time
}

// changes tells whether the request was to change something.
func (r request) changes() bool { return !slices.Contains([]string{"get", "list", "watch"}, r.Verb) }

// auditOf copies the lines of a user from an audit log to a file of its own, and
// returns what they say.
func auditOf(user, log, to string) (requests []request, err error) {
	in, err := os.Open(log)
	if err != nil {
		return nil, fmt.Errorf("reading the audit log: %w", err)
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return nil, fmt.Errorf("keeping the audit log of %s: %w", user, err)
	}
	defer func() {
		if closeErr := out.Close(); err == nil {
			err = closeErr
		}
	}()
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		var r request
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return nil, fmt.Errorf("reading the audit log: %w", err)
		}
		if r.User.Username != user {
			continue
		}
		if _, err := fmt.Fprintf(out, "%s\n", lines.Bytes()); err != nil {
			return nil, err
		}
		requests = append(requests, r)
	}
	return requests, lines.Err()
}
