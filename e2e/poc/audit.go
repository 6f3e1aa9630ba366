package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/e2e/suite"
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
	out, err := os.Create(to)
	if err != nil {
		return nil, fmt.Errorf("keeping the audit log of %s: %w", user, err)
	}
	defer func() {
		if closeErr := out.Close(); err == nil {
			err = closeErr
		}
	}()
	err = suite.Lines(log, func(line []byte) error {
		var r request
		if err := json.Unmarshal(line, &r); err != nil {
			return err
		}
		if r.User.Username != user {
			return nil
		}
		requests = append(requests, r)
		_, err := out.Write(line)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the audit log: %w", err)
	}
	return requests, nil
}
