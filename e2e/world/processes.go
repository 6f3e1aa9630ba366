package world

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/e2e/binaries"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos/history"
)

// The processes of the embedded plane, named as their programs are.
const (
	Etcd                  = binaries.Etcd
	KubeAPIServer         = binaries.KubeAPIServer
	KubeControllerManager = binaries.KubeControllerManager
)

// processes are the processes of one world, in the order of their start. It
// notices when one of them ends unasked.
type processes struct {
	progress io.Writer
	history  *history.Writer
	// respawn starts those again that end unasked.
	respawn bool
	// stopping is closed when all are to end.
	stopping func()
	stopped  chan struct{}

	mu      sync.Mutex
	running []*Process
	// ends are the unexpected ends after which a process was started again.
	ends []error
	// failed is closed, and failure set, at the first other one.
	failed  chan struct{}
	failure error
	watches sync.WaitGroup
}

func newProcesses(progress io.Writer, told *history.Writer, respawn bool) *processes {
	s := &processes{progress: progress, history: told, respawn: respawn, failed: make(chan struct{}), stopped: make(chan struct{})}
	s.stopping = sync.OnceFunc(func() { close(s.stopped) })
	return s
}

func (s *processes) start(c Command) (*Process, error) {
	p, err := c.start(s.history)
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
			s.ended(err)
			if s.respawn {
				s.again(p)
			}
		}
	})
}

// ended is told that something ended unasked: it is started again, or has failed.
func (s *processes) ended(err error) {
	if !s.respawn {
		s.fail(err)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ends = append(s.ends, err)
}

// again starts a process again that ended unasked: after a second, and after
// twice the time, up to half a minute, each time that it does not last a minute.
func (s *processes) again(p *Process) {
	inARow := p.inARow + 1
	if time.Since(p.Started) > time.Minute {
		inARow = 1
	}
	wait := time.NewTimer(min(time.Second<<min(inARow-1, 5), 30*time.Second))
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-s.stopped:
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(s.running, p)
	if i < 0 {
		return // someone else was quicker, or it is over
	}
	if err := s.restartAt(i, p.Command, inARow); err != nil && s.failure == nil {
		s.failure = err
		close(s.failed)
	}
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

// revive starts a process again, unless it runs.
func (s *processes) revive(name string) (*Process, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, err := s.index(name)
	if err != nil {
		return nil, err
	}
	select {
	case <-s.running[i].Exited():
		if err := s.restartAt(i, s.running[i].Command, 0); err != nil {
			return nil, err
		}
	default:
	}
	return s.running[i], nil
}

// replace starts a process again that was ended, by another command of the same name,
// which is its own from then on.
func (s *processes) replace(c Command) (*Process, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, err := s.index(c.Name)
	if err != nil {
		return nil, err
	}
	select {
	case <-s.running[i].Exited():
	default:
		return nil, fmt.Errorf("process %s runs; end it before it is replaced", c.Name)
	}
	if err := s.restartAt(i, c, 0); err != nil {
		return nil, err
	}
	return s.running[i], nil
}

// index is which of those that run has a name; s.mu is held.
func (s *processes) index(name string) (int, error) {
	i := slices.IndexFunc(s.running, func(p *Process) bool { return p.Name == name })
	if i < 0 {
		return 0, fmt.Errorf("there is no process %s in this world", name)
	}
	return i, nil
}

// restartAt starts the i-th process again, by this command; s.mu is held.
func (s *processes) restartAt(i int, c Command, inARow int) error {
	p, err := c.start(s.history)
	if err != nil {
		return err
	}
	p.inARow = inARow
	s.running[i] = p
	s.watch(p)
	return nil
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

func (s *processes) respawned() []error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.ends)
}

// stop ends all processes, the last one first, and returns when they are gone.
func (s *processes) stop(ctx context.Context) error {
	s.stopping()
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
