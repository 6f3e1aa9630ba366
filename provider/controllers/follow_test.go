package controllers_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
)

// field is the value of a key in a line of a log in text.
func field(line, key string) string {
	found := regexp.MustCompile(`\b` + key + `="?([^" ]+)"?`).FindStringSubmatch(line)
	if found == nil {
		return ""
	}
	return found[1]
}

// As docs/logs.md shows it to people.
func TestARequestIsFollowedFromTheMachineToTheHostByOneID(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 1})
	cluster, _ := s.provisionedCluster()
	_, m := s.provisionedMachine(cluster)
	awaitCondition(s, m, infrav1.ReadyCondition, infrav1.ReadyReason)

	// The manager names the machine, and its reconcile is the request.
	var id string
	s.await("the manager has told of the call", func() bool {
		for line := range strings.Lines(s.logs.String()) {
			if field(line, "ElementoMachine") == s.namespace+"/"+m.Name && field(line, "method") == "EnsureVM" && field(line, "outcome") == "OK" {
				id = field(line, "requestID")
				if reconcile := field(line, "reconcileID"); id != reconcile {
					t.Errorf("the request is %q and its reconcile %q", id, reconcile)
				}
			}
		}
		return id != ""
	}, s.logs.tail)

	// The daemon has the same call under that ID, and handed it on to the host.
	if !slices.ContainsFunc(strings.Split(s.logs.String(), "\n"), func(line string) bool {
		return field(line, "msg") == "audit" && field(line, "method") == "EnsureVM" && field(line, "requestID") == id && field(line, "vm") == m.Spec.VMName
	}) {
		t.Errorf("no daemon has an audit line of EnsureVM with request ID %s", id)
	}
	var calls []string
	for _, entry := range s.fake.Journal(0) {
		if entry.RequestID == id {
			calls = append(calls, entry.Call)
		}
		if strings.HasPrefix(entry.Name, m.Spec.VMName) && entry.RequestID == "" {
			t.Errorf("%s about %s came to the host under no ID", entry.Call, entry.Name)
		}
	}
	if !slices.Contains(calls, "POST matcher/register") {
		t.Errorf("under request ID %s the host was asked for %q, which has no register", id, calls)
	}
}
