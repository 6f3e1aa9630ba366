package daemon

import (
	"errors"
	"sync"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/c4"
)

// A request that no answer came to may still take effect, for as long as the
// host is at it, and nothing in C4 tells when that is over. So the daemon
// remembers such requests for a time: what they make is neither made once more
// nor called gone before it was seen or the time has passed.
//
// This is the memory of one daemon. The provider keeps its callers with the
// daemon that answers, and lets no other one act before the deadline of a call
// whose answer it lost; a daemon that ends forgets.
const (
	// landsSoon is for what is done in a moment or not at all: VMs and
	// networks. A register that comes later still does no harm: the seed that it
	// names was destroyed, by a deletion or by who registers anew.
	landsSoon = 5 * time.Second
	// landsLate is for volumes: an image is copied as fast as the storage is.
	// It is as long as any call may take.
	landsLate = maxDeadline
)

// late remembers requests that may still take effect, by what they make. The
// zero value is ready.
type late[K comparable] struct {
	mu    sync.Mutex
	since map[K]time.Time // when it was last given up
}

// add remembers a request from now on.
func (l *late[K]) add(key K) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.since == nil {
		l.since = map[K]time.Time{}
	}
	for k, since := range l.since {
		if time.Since(since) >= landsLate {
			delete(l.since, k)
		}
	}
	l.since[key] = time.Now()
}

// landed forgets a request whose effect has been seen by a look that began
// then.
func (l *late[K]) landed(key K, began time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if since, is := l.since[key]; is && !began.Before(since) {
		delete(l.since, key)
	}
}

// any tells whether a request that is still remembered after so long makes
// what is asked about.
func (l *late[K]) any(within time.Duration, about func(K) bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for key, since := range l.since {
		if time.Since(since) < within && about(key) {
			return true
		}
	}
	return false
}

// may is any for one key.
func (l *late[K]) may(key K, within time.Duration) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	since, is := l.since[key]
	return is && time.Since(since) < within
}

// mayShow tells whether what a request was to make, which ended like that, may
// be there and has to be looked for.
func mayShow(err error) bool {
	return err == nil || unanswered(err) || c4.CodeOf(err) == c4.Malformed
}

// unanswered tells whether a request ended in a way that lets its effect come
// later. One that the host has answered has had it by then.
func unanswered(err error) bool {
	e, ok := errors.AsType[*c4.Error](err)
	return ok && e.Code == c4.Unknown && !e.Unsent
}
