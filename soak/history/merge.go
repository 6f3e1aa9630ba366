package history

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	// window is how much later than others a file may tell of something: lines of
	// one process may change places, and who writes may have to wait for the disk.
	window = 3 * time.Second
	// batch is how many events of a file are read at a time.
	batch = 2048
	// often is how often a history that is being written is read.
	often = 500 * time.Millisecond
)

// Read calls each with every event of the history in a directory, in order. It
// reads all files at the same time and holds little of them. A directory without
// a history has no events.
func Read(dir string, each func(Event) error) error {
	m := &merge{dir: dir, each: each}
	if err := m.find(); err != nil {
		return err
	}
	for {
		ended, err := m.fill()
		if err != nil {
			return err
		}
		if ended {
			return m.emit(time.Time{})
		}
		if err := m.emit(m.settled()); err != nil {
			return err
		}
	}
}

// Follow does the same with a history that is being written, until ctx ends;
// then it reads the rest. What it tells of has happened a few seconds before.
func Follow(ctx context.Context, dir string, each func(Event) error) error {
	m := &merge{dir: dir, each: each}
	tick := time.NewTicker(often)
	defer tick.Stop()
	for last := false; ; {
		if err := m.find(); err != nil {
			return err
		}
		for ended := false; !ended; {
			now := time.Now()
			var err error
			if ended, err = m.fill(); err != nil {
				return err
			}
			until := m.settled()
			if ended {
				until = now.Add(-window)
			}
			if ended && last {
				until = time.Time{}
			}
			if err := m.emit(until); err != nil {
				return err
			}
		}
		if last {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			last = true
		}
	}
}

// merge puts the events of several files in order.
type merge struct {
	dir     string
	each    func(Event) error
	sources []*source
	held    queue
	count   int
}

// source is a file.
type source struct {
	path   string
	read   func(path string, offset int64, each func(Event) error) (int64, error)
	offset int64
	newest time.Time
	ended  bool
}

// find adds the files that have come to be.
func (m *merge) find() error {
	for pattern, read := range readers {
		paths, err := filepath.Glob(filepath.Join(m.dir, pattern))
		if err != nil {
			return fmt.Errorf("finding the files of a history: %w", err)
		}
		for _, path := range paths {
			if !slices.ContainsFunc(m.sources, func(s *source) bool { return s.path == path }) {
				m.sources = append(m.sources, &source{path: path, read: read})
			}
		}
	}
	slices.SortFunc(m.sources, func(a, b *source) int { return strings.Compare(a.path, b.path) })
	return nil
}

var errEnough = errors.New("enough for now")

// fill reads on in the file that is behind, or in all of them as long as none has
// more than a batch, and tells whether all have been read to their ends.
func (m *merge) fill() (ended bool, err error) {
	horizon := m.settled()
	ended = true
	for _, s := range m.sources {
		if !s.ended && s.newest.After(horizon.Add(window)) {
			ended = false
			continue // others are behind
		}
		n := 0
		s.offset, err = s.read(s.path, s.offset, func(e Event) error {
			known := Known(e)
			if known.After(s.newest) {
				s.newest = known
			}
			m.count++
			heap.Push(&m.held, entry{e, known, m.count})
			if n++; n == batch {
				return errEnough
			}
			return nil
		})
		s.ended = err == nil
		if errors.Is(err, errEnough) {
			ended, err = false, nil
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return false, err
		}
	}
	return ended, nil
}

// settled is the time up to which no file has more to tell. It is zero as long as
// nothing is known of one.
func (m *merge) settled() (until time.Time) {
	first := true
	for _, s := range m.sources {
		if !s.ended && (first || s.newest.Before(until)) {
			until, first = s.newest, false
		}
	}
	if until.IsZero() {
		return until
	}
	return until.Add(-window)
}

// emit tells of all events up to a time; of all that there are if it is zero and
// no file has more.
func (m *merge) emit(until time.Time) error {
	all := until.IsZero() && !slices.ContainsFunc(m.sources, func(s *source) bool { return !s.ended })
	for m.held.Len() > 0 && (all || m.held[0].known.Before(until)) {
		e, _ := heap.Pop(&m.held).(entry)
		if err := m.each(e.Event); err != nil {
			return err
		}
	}
	return nil
}

// entry is an event that waits for earlier ones; what was known at the same
// moment keeps the order in which it was read.
type entry struct {
	Event
	known time.Time
	count int
}

type queue []entry

func (q queue) Len() int { return len(q) }
func (q queue) Less(i, j int) bool {
	if q[i].known.Equal(q[j].known) {
		return q[i].count < q[j].count
	}
	return q[i].known.Before(q[j].known)
}
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)   { e, _ := x.(entry); *q = append(*q, e) }
func (q *queue) Pop() any {
	old := *q
	last := old[len(old)-1]
	old[len(old)-1] = entry{}
	*q = old[:len(old)-1]
	return last
}
