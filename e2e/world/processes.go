package world

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
)

// processes are the processes of one world, in the order of their start. It
// notices when one of them ends unasked.
type processes struct {
	progress io.Writer

	mu      sync.Mutex
	running []*Process
	// failed is closed, and failure set, at the first unexpected end.
	failed  chan struct{}
	failure error
	watches sync.WaitGroup
}

func newProcesses(progress io.Writer) *processes {
	return &processes{progress: progress, failed: make(chan struct{})}
}

func (s *processes) start(c Command) (*Process, error) {
	p, err := c.Start()
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.running = append(s.running, p)
	s.mu.Unlock()
	s.watches.Go(func() {
		<-p.Exited()
		if err := p.Err(); err != nil {
			s.fail(err)
		}
	})
	return p, nil
}

func (s *processes) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failure != nil {
		return // what follows a failure is mostly its consequence
	}
	s.failure = err
	close(s.failed)
	fmt.Fprintln(s.progress, err)
}

func (s *processes) err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failure
}

// stop ends all processes, the last one first, and returns when they are gone.
func (s *processes) stop() error {
	s.mu.Lock()
	running := s.running
	s.running = nil
	s.mu.Unlock()
	var errs []error
	for _, p := range slices.Backward(running) {
		errs = append(errs, p.Stop())
	}
	s.watches.Wait()
	return errors.Join(errs...)
}
