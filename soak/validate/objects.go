package validate

import (
	"maps"
	"slices"
	"time"

	fake "elemento.cloud/cluster-api-provider-elemento/fakeatomos/history"
	"elemento.cloud/cluster-api-provider-elemento/soak/history"
)

// objects is what was seen of our objects in Kubernetes. It is part of validators.
type objects struct {
	machines map[string]*machine // by UID of the ElementoMachine
	cleanups map[string]*cleanup
	clusters map[string]*cluster // ElementoClusters
	// byVM are the machines of a VM: several, where they were moved to another
	// management plane.
	byVM map[string][]*machine
	// recorders is how many tell of objects, and blind since when none does any
	// more: a run may go on a while after it is not recorded.
	recorders int
	blind     time.Time
}

// sees tells whether it was told of objects at a time.
func (o *objects) sees(at time.Time) bool {
	return o.recorders > 0 || o.blind.IsZero() || at.Before(o.blind.Add(-slack))
}

// life is that of an object. What has not happened is zero.
type life struct{ created, deleting, gone time.Time }

// exists tells whether the object was there at a time.
func (l life) exists(at time.Time) bool { return l.gone.IsZero() || l.gone.After(at) }

// wanted tells whether the object was there and nobody had asked for its end.
// Deletions are told in whole seconds.
func (l life) wanted(at time.Time) bool {
	return l.exists(at) && (l.deleting.IsZero() || l.deleting.After(at))
}

// machine is an ElementoMachine.
type machine struct {
	life
	name, vm string
	// hosts are those that it was assigned to, the last one now.
	hosts []tenure
	last  Event
}

// tenure is the time from which on a machine was assigned to a host.
type tenure struct {
	host string
	from time.Time
}

// host is the one that the machine was assigned to at a time.
func (m *machine) host(at time.Time) string {
	host := ""
	for _, t := range m.hosts {
		if !t.from.After(at) || host == "" {
			host = t.host
		}
	}
	return host
}

// cleanup is an ElementoCleanup.
type cleanup struct {
	life
	name, vm, host, network string
	port                    int
	last                    Event
}

// cluster is an ElementoCluster.
type cluster struct {
	life
	name, network, endpointHost string
	managed                     bool
	endpoint                    history.Endpoint
}

// kept is for how long what has ended is remembered.
const kept = 15 * time.Minute

// observe takes down an event of kind object, and returns the cleanup that it is
// about, if it is about one.
func (o *objects) observe(e Event) *cleanup {
	if e.Kind != fake.Object {
		return nil
	}
	switch e.Event {
	case "recorded":
		o.recorders++
		return nil
	case "unrecorded":
		if o.recorders--; o.recorders == 0 {
			o.blind = e.Time
		}
		return nil
	}
	object, err := history.ObjectOf(e)
	if err != nil {
		return nil
	}
	if o.machines == nil {
		o.machines, o.cleanups, o.clusters, o.byVM = map[string]*machine{}, map[string]*cleanup{}, map[string]*cluster{}, map[string][]*machine{}
	}
	uid := object.Metadata.UID
	at := life{created: object.Metadata.CreationTimestamp, deleting: object.Metadata.DeletionTimestamp}
	if e.Event == "deleted" {
		at.gone = e.Time
		o.forget(e.Time.Add(-kept))
	}
	switch object.Kind {
	case "ElementoMachine":
		m := o.machines[uid]
		if m == nil {
			m = &machine{}
			o.machines[uid] = m
		}
		o.machine(m, object, at, e)
	case "ElementoCleanup":
		spec := object.Spec
		c := &cleanup{at, object.Key(), spec.VMName, spec.Host, spec.NetworkName, spec.ForwardPort, e}
		o.cleanups[uid] = c
		return c
	case "ElementoCluster":
		spec := object.Spec
		o.clusters[uid] = &cluster{at, object.Key(), spec.Network.Name, spec.EndpointHost, spec.Network.Managed.CIDR != "", spec.ControlPlaneEndpoint}
	}
	return nil
}

func (o *objects) machine(m *machine, object history.Object, at life, e Event) {
	m.life, m.name, m.last = at, object.Key(), e
	if m.vm == "" && object.Spec.VMName != "" {
		m.vm = object.Spec.VMName
		o.byVM[m.vm] = append(o.byVM[m.vm], m)
	}
	host := object.Spec.Host
	if n := len(m.hosts); n == 0 && host != "" || n > 0 && m.hosts[n-1].host != host {
		m.hosts = append(m.hosts, tenure{host, e.Time})
	}
}

// owed tells whether an ElementoCleanup for a VM on a host was there at a time.
func (o *objects) owed(vm, host string, at time.Time) bool {
	for _, c := range o.cleanups {
		if c.vm == vm && c.host == host && !c.created.After(at) && c.exists(at) {
			return true
		}
	}
	return false
}

// lives returns a machine of a VM that was wanted at a time, or nil.
func (o *objects) lives(vm string, at time.Time) *machine {
	for _, m := range o.byVM[vm] {
		if m.wanted(at) {
			return m
		}
	}
	return nil
}

// owned tells whether something of a VM on a host has an owner: a machine that is
// assigned there, or an ElementoCleanup. known tells whether it ever could have.
func (o *objects) owned(vm, host string, at time.Time) (owned, known bool) {
	machines := o.byVM[vm]
	if slices.ContainsFunc(machines, func(m *machine) bool { return m.exists(at) && m.host(at) == host }) {
		return true, true
	}
	return o.owed(vm, host, at), len(machines) > 0
}

// forget drops what ended long before, so that a long history needs no more room
// than a short one.
func (o *objects) forget(before time.Time) {
	for uid, m := range o.machines {
		if !m.gone.IsZero() && m.gone.Before(before) {
			delete(o.machines, uid)
			if rest := slices.DeleteFunc(o.byVM[m.vm], func(other *machine) bool { return other == m }); len(rest) > 0 {
				o.byVM[m.vm] = rest
			} else {
				delete(o.byVM, m.vm)
			}
		}
	}
	maps.DeleteFunc(o.cleanups, func(_ string, c *cleanup) bool { return !c.gone.IsZero() && c.gone.Before(before) })
	maps.DeleteFunc(o.clusters, func(_ string, c *cluster) bool { return !c.gone.IsZero() && c.gone.Before(before) })
}
