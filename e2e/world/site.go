package world

import (
	"context"
	"errors"
	"io"
	"path/filepath"
)

// site is where a world's processes live: the addresses that they listen on,
// the directories of their state and their logs, and the processes themselves.
type site struct {
	block     *Block
	state     *state
	processes *processes
	progress  io.Writer
	// dir keeps what is of use after the end.
	dir string
}

func newSite(o Options) (_ *site, err error) {
	s := &site{progress: o.progress(), dir: o.Dir, processes: newProcesses(o.progress())}
	if s.block, err = reserveBlock(); err != nil {
		return nil, err
	}
	if s.state, err = newState(); err != nil {
		s.block.release()
		return nil, err
	}
	if s.dir == "" {
		s.dir = s.state.path("out")
	}
	if s.dir, err = filepath.Abs(s.dir); err != nil {
		return nil, errors.Join(err, s.close(context.Background()))
	}
	return s, nil
}

// close ends the processes, removes the state and gives the addresses back; all
// of it may be done twice.
func (s *site) close(ctx context.Context) error {
	err := errors.Join(s.processes.stop(ctx), s.state.remove())
	s.block.release()
	return err
}

// log is the path of a process's log.
func (s *site) log(name string) string { return filepath.Join(s.dir, "logs", name+".log") }
