package fakeatomos

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"elemento.cloud/cluster-api-provider-elemento/fakeatomos/history"
)

// faultList holds the faults in force, in order.
type faultList struct {
	history *history.Writer
	fired   *prometheus.CounterVec

	mu   sync.Mutex
	last int
	list []*faultInForce
}

// faultInForce is a fault with what is left of its Skip and Times.
type faultInForce struct {
	Fault
	chance *rand.Rand
	spent  bool
}

func (l *faultList) add(f Fault) (string, error) {
	if err := f.check(); err != nil {
		return "", err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last++
	f.ID = strconv.Itoa(l.last)
	l.list = append(l.list, &faultInForce{Fault: f, chance: rand.New(rand.NewPCG(uint64(f.Seed), 0))})
	l.tell("added", f, history.Event{})
	return f.ID, nil
}

// remove takes out one fault, or all of them if id is empty.
func (l *faultList) remove(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.drop(func(f *faultInForce) bool { return id == "" || f.ID == id })
}

func (l *faultList) drop(which func(*faultInForce) bool) {
	l.list = slices.DeleteFunc(l.list, func(f *faultInForce) bool {
		if !which(f) {
			return false
		}
		l.tell("removed", f.Fault, history.Event{})
		return true
	})
}

func (l *faultList) all() []Fault {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]Fault, 0, len(l.list))
	for _, f := range l.list {
		out = append(out, f.Fault)
	}
	return out
}

// fire returns the faults that fire on a call, or on a boot where the call is
// empty, and uses them up.
func (l *faultList) fire(call, host string, s subject) []Fault {
	l.mu.Lock()
	defer l.mu.Unlock()
	var firing []Fault
	spent := false
	for _, f := range l.list {
		if !f.matches(call, host, s) {
			continue
		}
		if f.Skip > 0 {
			f.Skip--
			continue
		}
		if f.Probability > 0 && f.chance.Float64() >= f.Probability {
			continue
		}
		firing = append(firing, f.Fault)
		l.fired.WithLabelValues(string(f.Effect)).Inc()
		l.tell("fired", f.Fault, history.Event{Call: call, Host: host, VM: s.vm, Owner: s.owner, UID: s.id})
		if f.Times > 0 {
			f.Times--
			f.spent = f.Times == 0
			spent = spent || f.spent
		}
	}
	if spent {
		l.drop(func(f *faultInForce) bool { return f.spent })
	}
	return firing
}

// tell writes into the history what became of a fault, and where.
func (l *faultList) tell(event string, f Fault, at history.Event) {
	at.Kind, at.Event, at.ID, at.Name, at.Detail = history.Fault, event, f.ID, cmp.Or(f.Name, f.ID), history.Detail(f)
	l.history.Add(at)
}
