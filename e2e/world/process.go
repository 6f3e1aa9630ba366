package world

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/e2e/child"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos/history"
)

// grace is how long a process may take to end by itself after SIGTERM.
const grace = 20 * time.Second

// Command says how a process is started; starting it again makes the same
// process anew, with its output added to the same log.
type Command struct {
	// Name names the process in messages and its log file.
	Name string
	// Path is the program.
	Path string
	// Args are its arguments, without the program's name. They must hold no secrets.
	Args []string
	// Env is added to the few variables that every process gets.
	Env []string
	// Dir is its working directory; the harness's own when empty.
	Dir string
	// Log is the file that its output is appended to.
	Log string
	// Ready returns nil when the process is of use; one without is at once.
	Ready func(context.Context) error
}

// Process is a child process. It is killed by the kernel when the harness
// ends, however that comes about.
type Process struct {
	Command
	// Started is when the process was started.
	Started time.Time

	cmd *exec.Cmd
	// ending is the signal that was to end it, 0 if there was none.
	ending atomic.Int32
	exited chan struct{}
	// inARow is how often it ended by itself and was started again, lately.
	inARow  int
	history *history.Writer
}

// ExitError says that a process ended that should have gone on.
type ExitError struct {
	// Name is the process's name.
	Name string
	// State is how it ended, like "exit status 1".
	State string
	// Log is the file of its output, Tail the end of it.
	Log, Tail string
}

func (e *ExitError) Error() string {
	return fmt.Sprintf("%s ended unexpectedly (%s); the end of its log %s:\n%s", e.Name, e.State, e.Log, e.Tail)
}

// Start starts the process; it does not wait for it to be of use.
func (c Command) Start() (*Process, error) { return c.start(nil) }

// start starts the process, and has the history tell of it.
func (c Command) start(told *history.Writer) (*Process, error) {
	if err := os.MkdirAll(filepath.Dir(c.Log), 0o755); err != nil {
		return nil, fmt.Errorf("starting %s: %w", c.Name, err)
	}
	log, err := os.OpenFile(c.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", c.Name, err)
	}
	defer log.Close() // the child has its own copy

	p := &Process{Command: c, Started: time.Now(), exited: make(chan struct{}), history: told}
	// It lives on when whoever started it is done: no context ends it.
	p.cmd = exec.CommandContext(context.Background(), c.Path, c.Args...)
	p.cmd.Dir = c.Dir
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.Env = append(inheritedEnv(), c.Env...)
	if err := child.Start(p.cmd); err != nil {
		return nil, fmt.Errorf("starting %s: %w", c.Name, err)
	}
	p.tell("started", "")
	go func() {
		_ = p.cmd.Wait() // ProcessState tells more
		switch syscall.Signal(p.ending.Load()) {
		case 0:
			p.tell("ended", p.cmd.ProcessState.String())
		case syscall.SIGKILL:
			p.tell("killed", "")
		default:
			p.tell("stopped", "")
		}
		close(p.exited)
	}()
	return p, nil
}

// tell writes into the history what became of the process.
func (p *Process) tell(event, detail string) {
	e := history.Event{Kind: history.Process, Name: p.Name, Event: event}
	if detail != "" {
		e.Detail = history.Detail(detail)
	}
	p.history.Add(e)
}

// inheritedEnv is what a child gets of our environment: nothing that would let
// a KUBECONFIG, a proxy or the pod that the harness runs in change what it does.
func inheritedEnv() []string {
	var env []string
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "GOCOVERDIR", "GODEBUG", "GORACE", "GOTRACEBACK"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// PID is the process's id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Exited is closed once the process has ended.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// Err is nil while the process runs and after it was ended by Stop or Kill;
// otherwise an [ExitError].
func (p *Process) Err() error {
	select {
	case <-p.exited:
	default:
		return nil
	}
	if p.ending.Load() != 0 {
		return nil
	}
	return &ExitError{Name: p.Name, State: p.cmd.ProcessState.String(), Log: p.Log, Tail: tail(p.Log)}
}

// Stop asks the process to end, and returns when it is gone. When it has not
// ended within 20 seconds, or before ctx does, it is ended by force, which is an
// error. Stopping twice is fine.
func (p *Process) Stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	if err := errors.Join(p.end(syscall.SIGTERM), p.signal(syscall.SIGCONT)); err != nil {
		return err
	}
	asked := time.Now()
	select {
	case <-p.exited:
		return nil
	case <-ctx.Done():
	}
	if err := p.Kill(); err != nil {
		return err
	}
	return fmt.Errorf("%s had not ended %s after SIGTERM and was killed; see %s", p.Name, time.Since(asked).Round(time.Millisecond), p.Log)
}

// Kill ends the process at once, as a crash would, and returns when it is gone.
func (p *Process) Kill() error {
	if err := p.end(syscall.SIGKILL); err != nil {
		return err
	}
	<-p.exited
	return nil
}

// Pause stops the process where it is, as if its machine stood still; its
// connections stay.
func (p *Process) Pause() error {
	if err := p.signal(syscall.SIGSTOP); err != nil {
		return err
	}
	p.tell("paused", "")
	return nil
}

// Resume lets a process go on that was paused.
func (p *Process) Resume() error {
	p.tell("resumed", "")
	return p.signal(syscall.SIGCONT)
}

// end sends a signal that is meant to end the process.
func (p *Process) end(sig syscall.Signal) error {
	p.ending.Store(int32(sig))
	return p.signal(sig)
}

// signal sends a signal; one that comes too late is fine.
func (p *Process) signal(sig syscall.Signal) error {
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("sending %s the signal %s: %w", p.Name, sig, err)
	}
	return nil
}

// awaited is how long a process may take to become ready: many times what it
// takes on a machine that is busy with other things.
const awaited = 3 * time.Minute

// await returns when the process is of use, and gives up when it ends, ctx does,
// or three minutes are over, saying why.
func (p *Process) await(ctx context.Context) error {
	if p.Ready == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, awaited)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := p.ask(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.exited:
			if exit := p.Err(); exit != nil {
				return exit
			}
			return fmt.Errorf("%s was stopped while it was waited for", p.Name)
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w (%w); the end of its log %s:\n%s", p.Name, err, context.Cause(ctx), p.Log, tail(p.Log))
		case <-tick.C:
		}
	}
}

// ask asks once whether the process is of use. One that stands still is not.
func (p *Process) ask(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return p.Ready(ctx)
}

// tail is the last lines of a log, indented, for an error message.
func tail(log string) string {
	const most, lines = 8 << 10, 15
	f, err := os.Open(log)
	if err != nil {
		return "\t(" + err.Error() + ")"
	}
	defer f.Close()
	if size, err := f.Seek(0, io.SeekEnd); err == nil {
		_, _ = f.Seek(max(0, size-most), io.SeekStart)
	}
	text, err := io.ReadAll(f)
	if err != nil {
		return "\t(" + err.Error() + ")"
	}
	all := strings.Split(string(bytes.TrimSpace(text)), "\n")
	return "\t" + strings.Join(all[max(0, len(all)-lines):], "\n\t")
}
