package binaries

import (
	"os/exec"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/e2e/child"
)

// Run runs cmd, which cannot outlive this process, and calls report now and then.
func Run(cmd *exec.Cmd, report func()) error {
	if err := child.Start(cmd); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	tick := time.NewTicker(30 * time.Second)
	defer tick.Stop()
	for {
		select {
		case err := <-ended:
			return err
		case <-tick.C:
			report()
		}
	}
}
