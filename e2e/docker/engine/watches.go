package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Every machine that is a container has systemd, containerd and kubelet watch files, as
// the same user of the kernel's; with fewer instances than this a handful of machines
// says "too many open files".
const (
	watchesSetting = "fs.inotify.max_user_instances"
	watchesFile    = "/proc/sys/fs/inotify/max_user_instances"
	watches        = 1024
)

// allowWatches raises the limit where it is lower, or says that somebody should.
func allowWatches() error {
	content, err := os.ReadFile(watchesFile)
	if err != nil {
		return err
	}
	allowed, err := strconv.Atoi(strings.TrimSpace(string(content)))
	if err != nil {
		return fmt.Errorf("%s: %w", watchesFile, err)
	}
	if allowed >= watches {
		return nil
	}
	if os.WriteFile(watchesFile, []byte(strconv.Itoa(watches)), 0o644) == nil {
		say("raised %s from %d to %d, until the next boot", watchesSetting, allowed, watches)
	} else {
		say("%s is %d, which is too few for several machines that are containers: `sudo sysctl %s=%d`", watchesSetting, allowed, watchesSetting, watches)
	}
	return nil
}
