package binaries

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// Lock takes the lock of that name, for which processes of this user wait in turn, for
// as long as until unlock is called or the process ends; it calls waiting once if it has
// to wait.
func Lock(ctx context.Context, name string, waiting func()) (unlock func(), err error) {
	cache, err := Cache()
	if err != nil {
		return nil, err
	}
	return waitForLock(ctx, filepath.Join(cache, name+".lock"), waiting)
}

// waitForLock takes the lock file at path, for as long as until unlock is
// called or the process ends; it calls waiting once if it has to wait.
func waitForLock(ctx context.Context, path string, waiting func()) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for first := true; ; first = false {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, errors.Join(fmt.Errorf("locking %s: %w", path, err), f.Close())
		}
		if first {
			waiting()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, errors.Join(context.Cause(ctx), f.Close())
		}
	}
}
