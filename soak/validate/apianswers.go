package validate

import (
	"encoding/json"
	"fmt"
	"net"
	"strconv"
	"time"

	fake "elemento.cloud/cluster-api-provider-elemento/fakeatomos/history"
	"elemento.cloud/cluster-api-provider-elemento/soak/history"
)

// silentSoon is how long the APIs of a cluster may take to fall silent once etcd has
// lost its majority.
const silentSoon = 2 * time.Second

// APIAnswers demands that the API of a workload cluster, once it has answered,
// answers to who asks at the cluster's endpoint, until the Cluster is deleted: never
// is it silent for longer than [Limits.Gap] while etcd has a majority, an API server
// serves and the endpoint's holder lives. A virtual IP is to find its next holder by
// itself. The holder of a forward is the forward's host, and the VM that it leads to;
// it is to lead to another one in the same time, which begins anew while our processes
// or the ways between them are disturbed, and with each fault of a C4 call by which a
// forward is led elsewhere. And an API must not answer at all while etcd has no
// majority.
type APIAnswers struct {
	later
	objects
	limits    Limits
	endpoints map[string]*endpoint // by host:port
	forwards  map[string]string    // the VM that a forward leads to, by host:port of AtomOS
	down      map[string]bool      // hosts
	deleted   map[string]bool      // Clusters
	disturbed faults
	judged    int
}

// endpoint is that of a workload cluster.
type endpoint struct {
	known    bool // that the guests tell of themselves
	majority bool
	since    time.Time // when majority last changed
	serving  map[string]bool
	// able is since when the API has been able to answer; zero if it is not.
	able time.Time
	// answered is when it last did, failing since when it did not.
	answered, failing time.Time
	told              bool
	first             Event
}

// NewAPIAnswers returns the validator for a new history.
func NewAPIAnswers(l Limits) *APIAnswers {
	return &APIAnswers{
		limits: l.complete(), endpoints: map[string]*endpoint{}, forwards: map[string]string{},
		down: map[string]bool{}, deleted: map[string]bool{},
	}
}

// Name implements [Validator].
func (*APIAnswers) Name() string { return "APIAnswers" }

// Judged implements [Validator].
func (v *APIAnswers) Judged() (int, string) { return v.judged, "" }

// Observe implements [Validator].
func (v *APIAnswers) Observe(e Event) []Violation {
	found := v.pass(e)
	v.disturbed.observe(e)
	switch e.Kind {
	case fake.Object:
		if o, err := history.ObjectOf(e); err == nil && o.Kind == "Cluster" {
			v.deleted[o.Key()] = !o.Metadata.DeletionTimestamp.IsZero() || e.Event == "deleted"
		}
		v.observe(e)
	case fake.Host:
		switch e.Event {
		case "down":
			v.down[e.Host] = true
		case "up":
			delete(v.down, e.Host)
		}
	case fake.Forward:
		at := address(e.Host, portOf(e))
		switch e.Event {
		case "made", "changed":
			v.forwards[at] = e.VM
		case "removed":
			delete(v.forwards, at)
		}
	case fake.Cluster:
		v.guests(e)
	case fake.Probe:
		return append(found, v.probe(e)...)
	default:
		return found
	}
	for at, p := range v.endpoints {
		v.settle(at, p, e.Time)
	}
	return found
}

// at is the endpoint of an address.
func (v *APIAnswers) at(address string) *endpoint {
	p := v.endpoints[address]
	if p == nil {
		p = &endpoint{serving: map[string]bool{}}
		v.endpoints[address] = p
	}
	return p
}

func (v *APIAnswers) guests(e Event) {
	p := v.at(e.Name)
	switch e.Event {
	case "majority", "minority":
		if is := e.Event == "majority"; !p.known || is != p.majority {
			p.known, p.majority, p.since = true, is, e.Time
		}
	case "serving":
		p.serving[e.VM] = true
	case "silent":
		delete(p.serving, e.VM)
	}
}

// settle finds out whether an API can answer.
func (v *APIAnswers) settle(at string, p *endpoint, now time.Time) {
	able := p.majority && len(p.serving) > 0
	since := now
	for _, c := range v.clusters {
		if address(c.endpoint.Host, c.endpoint.Port) != at || c.endpointHost == "" || !c.gone.IsZero() {
			continue
		}
		target, is := v.forwards[address(c.endpointHost, c.endpoint.Port)]
		leads := is && p.serving[target]
		switch {
		case v.down[c.endpointHost]:
			able = false
		case !leads && v.disturbed.disturbs(c.endpointHost, now.Add(-v.limits.Gap)):
			able = false
		}
	}
	switch {
	case !able:
		p.able = time.Time{}
	case p.able.IsZero():
		p.able = since
	}
}

func (v *APIAnswers) probe(e Event) []Violation {
	p := v.at(e.Address)
	v.settle(e.Address, p, e.Time)
	if v.deleted[e.Name] {
		p.answered, p.failing = time.Time{}, time.Time{}
		return nil
	}
	v.judged++
	if e.Event == "answered" {
		p.answered, p.failing, p.told = e.Time, time.Time{}, false
		if p.known && !p.majority && e.Time.Sub(p.since) > silentSoon {
			return []Violation{{
				v.Name(), e.Time,
				fmt.Sprintf("the API of Cluster %s answers, and its etcd has had no majority since %s", e.Name, p.since.Format("15:04:05.000")), []Event{e},
			}}
		}
		return nil
	}
	if p.answered.IsZero() {
		return nil // it has never answered yet
	}
	if p.failing.IsZero() {
		p.failing, p.first = e.Time, e
	}
	from := p.failing
	if p.able.After(from) {
		from = p.able
	}
	if p.able.IsZero() || p.told || e.Time.Sub(from) <= v.limits.Gap {
		return nil
	}
	p.told = true
	return []Violation{{
		v.Name(), e.Time,
		fmt.Sprintf("the API of Cluster %s has not answered since %s although it could, for longer than %s", e.Name, from.Format("15:04:05.000"), v.limits.Gap),
		[]Event{p.first, e},
	}}
}

// Finish implements [Validator].
func (v *APIAnswers) Finish() []Violation { return v.rest() }

func address(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }

// portOf is the port of a forward.
func portOf(e Event) int {
	var detail struct {
		Port int `json:"port"`
	}
	_ = json.Unmarshal(e.Detail, &detail) // one that does not say has none
	return detail.Port
}
