package main

import (
	"encoding/json"
	"strings"
	"time"

	fakehistory "elemento.cloud/cluster-api-provider-elemento/fakeatomos/history"
	"elemento.cloud/cluster-api-provider-elemento/soak/history"
)

// order is a request of Clastix for so many workers: from how many, to how many.
type order struct {
	From int `json:"from"`
	To   int `json:"to"`
}

// orderEvent is how an order stands in the history: from being sent to its answer.
func orderEvent(o order, s span) history.Event {
	return history.Event{Time: s.from, Ended: s.to, Kind: fakehistory.Step, Event: "end", Name: ordered, Detail: fakehistory.Detail(o)}
}

// ordered is the name of such events, and streamed that of those of what the stream of
// a daemon has told of a VM.
const (
	ordered  = "workers ordered"
	streamed = "WatchVMs"
)

// journeys are those of the workers' Machines in a namespace of which the evidence
// tells. By says for whom which users write to the API server.
func (e *evidence) journeys(namespace string, by map[string]layer) []*journey {
	g := &gathering{namespace: namespace, machines: map[string]*journey{}, infra: map[string]*journey{}, configs: map[string]*journey{}, vms: map[string]*journey{}}
	objects := g.objects(e.events)
	g.findMachines(objects)
	for _, s := range objects {
		g.seeObject(s)
	}
	g.seeOrders(e.events)
	requests := g.seeCalls(e.events)
	for _, a := range e.asks {
		if j := requests[a.request]; j != nil {
			j.works(c4Call, a.span)
		}
	}
	g.seeHosts(e.events, requests)
	for _, w := range e.writes {
		if l, known := by[w.by]; known {
			g.seeWrite(w, l)
		}
	}
	return g.all
}

// gathering finds the journeys that events are about.
type gathering struct {
	namespace string
	all       []*journey
	// By the names of their Machines, ElementoMachines, bootstrap configs and VMs.
	machines, infra, configs, vms map[string]*journey
}

// seeOrders takes the requests that came last before a Machine was there, or deleted.
func (g *gathering) seeOrders(events []history.Event) {
	for _, e := range events {
		var o order
		if e.Kind != fakehistory.Step || e.Name != ordered || json.Unmarshal(e.Detail, &o) != nil {
			continue
		}
		sent, done, then := asked, answered, machineThere
		if o.To < o.From {
			sent, done, then = askedGone, answeredGone, machineDeleted
		}
		for _, j := range g.all {
			if at, has := j.at[then]; has && !at.Before(e.Time) && e.Time.After(j.at[sent]) {
				j.at[sent], j.at[done] = e.Time, e.Ended
			}
		}
	}
}

// seeCalls takes the calls over gRPC, and returns whose their requests are.
func (g *gathering) seeCalls(events []history.Event) map[string]*journey {
	requests := map[string]*journey{}
	for _, e := range events {
		j := g.vms[e.VM]
		if e.Kind != fakehistory.RPC || j == nil {
			continue
		}
		switch e.End {
		case "manager":
			j.works(managerCall, span{e.Time, e.Ended})
		case "daemon":
			j.works(daemonCall, span{e.Time, e.Ended})
		}
		if e.ID != "" {
			requests[e.ID] = j
		}
	}
	return requests
}

// seeHosts takes what hosts have told of the VMs, and when others knew of it.
func (g *gathering) seeHosts(events []history.Event, requests map[string]*journey) {
	hosts, begun := map[*journey]string{}, map[*journey]time.Time{}
	has := map[*journey]map[string]string{} // what there is of it, by UID
	for _, e := range events {
		switch e.Kind {
		case fakehistory.Call:
			j := requests[e.ID]
			if e.Call == registering {
				if j = g.vms[e.VM]; j != nil {
					j.reach(registerArrived, e.Time)
				}
			}
			if j != nil {
				j.works(hostWorks, span{e.Time, e.Ended})
			}
		case fakehistory.VM:
			j := g.vms[e.VM]
			if j == nil {
				continue
			}
			switch e.Event {
			case "made":
				hosts[j] = e.Host
				stays(has, j, e.UID, "VM "+e.VM)
			case "started", "stopping":
				begun[j] = e.Time
			case "running":
				j.reach(vmRunning, e.Time)
				fallthrough
			case "off":
				if from, is := begun[j]; is {
					j.works(hostWorks, span{from, e.Time})
					delete(begun, j)
				}
			case "removed":
				delete(has[j], e.UID)
			}
		case fakehistory.Volume:
			j := g.vms[strings.TrimSuffix(strings.TrimSuffix(e.Name, "-boot"), "-seed")]
			if j != nil && e.Event == "made" {
				stays(has, j, e.UID, "volume "+e.Name)
			} else if j != nil && e.Event == "removed" {
				delete(has[j], e.UID)
			}
		case fakehistory.Object:
			if e.Event != "deleted" {
				continue
			}
			var o object
			if json.Unmarshal(e.Detail, &o) != nil || o.Kind != "ElementoMachine" || o.Metadata.Namespace != g.namespace {
				continue
			}
			if j := g.infra[o.Metadata.Name]; j != nil {
				for _, what := range has[j] {
					j.early = append(j.early, what)
				}
			}
		}
	}
	g.seeTelling(events, hosts)
}

func stays(has map[*journey]map[string]string, j *journey, uid, what string) {
	if has[j] == nil {
		has[j] = map[string]string{}
	}
	has[j][uid] = what
}

// seeTelling takes when it was known that a VM runs. Where the call that made it has
// answered so, our manager has waited for that and not for the inventory.
func (g *gathering) seeTelling(events []history.Event, hosts map[*journey]string) {
	for _, e := range events {
		switch j := g.vms[e.VM]; {
		case e.Kind == fakehistory.Call && e.Call == listing:
			for _, j := range g.all {
				if at, runs := j.at[vmRunning]; runs && hosts[j] == e.Host && !e.Time.Before(at) {
					j.reach(vmSeen, e.Ended)
				}
			}
		case e.Kind != fakehistory.RPC || j == nil || history.ResultOf(e).Power != "POWER_STATE_RUNNING":
		case e.End == "harness" && e.Name == streamed:
			j.reach(vmTold, e.Time)
		case e.End == "manager" && e.Name == "EnsureVM":
			if at, runs := j.at[vmRunning]; runs && !e.Time.After(at) {
				j.at[vmSeen], j.at[vmTold] = at, at
			}
		}
	}
}

// seeWrite takes a write to the API server of what belongs to a Machine. What has
// Machines made and deleted is for all of them.
func (g *gathering) seeWrite(w write, by layer) {
	var of *journey
	switch w.resource {
	case "machinedeployments", "machinesets":
		for _, j := range g.all {
			j.works(by, w.span)
		}
	case "machines":
		of = g.machines[w.name]
	case "elementomachines":
		of = g.infra[w.name]
	case "kubeadmconfigs", "secrets":
		of = g.configs[w.name]
	}
	if of != nil {
		of.works(by, w.span)
	}
}
