package world

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

const statePrefix = "elemento-world-"

// state is the directory of what is worth nothing once the world is gone:
// etcd's data, keys, sockets. It lies in memory where that can be had.
type state struct {
	dir  string
	lock *os.File
}

func newState() (*state, error) {
	parent := os.TempDir()
	if roomy("/dev/shm") {
		parent = "/dev/shm"
	}
	sweepStates(parent)
	dir, err := os.MkdirTemp(parent, statePrefix)
	if err != nil {
		return nil, fmt.Errorf("making a state directory: %w", err)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("making a state directory: %w", err), os.RemoveAll(dir))
	}
	return &state{dir: dir, lock: lock}, nil
}

// roomy tells whether a file system in memory is good enough for a world: in
// containers it is often small, and nothing in it may be run.
func roomy(dir string) bool {
	const (
		enough = 2 << 30
		noExec = 8 // ST_NOEXEC of statfs(2)
	)
	var fs syscall.Statfs_t
	return syscall.Statfs(dir, &fs) == nil && fs.Flags&noExec == 0 && fs.Bavail*uint64(fs.Bsize) >= enough
}

// sweepStates removes what interrupted runs left: directories whose lock the
// kernel has taken back. It passes over what it may not read, and over new
// ones, whose owners may be about to lock them.
func sweepStates(parent string) {
	dirs, _ := filepath.Glob(filepath.Join(parent, statePrefix+"*"))
	for _, dir := range dirs {
		info, err := os.Lstat(dir)
		if err != nil || !info.IsDir() || time.Since(info.ModTime()) < time.Minute {
			continue
		}
		sweepState(dir)
	}
}

// sweepState removes a state directory that no process holds, and tells
// whether that is so.
func sweepState(dir string) bool {
	lock, err := lockDir(dir)
	if err != nil {
		return false
	}
	defer lock.Close()
	return os.RemoveAll(dir) == nil
}

// lockDir locks a directory for as long as the file is open; it fails when
// another process has it.
func lockDir(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func (s *state) path(elements ...string) string {
	return filepath.Join(append([]string{s.dir}, elements...)...)
}

// write puts a file that only we may read into the state, in one step, and
// returns its path.
func (s *state) write(name string, content []byte) (string, error) {
	path := s.path(name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", err
	}
	fresh := path + ".new"
	if err := os.WriteFile(fresh, content, 0o600); err != nil {
		return "", err
	}
	return path, os.Rename(fresh, path)
}

// remove removes it all; removing it twice is fine.
func (s *state) remove() error {
	err := os.RemoveAll(s.dir)
	_ = s.lock.Close() // it was only read
	return err
}
