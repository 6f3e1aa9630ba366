package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	fakehistory "elemento.cloud/cluster-api-provider-elemento/fakeatomos/history"
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
		if err := lines(log, func(text []byte) error { return e.readAsk(text, since) }); err != nil {
			return nil, err
		}
	}
	if auditLog == "" {
		return e, nil
	}
	return e, lines(auditLog, func(text []byte) error { return e.readWrite(text, namespace, since) })
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

// lines calls each with every whole line of a file.
func lines(path string, each func([]byte) error) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	reader := bufio.NewReaderSize(file, 1<<16)
	for {
		text, err := reader.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil // text, if there is any, is a line that is still being written
		}
		if err != nil {
			return err
		}
		if err := each(text); err != nil {
			return err
		}
	}
}

// object is what is asked of an event of kind object.
type object struct {
	Kind     string `json:"kind"`
	Metadata struct {
		Name              string            `json:"name"`
		Namespace         string            `json:"namespace"`
		Labels            map[string]string `json:"labels"`
		DeletionTimestamp time.Time         `json:"deletionTimestamp"`
		OwnerReferences   []struct {
			Kind string `json:"kind"`
		} `json:"ownerReferences"`
	} `json:"metadata"`
	Spec struct {
		// Of a Machine.
		Bootstrap struct {
			DataSecretName string `json:"dataSecretName"`
			ConfigRef      struct {
				Name string `json:"name"`
			} `json:"configRef"`
		} `json:"bootstrap"`
		InfrastructureRef struct {
			Name string `json:"name"`
		} `json:"infrastructureRef"`
		// Of an ElementoMachine, and of a Node, which has its VM's name at the end.
		VMName     string `json:"vmName"`
		ProviderID string `json:"providerID"`
	} `json:"spec"`
	Status struct {
		Phase          string `json:"phase"`
		Initialization struct {
			DataSecretCreated bool `json:"dataSecretCreated"`
			Provisioned       bool `json:"provisioned"`
		} `json:"initialization"`
		Conditions []struct {
			Type   string `json:"type"`
			Status string `json:"status"`
		} `json:"conditions"`
	} `json:"status"`
}

// isReady tells whether an object says that it is.
func (o object) isReady() bool {
	for _, c := range o.Status.Conditions {
		if c.Type == "Ready" {
			return c.Status == "True"
		}
	}
	return false
}

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

// sight is an object as it was seen at a moment.
type sight struct {
	object
	at   time.Time
	gone bool
}

func (g *gathering) objects(events []history.Event) (all []sight) {
	for _, e := range events {
		if e.Kind != fakehistory.Object || e.Detail == nil {
			continue
		}
		s := sight{at: e.Time, gone: e.Event == "deleted"}
		if json.Unmarshal(e.Detail, &s.object) == nil && (s.Metadata.Namespace == g.namespace || s.Kind == "Node") {
			all = append(all, s)
		}
	}
	return all
}

// controlPlane is the label of a control plane's Machine.
const controlPlane = "cluster.x-k8s.io/control-plane"

// findMachines finds the workers' Machines, and what belongs to them.
func (g *gathering) findMachines(objects []sight) {
	for _, s := range objects {
		if _, of := s.Metadata.Labels[controlPlane]; s.Kind != "Machine" || of || g.machines[s.Metadata.Name] != nil {
			continue
		}
		j := &journey{machine: s.Metadata.Name, at: map[moment]time.Time{}, busy: map[layer][]span{}}
		g.all = append(g.all, j)
		g.machines[s.Metadata.Name] = j
		g.infra[s.Spec.InfrastructureRef.Name] = j
		g.configs[s.Spec.Bootstrap.ConfigRef.Name] = j
	}
	for _, s := range objects {
		if j := g.infra[s.Metadata.Name]; s.Kind == "ElementoMachine" && j != nil && s.Spec.VMName != "" {
			j.vm = s.Spec.VMName
			g.vms[j.vm] = j
		}
	}
}

// seeObject takes the moments of which an object tells.
func (g *gathering) seeObject(s sight) {
	at := func(j *journey, m moment, is bool) {
		if j != nil && is {
			j.reach(m, s.at)
		}
	}
	isDeleted := !s.Metadata.DeletionTimestamp.IsZero()
	switch s.Kind {
	case "Machine":
		j := g.machines[s.Metadata.Name]
		at(j, machineThere, true)
		at(j, dataNamed, s.Spec.Bootstrap.DataSecretName != "")
		at(j, machineRunning, s.Status.Phase == "Running")
		at(j, machineDeleted, isDeleted)
		at(j, machineGone, s.gone)
	case "KubeadmConfig":
		j := g.configs[s.Metadata.Name]
		for _, owner := range s.Metadata.OwnerReferences {
			at(j, configOwned, owner.Kind == "Machine")
		}
		at(j, dataWritten, s.Status.Initialization.DataSecretCreated)
	case "ElementoMachine":
		j := g.infra[s.Metadata.Name]
		at(j, provisioned, s.Status.Initialization.Provisioned)
		at(j, vmDeleted, isDeleted)
		at(j, vmGone, s.gone)
	case "Node":
		j := g.vms[s.Spec.ProviderID[strings.LastIndexByte(s.Spec.ProviderID, '/')+1:]]
		at(j, nodeReady, s.isReady())
	}
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
