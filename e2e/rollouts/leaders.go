package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// leaders follows the Lease by which one of our managers acts at a time.
type leaders struct {
	end func()

	mu sync.Mutex
	// terms are those of all that held it, the last of which holds it now or did last.
	terms []term
	// lasts is how long the Lease lasts.
	lasts time.Duration
}

// term is the time in which one manager holds the Lease.
type term struct {
	holder string
	// from is when it was seen to hold it first, and until when last, or when it gave
	// it up.
	from, until time.Time
	givenUp     bool
}

// between is how long it takes until a watch that has ended is made again.
const between = 200 * time.Millisecond

// watchLeaders follows the Lease until end is called.
func watchLeaders(ctx context.Context, config *rest.Config, lease client.ObjectKey) (*leaders, error) {
	api, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	leases := api.CoordinationV1().Leases(lease.Namespace)
	now, err := leases.Get(ctx, lease.Name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("reading the Lease of our managers: %w", err)
	}
	l := &leaders{}
	l.see(now, time.Now())
	ctx, cancel := context.WithCancel(ctx)
	var following sync.WaitGroup
	l.end = func() { cancel(); following.Wait() }
	following.Go(func() {
		pause := time.NewTicker(between)
		defer pause.Stop()
		for ctx.Err() == nil {
			w, err := leases.Watch(ctx, metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector(metav1.ObjectNameField, lease.Name).String()})
			if err == nil { // the API server may be away
				for e := range w.ResultChan() {
					if lease, is := e.Object.(*coordinationv1.Lease); is {
						l.see(lease, time.Now())
					}
				}
			}
			select {
			case <-pause.C:
			case <-ctx.Done():
			}
		}
	})
	return l, nil
}

// see takes down who holds the Lease at a moment.
func (l *leaders) see(lease *coordinationv1.Lease, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	holder := ptr.Deref(lease.Spec.HolderIdentity, "")
	last := len(l.terms) - 1
	switch {
	case holder == "":
		if last >= 0 && !l.terms[last].givenUp {
			l.terms[last].until, l.terms[last].givenUp = at, true
		}
	case last < 0 || l.terms[last].holder != holder:
		l.terms = append(l.terms, term{holder: holder, from: at, until: at})
		l.lasts = time.Duration(ptr.Deref(lease.Spec.LeaseDurationSeconds, 0)) * time.Second
	default:
		l.terms[last].until, l.terms[last].givenUp = at, false
	}
}

// now is the present term, with how long a Lease lasts.
func (l *leaders) now() (term, time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.terms) == 0 {
		return term{}, 0
	}
	return l.terms[len(l.terms)-1], l.lasts
}

// after is the term that follows one of a holder, if there is one by now, and when that
// one had ended.
func (l *leaders) after(holder string) (next term, ended time.Time, is bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, t := range l.terms[:max(0, len(l.terms)-1)] {
		if t.holder == holder {
			return l.terms[i+1], t.until, true
		}
	}
	return term{}, time.Time{}, false
}
