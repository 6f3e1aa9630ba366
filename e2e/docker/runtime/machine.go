package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/moby/sys/capability"
	"golang.org/x/sys/unix"
)

// machine is what this process, and so a container of it, cannot have.
type machine struct {
	// missing are the capabilities that it lacks, named as in CAP_SYS_RESOURCE.
	missing map[string]bool
	// leastOOMScoreAdj is the lowest oom_score_adj that it can give.
	leastOOMScoreAdj int
	// mostRlimit is the highest value of each limit that it can set, by the
	// limit's name, as in RLIMIT_NOFILE.
	mostRlimit map[string]uint64
}

// rlimits are the limits that a process has, with their numbers.
var rlimits = map[string]int{
	"RLIMIT_AS":         unix.RLIMIT_AS,
	"RLIMIT_CORE":       unix.RLIMIT_CORE,
	"RLIMIT_CPU":        unix.RLIMIT_CPU,
	"RLIMIT_DATA":       unix.RLIMIT_DATA,
	"RLIMIT_FSIZE":      unix.RLIMIT_FSIZE,
	"RLIMIT_LOCKS":      unix.RLIMIT_LOCKS,
	"RLIMIT_MEMLOCK":    unix.RLIMIT_MEMLOCK,
	"RLIMIT_MSGQUEUE":   unix.RLIMIT_MSGQUEUE,
	"RLIMIT_NICE":       unix.RLIMIT_NICE,
	"RLIMIT_NOFILE":     unix.RLIMIT_NOFILE,
	"RLIMIT_NPROC":      unix.RLIMIT_NPROC,
	"RLIMIT_RSS":        unix.RLIMIT_RSS,
	"RLIMIT_RTPRIO":     unix.RLIMIT_RTPRIO,
	"RLIMIT_RTTIME":     unix.RLIMIT_RTTIME,
	"RLIMIT_SIGPENDING": unix.RLIMIT_SIGPENDING,
	"RLIMIT_STACK":      unix.RLIMIT_STACK,
}

// thisMachine finds out what this process cannot have.
func thisMachine() (machine, error) {
	m := machine{missing: map[string]bool{}, leastOOMScoreAdj: -1000}
	own, err := capability.NewPid2(0)
	if err != nil {
		return m, err
	}
	if err := own.Load(); err != nil {
		return m, err
	}
	known, err := capability.ListSupported()
	if err != nil {
		return m, err
	}
	for _, c := range known {
		if !own.Get(capability.PERMITTED, c) {
			m.missing["CAP_"+strings.ToUpper(c.String())] = true
		}
	}
	if !m.missing["CAP_SYS_RESOURCE"] {
		return m, nil
	}

	score, err := os.ReadFile("/proc/self/oom_score_adj")
	if err != nil {
		return m, err
	}
	if m.leastOOMScoreAdj, err = strconv.Atoi(strings.TrimSpace(string(score))); err != nil {
		return m, err
	}
	m.mostRlimit = map[string]uint64{}
	for name, number := range rlimits {
		var limit unix.Rlimit
		if err := unix.Getrlimit(number, &limit); errors.Is(err, unix.EINVAL) {
			continue // not a limit of this kernel
		} else if err != nil {
			return m, fmt.Errorf("%s: %w", name, err)
		}
		m.mostRlimit[name] = limit.Max
	}
	return m, nil
}
