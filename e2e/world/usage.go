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

// Processors is what those of this machine have done, all of them together.
type Processors struct {
	// Busy is how long they worked, and Stolen how long there was work and no processor:
	// on a virtual machine, whose hypervisor had others go first.
	Busy, Stolen time.Duration
}

// Since is what they have done since then.
func (p Processors) Since(before Processors) Processors {
	return Processors{Busy: p.Busy - before.Busy, Stolen: p.Stolen - before.Stolen}
}

// Withheld is the share, from 0 to 1, of the time with work that the hypervisor did not let
// them do it.
func (p Processors) Withheld() float64 {
	if p.Stolen <= 0 {
		return 0
	}
	return float64(p.Stolen) / float64(p.Busy+p.Stolen)
}

// ThisProcessors is what the processors of this machine have done since it was started.
func ThisProcessors() (Processors, error) {
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return Processors{}, err
	}
	return parseProcessors(string(stat))
}

// parseProcessors reads the first line of /proc/stat: cpu, and the ticks that were spent as
// user, nice, system, idle, iowait, irq, softirq and steal; what guests used is in user.
func parseProcessors(stat string) (Processors, error) {
	line, _, _ := strings.Cut(stat, "\n")
	fields := strings.Fields(line)
	if len(fields) < 9 || fields[0] != "cpu" {
		return Processors{}, fmt.Errorf("/proc/stat begins with %q, and not with the ticks of all processors", line)
	}
	var p Processors
	for i, field := range fields[1:9] {
		ticks, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return Processors{}, fmt.Errorf("/proc/stat: %w", err)
		}
		switch spent := time.Duration(ticks) * clockTick; i {
		case 3, 4: // idle, iowait
		case 7:
			p.Stolen = spent
		default:
			p.Busy += spent
		}
	}
	return p, nil
}

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
