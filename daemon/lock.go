package daemon

import (
	"context"
	"sync"
)

// keyLock lets one caller at a time hold a key. The zero value is ready.
type keyLock[K comparable] struct {
	mu   sync.Mutex
	held map[K]*keyHold
}

type keyHold struct {
	turn chan struct{} // holds one token while the key is taken
	n    int           // how many hold it or wait
}

// lock waits for the key and returns what gives it back; false when the
// context ended first.
func (l *keyLock[K]) lock(ctx context.Context, key K) (unlock func(), ok bool) {
	h, forget := l.join(key)
	select {
	case h.turn <- struct{}{}:
		return func() { <-h.turn; forget() }, true
	case <-ctx.Done():
		forget()
		return nil, false
	}
}

// tryLock takes the key if nobody holds it.
func (l *keyLock[K]) tryLock(key K) (unlock func(), ok bool) {
	h, forget := l.join(key)
	select {
	case h.turn <- struct{}{}:
		return func() { <-h.turn; forget() }, true
	default:
		forget()
		return nil, false
	}
}

// join becomes one of those who hold the key or wait for it.
func (l *keyLock[K]) join(key K) (h *keyHold, leave func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held == nil {
		l.held = map[K]*keyHold{}
	}
	h = l.held[key]
	if h == nil {
		h = &keyHold{turn: make(chan struct{}, 1)}
		l.held[key] = h
	}
	h.n++
	return h, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if h.n--; h.n == 0 {
			delete(l.held, key)
		}
	}
}
