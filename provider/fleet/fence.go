package fleet

import (
	"sync"
	"time"
)

// fenceSlack is added to a lost call's deadline: the daemon starts to count a
// little later than we do.
const fenceSlack = time.Second

// subject is what a changing call acts on; two daemons must not act on the same
// one at a time.
type subject struct {
	clientUID, kind, name string
}

// fences remember calls whose outcome is not known, until their deadline has
// passed at the daemon too. They outlive connections, so that a rotated
// certificate does not forget them.
type fences struct {
	mu    sync.Mutex
	calls map[subject]lostCall
}

type lostCall struct {
	endpoint string
	until    time.Time
}

// raise keeps other daemons than endpoint from acting on s until the deadline.
func (f *fences) raise(s subject, endpoint string, deadline time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	// What is over is dropped here, so that no more are kept than calls were
	// lost within the longest deadline.
	for s, call := range f.calls {
		if now.After(call.until) {
			delete(f.calls, s)
		}
	}
	if f.calls == nil {
		f.calls = map[subject]lostCall{}
	}
	until := deadline.Add(fenceSlack)
	if earlier, ok := f.calls[s]; ok && earlier.until.After(until) {
		until = earlier.until
	}
	f.calls[s] = lostCall{endpoint: endpoint, until: until}
}

// wait is how long endpoint must not act on s; zero if it may.
func (f *fences) wait(s subject, endpoint string) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	call, ok := f.calls[s]
	if !ok || call.endpoint == endpoint {
		return 0
	}
	return max(0, time.Until(call.until))
}
