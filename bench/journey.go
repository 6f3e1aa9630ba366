package main

import (
	"slices"
	"time"
)

// who has the time of a Machine at a moment.
type who string

const (
	apiServer         who = "API server"
	clusterAPI        who = "Cluster API core"
	bootstrapProvider who = "bootstrap provider"
	ourManager        who = "our manager"
	grpcWire          who = "gRPC"
	ourDaemon         who = "daemon"
	c4Wire            who = "C4"
	hypervisor        who = "hypervisor"
	inventoryOfHosts  who = "inventory"
	streamToManager   who = "stream"
	guestOfVM         who = "guest"
	notAttributed     who = "not attributed"
)

// everyone is all of them, in the order of a request and its way back.
var everyone = []who{
	apiServer, clusterAPI, bootstrapProvider, ourManager, grpcWire, ourDaemon, c4Wire, hypervisor,
	inventoryOfHosts, streamToManager, guestOfVM, notAttributed,
}

// moment is one in a Machine's life of which the history tells.
type moment int

// The moments of a creation and of a deletion, each in the order in which they come.
const (
	// asked is when Clastix sent the request, answered when it had the answer.
	asked moment = iota
	answered
	// machineThere is when the Machine was.
	machineThere
	// configOwned is when the bootstrap config had the Machine as its owner, without
	// which nobody works on it; dataWritten when it said that its data are there, and
	// dataNamed when the Machine named them.
	configOwned
	dataWritten
	dataNamed
	// registerArrived is when the request that makes the VM came to its host.
	registerArrived
	// vmRunning is when the host had it running, vmSeen when a daemon had asked for it
	// since and been answered, and vmTold when a daemon's stream had said so.
	vmRunning
	vmSeen
	vmTold
	// provisioned is when the ElementoMachine said so.
	provisioned
	// nodeReady is when the Node was, in the workload cluster, and machineRunning when
	// the Machine said so.
	nodeReady
	machineRunning

	// askedGone and answeredGone are those of the request after which the Machine was
	// deleted.
	askedGone
	answeredGone
	// machineDeleted and vmDeleted are when the deletions of the Machine and of the
	// ElementoMachine began, vmGone and machineGone when they were no more.
	machineDeleted
	vmDeleted
	vmGone
	machineGone
)

// layer is one that works for another, which waits for it meanwhile.
type layer int

const (
	// hostWorks is a host with a call, or with the start or stop of the VM.
	hostWorks layer = iota
	// c4Call is a call over C4 as the daemon has it, daemonCall and managerCall one
	// over gRPC as either end has it.
	c4Call
	daemonCall
	managerCall
	// The API server with what somebody writes of the Machine.
	writeOfManager
	writeOfCore
	writeOfBootstrap
)

// span is a stretch of time.
type span struct{ from, to time.Time }

// journey is what the history tells of a Machine.
type journey struct {
	machine, vm string
	at          map[moment]time.Time
	busy        map[layer][]span
	// early says what was still on AtomOS of the VM when its ElementoMachine was gone.
	early []string
}

func (j *journey) reach(m moment, at time.Time) {
	if _, before := j.at[m]; !before && !at.IsZero() {
		j.at[m] = at
	}
}

func (j *journey) works(l layer, s span) {
	if s.to.After(s.from) {
		j.busy[l] = append(j.busy[l], s)
	}
}

// took is the time from one moment to another, if the history tells of both.
func (j *journey) took(from, to moment) (time.Duration, bool) {
	begin, begun := j.at[from]
	end, ended := j.at[to]
	return end.Sub(begin), begun && ended
}

// stage is a part of a way, and whose time it is.
type stage struct {
	who  who
	what string
}

func (s stage) String() string {
	if s.what == "" {
		return string(s.who)
	}
	return string(s.who) + ": " + s.what
}

// leg is a stretch of a way up to a moment. Its time is that of its stage, but for
// what layers below had to do meanwhile, of which the first one that has is the one
// that is waited for.
type leg struct {
	to    moment
	stage stage
	below []claim
}

// claim says whose stage the time is in which a layer works.
type claim struct {
	layer layer
	stage stage
}

// way is what is measured of a Machine: from a moment over legs to the last one's.
type way struct {
	name string
	from moment
	legs []leg
}

func (w way) to() moment { return w.legs[len(w.legs)-1].to }

// stages are those of a way, in order; that of what is not attributed is the last.
func (w way) stages() []stage {
	var all []stage
	add := func(s stage) {
		if !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	for _, l := range w.legs {
		add(l.stage)
		for _, c := range slices.Backward(l.below) { // from above to below
			add(c.stage)
		}
	}
	return append(all, stage{who: notAttributed})
}

// spent is whose time a way was. All of it together is the way's, to the nanosecond.
type spent map[stage]time.Duration

func (s spent) whole() (whole time.Duration) {
	for _, d := range s {
		whole += d
	}
	return whole
}

// split attributes the time of a journey; false if the journey has not gone the way
// from its begin to its end. A moment of which the history does not tell leaves the
// time up to the next one not attributed: nobody knows whose it was. One that is told
// before the one before it took no time: it was not waited for.
func (w way) split(j *journey) (spent, bool) {
	whole, ok := j.took(w.from, w.to())
	if !ok || whole < 0 {
		return nil, false
	}
	s := spent{}
	at, end, gap := j.at[w.from], j.at[w.to()], false
	for _, l := range w.legs {
		to, told := j.at[l.to]
		if !told {
			gap = true
			continue
		}
		if to.After(end) {
			to = end
		}
		if to.Before(at) {
			to = at
		}
		if gap {
			s[stage{who: notAttributed}] += to.Sub(at)
		} else {
			l.split(j, span{at, to}, s)
		}
		at, gap = to, false
	}
	return s, true
}

func (l leg) split(j *journey, whole span, s spent) {
	free := []span{whole}
	for _, c := range l.below {
		for _, busy := range j.busy[c.layer] {
			var taken time.Duration
			free, taken = take(free, busy)
			s[c.stage] += taken
		}
	}
	for _, f := range free {
		s[l.stage] += f.to.Sub(f.from)
	}
}

// take takes a span out of those that are free, and tells how much of it was.
func take(free []span, out span) (left []span, taken time.Duration) {
	for _, f := range free {
		from, to := latest(f.from, out.from), earliest(f.to, out.to)
		if !from.Before(to) {
			left = append(left, f)
			continue
		}
		taken += to.Sub(from)
		if f.from.Before(from) {
			left = append(left, span{f.from, from})
		}
		if to.Before(f.to) {
			left = append(left, span{to, f.to})
		}
	}
	return left, taken
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earliest(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// The layers that others wait for, the deepest first.
var (
	belowManager = []claim{
		{hostWorks, stage{who: hypervisor}},
		{c4Call, stage{who: c4Wire}},
		{daemonCall, stage{who: ourDaemon}},
		{managerCall, stage{who: grpcWire}},
		{writeOfManager, stage{apiServer, "for our manager"}},
	}
	belowCore      = []claim{{writeOfCore, stage{apiServer, "for Cluster API"}}}
	belowBootstrap = []claim{{writeOfBootstrap, stage{apiServer, "for Cluster API"}}}
)

// The ways that are measured.
var (
	creation = way{"request → Machine Running", asked, []leg{
		{answered, stage{apiServer, "the request"}, nil},
		{machineThere, stage{clusterAPI, "the Machine"}, belowCore},
		{configOwned, stage{clusterAPI, "the bootstrap config's owner"}, belowCore},
		{dataWritten, stage{bootstrapProvider, "the data"}, belowBootstrap},
		{dataNamed, stage{clusterAPI, "the data's name"}, belowCore},
		{vmRunning, stage{ourManager, "until the VM runs"}, belowManager},
		{vmSeen, stage{who: inventoryOfHosts}, nil},
		{vmTold, stage{who: streamToManager}, nil},
		{provisioned, stage{ourManager, "until it is provisioned"}, belowManager},
		{nodeReady, stage{guestOfVM, "until its Node is Ready"}, nil},
		{machineRunning, stage{clusterAPI, "until the Machine is Running"}, belowCore},
	}}
	deletion = way{"request → Machine gone", askedGone, []leg{
		{answeredGone, stage{apiServer, "the request to delete"}, nil},
		{machineDeleted, stage{clusterAPI, "the Machine deleted"}, belowCore},
		{vmDeleted, stage{clusterAPI, "the ElementoMachine deleted"}, belowCore},
		{vmGone, stage{ourManager, "until all is gone"}, belowManager},
		{machineGone, stage{clusterAPI, "until the Machine is gone"}, belowCore},
	}}
)
