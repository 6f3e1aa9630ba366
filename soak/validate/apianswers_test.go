package validate_test

import (
	"testing"

	fake "elemento.cloud/cluster-api-provider-elemento/fakeatomos/history"
	"elemento.cloud/cluster-api-provider-elemento/soak/history"
	"elemento.cloud/cluster-api-provider-elemento/soak/validate"
)

const endpoint = "1.2.3.4:6443"

func guests(seconds float64, event, vm string) history.Event {
	return history.Event{Time: at(seconds), Kind: fake.Cluster, Event: event, Name: endpoint, VM: vm}
}

func probes(from, to float64, event string) (s story) {
	for t := from; t < to; t += 0.5 {
		s = append(s, history.Event{Time: at(t), Kind: fake.Probe, Event: event, Name: "ns/c", Address: endpoint})
	}
	return s
}

func workload(seconds float64, deleted ...float64) history.Event {
	return object(seconds, "modified", "Cluster", "c", nil, deleted...)
}

func join(parts ...story) (all story) {
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

func TestAnAPIThatAnswersWhenItCanIsGood(t *testing.T) {
	t.Parallel()
	up := story{workload(0), guests(0, "majority", ""), guests(0, "serving", "a"), guests(0, "serving", "b")}
	for name, s := range map[string]story{
		"always":                  join(up, probes(1, 30, "answered")),
		"after a short gap":       join(up, probes(1, 30, "answered"), story{guests(30, "silent", "a")}, probes(30, 39, "failed"), probes(39, 60, "answered")),
		"not before it ever did":  join(up, probes(1, 100, "failed")),
		"not without a majority":  join(up, probes(1, 10, "answered"), story{guests(10, "minority", "")}, probes(10, 100, "failed"), story{guests(100, "majority", "")}, probes(100, 105, "failed"), probes(105, 110, "answered")),
		"not without a server":    join(up, probes(1, 10, "answered"), story{guests(10, "silent", "a"), guests(10, "silent", "b")}, probes(10, 100, "failed")),
		"not once it is deleted":  join(up, probes(1, 10, "answered"), story{workload(10, 10)}, probes(10, 100, "failed")),
		"for a moment afterwards": join(up, probes(1, 10, "answered"), story{guests(10, "minority", "")}, probes(10, 11, "answered"), probes(11, 20, "failed")),
		"not without the forward's host": join(
			story{elementoClusterAt(0), forward(0, "made", "h1", "a")}, up, probes(1, 10, "answered"),
			story{host(10, "down", "h1")}, probes(10, 100, "failed"), story{host(100, "up", "h1")}, probes(100, 105, "failed"), probes(105, 110, "answered"),
		),
		"not without the forward's target while nobody can move it": join(
			story{elementoClusterAt(0), forward(0, "made", "h1", "a")}, up, probes(1, 10, "answered"),
			story{{Time: at(10), Kind: fake.Process, Event: "killed", Name: "manager"}, guests(10, "silent", "a")}, probes(10, 100, "failed"),
			story{{Time: at(100), Kind: fake.Process, Event: "started", Name: "manager"}}, probes(100, 105, "failed"),
			story{forward(105, "removed", "h1", "a"), forward(105, "made", "h1", "b")}, probes(105, 110, "answered"),
		),
		"not without the forward's target while the calls that would move it fail": join(
			story{elementoClusterAt(0), forward(0, "made", "h1", "a")}, up, story{fault(0, "added", "", "")}, probes(1, 10, "answered"), story{guests(10, "silent", "a")},
			story{fault(10, "fired", "POST network/portforward", "h1")}, probes(10, 19, "failed"),
			story{fault(19, "fired", "GET matcher/running", "h2")}, probes(19, 35, "failed"), story{forward(35, "changed", "h1", "b")}, probes(35, 40, "answered"),
		),
	} {
		t.Run(name, func(t *testing.T) { t.Parallel(); isGood(t, validate.NewAPIAnswers(validate.Limits{}), s) })
	}
}

// fault is what becomes of one that is there in the background.
func fault(seconds float64, event, call, host string) history.Event {
	return history.Event{Time: at(seconds), Kind: fake.Fault, Event: event, ID: "1", Name: "now and then", Call: call, Host: host}
}

func elementoClusterAt(seconds float64) history.Event { return elementoCluster(seconds, "added") }

func TestAnAPIThatIsSilentOrShouldBeIsFound(t *testing.T) {
	t.Parallel()
	up := story{workload(0), guests(0, "majority", ""), guests(0, "serving", "a"), guests(0, "serving", "b")}
	for name, c := range map[string]struct {
		s    story
		says string
	}{
		"for no reason":         {join(up, probes(1, 10, "answered"), probes(10, 60, "failed"), probes(60, 70, "answered")), "has not answered since"},
		"after the holder went": {join(up, probes(1, 10, "answered"), story{guests(10, "silent", "a")}, probes(10, 60, "failed")), "has not answered since"},
		"after a majority came back": {
			join(up, probes(1, 10, "answered"), story{guests(10, "minority", "")}, probes(10, 60, "failed"), story{guests(60, "majority", "")}, probes(60, 80, "failed")), "has not answered since",
		},
		"behind a forward that leads to nobody": {
			join(story{elementoClusterAt(0), forward(0, "made", "h1", "a")}, up, probes(1, 10, "answered"), story{guests(10, "silent", "a")}, probes(10, 60, "failed")), "has not answered since",
		},
		"behind a forward whose target lost its host": {
			join(story{elementoClusterAt(0), forward(0, "made", "h1", "a")}, up, probes(1, 10, "answered"), story{host(10, "down", "h2"), guests(10, "silent", "a")}, probes(10, 60, "failed")), "has not answered since",
		},
		"behind a forward that leads to nobody, though calls fail that it does not take": {
			join(story{elementoClusterAt(0), forward(0, "made", "h1", "a")}, up, story{fault(0, "added", "", "")}, probes(1, 10, "answered"), story{guests(10, "silent", "a")},
				probes(10, 14, "failed"), story{fault(14, "fired", "POST storage/destroy", "h1"), fault(14, "fired", "POST network/portforward", "h2")}, probes(14, 24, "failed")),
			"has not answered since",
		},
		"behind a forward that leads to nobody, long after a call failed": {
			join(story{elementoClusterAt(0), forward(0, "made", "h1", "a")}, up, story{fault(0, "added", "", "")}, probes(1, 10, "answered"), story{guests(10, "silent", "a")},
				story{fault(10, "fired", "POST network/portforward", "h1")}, probes(10, 40, "failed")),
			"has not answered since",
		},
		"an answer without a majority": {
			join(up, probes(1, 10, "answered"), story{guests(10, "minority", "")}, probes(12.2, 12.6, "answered"), probes(20, 30, "failed")), "has had no majority",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			isBad(t, validate.NewAPIAnswers(validate.Limits{}), c.s, c.says)
		})
	}
}
