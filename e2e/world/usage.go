package world

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// Usage is what a process has used since its start.
type Usage struct {
	// CPU is the time spent on all cores together, in steps of 10 ms.
	CPU time.Duration
}

// clockTick is the unit of CPU time in /proc, which Linux fixes for programs.
const clockTick = 10 * time.Millisecond

// Usage measures the process, whether it runs or has ended.
func (p *Process) Usage() (Usage, error) {
	select {
	case <-p.exited:
		return p.finalUsage(), nil
	default:
	}
	usage, err := runningUsage(p.PID())
	if err != nil {
		select {
		case <-p.exited: // in between
			return p.finalUsage(), nil
		default:
			return Usage{}, fmt.Errorf("measuring %s: %w", p.Name, err)
		}
	}
	return usage, nil
}

func (p *Process) finalUsage() Usage {
	s := p.cmd.ProcessState
	return Usage{CPU: s.UserTime() + s.SystemTime()}
}

// OwnUsage measures this process, without its children.
func OwnUsage() (Usage, error) { return runningUsage(os.Getpid()) }

func runningUsage(pid int) (Usage, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return Usage{}, err
	}
	// The name in parentheses may hold anything; what follows it begins with
	// the third field. The 14th and 15th are user and system time.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 13 {
		return Usage{}, fmt.Errorf("/proc/%d/stat has only %d fields", pid, len(fields)+2)
	}
	var usage Usage
	for _, field := range fields[11:13] {
		ticks, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return Usage{}, err
		}
		usage.CPU += time.Duration(ticks) * clockTick
	}
	return usage, nil
}
