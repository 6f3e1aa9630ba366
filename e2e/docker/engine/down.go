package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// What an engine started by up leaves behind.
const (
	directory = "/run/elemento-docker"
	pidFile   = directory + "/dockerd.pid"
	logFile   = directory + "/dockerd.log"
)

// stopTime is how long an engine may take to stop its containers and itself.
const stopTime = time.Minute

// down ends the engine that up started, if it runs. Its containers stop with it; what
// is on its disk stays.
func down(ctx context.Context) error {
	content, err := os.ReadFile(pidFile)
	if errors.Is(err, fs.ErrNotExist) {
		say("no Docker Engine was started here by `make docker`; nothing to end")
		return nil
	} else if err != nil {
		return err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(content)))
	if err != nil {
		return fmt.Errorf("%s: %w", pidFile, err)
	}
	// A handle on the process: what the number means cannot change meanwhile.
	process, err := unix.PidfdOpen(pid, 0)
	if err == nil {
		defer unix.Close(process)
	}
	program, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil || filepath.Base(program) != "dockerd" {
		say("the Docker Engine started by `make docker` has ended already")
		return os.Remove(pidFile)
	}
	say("ending dockerd, process %d, with its containers", pid)
	if err := unix.PidfdSendSignal(process, unix.SIGTERM, nil, 0); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, stopTime, fmt.Errorf("dockerd has not ended after %s; see %s", stopTime, logFile))
	defer cancel()
	for ctx.Err() == nil {
		ready, err := unix.Poll([]unix.PollFd{{Fd: int32(process), Events: unix.POLLIN}}, 200)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		if ready > 0 {
			say("ended")
			return nil
		}
	}
	return context.Cause(ctx)
}
