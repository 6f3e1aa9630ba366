package container

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"elemento.cloud/cluster-api-provider-elemento/fakeatomos/guest"
)

// rebooted is the exit code of a container whose first process called for a reboot:
// the kernel ends it with SIGHUP then.
const rebooted = 128 + 1

// run is a guest from its boot until it has no power.
type run struct {
	container string
	goingDown atomic.Bool   // the power button was pressed
	ended     chan struct{} // closed when it has ended by itself
	usage     usage

	ctx    context.Context // of its watch
	cancel context.CancelFunc
	done   chan struct{} // closed when the watch is over
}

func newRun(ctx context.Context, containerID string) *run {
	r := &run{container: containerID, ended: make(chan struct{}), done: make(chan struct{})}
	r.usage.at = time.Now()
	r.ctx, r.cancel = context.WithCancel(ctx)
	return r
}

// stop ends the watch.
func (r *run) stop() {
	r.cancel()
	<-r.done
}

// start starts the container of a machine, without a network if that is cut.
func (g *Guests) start(ctx context.Context, containerID string, m *machine) error {
	ctx, cancel := call(ctx, callTimeout)
	defer cancel()
	if _, err := g.api.ContainerStart(ctx, containerID, client.ContainerStartOptions{}); err != nil {
		return err
	}
	m.cable.Lock()
	defer m.cable.Unlock()
	if !m.cut {
		return nil
	}
	if err := g.setLink(ctx, containerID, false); err != nil {
		// What cannot be cut does not run: it would be on the network.
		return errors.Join(err, g.signal(ctx, containerID, killSignal))
	}
	return nil
}

// watch sees a guest through until it ends, by itself or for want of power. One that
// reboots goes on.
func (g *Guests) watch(r *run, m *machine, vm guest.VM) {
	defer close(r.done)
	log := g.options.Log.With("vm", vm.Name)
	for {
		code, err := g.exit(r.ctx, r.container)
		switch {
		case r.ctx.Err() != nil:
			return
		case err != nil && !errdefs.IsNotFound(err):
			log.Debug("the Docker Engine does not tell of a guest", "err", err)
			if !sleep(r.ctx, pause) {
				return
			}
			continue
		case err == nil && code == rebooted && !r.goingDown.Load():
			if err = g.start(r.ctx, r.container, m); err == nil {
				log.Info("guest reboots by itself")
				continue
			}
		}
		log.Info("guest has ended", "code", code, "err", err)
		close(r.ended)
		if vm.Ended != nil {
			vm.Ended()
		}
		return
	}
}

// exit waits until a container does not run and returns its exit code.
func (g *Guests) exit(ctx context.Context, containerID string) (int64, error) {
	wait := g.api.ContainerWait(ctx, containerID, client.ContainerWaitOptions{Condition: container.WaitConditionNotRunning})
	select {
	case result := <-wait.Result:
		return result.StatusCode, nil
	case err := <-wait.Error: // as soon as ctx ends, too
		return 0, err
	}
}
