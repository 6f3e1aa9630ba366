package world

import (
	"context"
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
	s.watch(p)
	return p, nil
}

func (s *processes) watch(p *Process) {
	s.watches.Go(func() {
		<-p.Exited()
		if err := p.Err(); err != nil {
			s.fail(err)
		}
	})
}

// find returns the process of that name, or nil.
func (s *processes) find(name string) *Process {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.running {
		if p.Name == name {
			return p
		}
	}
	return nil
}

// restart starts a process again that has ended.
func (s *processes) restart(name string) (*Process, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.running, func(p *Process) bool { return p.Name == name })
	if i < 0 {
		return nil, fmt.Errorf("there is no process %s in this world", name)
	}
	select {
	case <-s.running[i].Exited():
	default:
		return nil, fmt.Errorf("%s is still running; stop or kill it before it is started again", name)
	}
	p, err := s.running[i].Start()
	if err != nil {
		return nil, err
	}
	s.running[i] = p
	s.watch(p)
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
func (s *processes) stop(ctx context.Context) error {
	s.mu.Lock()
	running := s.running
	s.running = nil
	s.mu.Unlock()
	var errs []error
	for _, p := range slices.Backward(running) {
		errs = append(errs, p.Stop(ctx))
	}
	s.watches.Wait()
	return errors.Join(errs...)
}
