package world

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"

	"elemento.cloud/cluster-api-provider-elemento/fakeatomos/history"
)

// site is where a world's processes live: the addresses that they listen on,
// the directories of their state and their logs, and the processes themselves.
type site struct {
	block *Block
	// network is the Docker network that the addresses are of; nil without containers.
	network *dockerNetwork
	// dockerEnv has a process reach the Docker Engine; empty without containers.
	dockerEnv []string
	state     *state
	processes *processes
	progress  io.Writer
	// dir keeps what is of use after the end.
	dir string
	// historyDir is where the history is kept, if anywhere, and history our own
	// part of it, which the other two close in the end.
	historyDir   string
	history      *history.Writer
	closeHistory func() error

	proxiesMu sync.Mutex
	proxies   []*Proxy
}

func newSite(o Options) (_ *site, err error) {
	s := &site{progress: o.progress(), dir: o.Dir}
	if err := s.openHistory(o.History); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.closeHistory())
		}
	}()
	s.processes = newProcesses(s.progress, s.history, o.Respawn)
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
	errs := []error{s.processes.stop(ctx)}
	if s.network != nil {
		errs = append(errs, s.network.remove(ctx))
	}
	errs = append(errs, s.state.remove(), s.closeHistory())
	s.proxiesMu.Lock()
	proxies := s.proxies
	s.proxies = nil
	s.proxiesMu.Unlock()
	for _, p := range proxies {
		errs = append(errs, p.Close())
	}
	s.block.release()
	return errors.Join(errs...)
}

// log is the path of a process's log.
func (s *site) log(name string) string { return filepath.Join(s.dir, "logs", name+".log") }

// openHistory makes the directory of the history and begins our own part of it.
func (s *site) openHistory(dir string) (err error) {
	if dir != "" {
		if s.historyDir, err = filepath.Abs(dir); err != nil {
			return err
		}
		if err := os.MkdirAll(s.historyDir, 0o755); err != nil {
			return err
		}
		if s.history, err = history.Open(filepath.Join(s.historyDir, "harness.jsonl")); err != nil {
			return err
		}
	}
	s.closeHistory = sync.OnceValue(s.history.Close)
	return nil
}

// historyLog is the path of a log that is part of the history, where there is one.
func (s *site) historyLog(process, file string) string {
	if s.historyDir == "" {
		return s.log(process)
	}
	return filepath.Join(s.historyDir, file)
}
