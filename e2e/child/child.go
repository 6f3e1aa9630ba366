// Package child starts processes that cannot outlive this one.
package child

import (
	"os/exec"
	"runtime"
	"sync"
	"syscall"
)

// nursery is the thread that all children are born of. The kernel sends a
// child's parent-death signal when the *thread* that made it ends, and Go ends
// threads as it likes; a locked one whose goroutine never returns lives exactly
// as long as this process.
var nursery = sync.OnceValue(func() chan<- func() {
	births := make(chan func())
	go func() {
		runtime.LockOSThread()
		for birth := range births {
			birth()
		}
	}()
	return births
})

// Start starts cmd so that it cannot outlive this process, in a process group
// of its own so that a terminal's Ctrl-C reaches the harness alone, which then
// ends its children in order.
func Start(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error, 1)
	nursery() <- func() { started <- cmd.Start() }
	return <-started
}
