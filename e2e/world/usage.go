package world

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Usage is what a process has used since its start.
type Usage struct {
	// CPU is the time spent on all cores together, in steps of 10 ms.
	CPU time.Duration
	// PeakMemory is the most resident memory it had at a time, in bytes.
	PeakMemory uint64
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
	usage := Usage{CPU: s.UserTime() + s.SystemTime()}
	if r, ok := s.SysUsage().(*syscall.Rusage); ok {
		usage.PeakMemory = uint64(r.Maxrss) << 10
	}
	return usage
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
	status, err := statusFields(pid)
	if err != nil {
		return Usage{}, err
	}
	usage.PeakMemory, err = kibibytes(status["VmHWM"])
	return usage, err
}

// statusFields are what /proc tells of a process by name.
func statusFields(pid int) (map[string]string, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return nil, err
	}
	fields := map[string]string{}
	for line := range strings.Lines(string(status)) {
		if name, value, ok := strings.Cut(line, ":"); ok {
			fields[name] = strings.TrimSpace(value)
		}
	}
	return fields, nil
}

// kibibytes reads such as "12 kB" of /proc, in bytes; a process that has just ended
// has nothing there.
func kibibytes(text string) (uint64, error) {
	if text == "" {
		return 0, nil
	}
	kib, err := strconv.ParseUint(strings.TrimSuffix(text, " kB"), 10, 64)
	return kib << 10, err
}
