package container

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
)

const (
	// callTimeout bounds a call to the engine, and creationTimeout that which copies
	// the image's /var.
	callTimeout     = time.Minute
	creationTimeout = 5 * time.Minute
	// patience is for how long what has to succeed is tried again, and pause the
	// time between.
	patience = time.Minute
	pause    = 500 * time.Millisecond
)

// call bounds one call to the engine. It goes on when ctx ends: half of it may have
// been done, and what the engine still does meets nobody later.
func call(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), timeout)
}

// insist does what nobody can be told the failure of, until it succeeds or patience
// ends.
func (g *Guests) insist(failure, id string, do func(context.Context) error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(g.ctx), patience)
	defer cancel()
	for {
		err := do(ctx)
		if err == nil {
			return
		}
		if !sleep(ctx, pause) {
			g.options.Log.Error(failure, "vm", id, "err", err)
			return
		}
	}
}

// sleep waits and tells whether the context still lives.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// labeled selects what is this instance's, of one VM or, without an ID, of all.
func (g *Guests) labeled(id string) client.Filters {
	labels := []string{InstanceLabel + "=" + g.options.Instance}
	if id != "" {
		labels = append(labels, VMLabel+"="+id)
	}
	return client.Filters{}.Add("label", labels...)
}

// list returns the containers of a VM, of which there is at most one, or of all.
func (g *Guests) list(ctx context.Context, id string) ([]container.Summary, error) {
	ctx, cancel := call(ctx, callTimeout)
	defer cancel()
	found, err := g.api.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: g.labeled(id)})
	return found.Items, err
}

// signal sends a signal to the first process of a container.
func (g *Guests) signal(ctx context.Context, containerID, name string) error {
	ctx, cancel := call(ctx, callTimeout)
	defer cancel()
	_, err := g.api.ContainerKill(ctx, containerID, client.ContainerKillOptions{Signal: name})
	return err
}

// kill ends the container of a VM, if it runs, and returns when it has ended.
func (g *Guests) kill(ctx context.Context, id string) error {
	found, err := g.list(ctx, id)
	if err != nil {
		return err
	}
	for _, c := range found {
		if c.State != container.StateRunning && c.State != container.StatePaused {
			continue
		}
		err := g.signal(ctx, c.ID, killSignal)
		if err != nil && !errdefs.IsConflict(err) && !errdefs.IsNotFound(err) { // it has ended meanwhile
			return err
		}
	}
	return nil
}

// remove removes the container of a VM and its volumes.
func (g *Guests) remove(ctx context.Context, id string) error {
	found, err := g.list(ctx, id)
	if err != nil {
		return err
	}
	for _, c := range found {
		err := func() error {
			ctx, cancel := call(ctx, callTimeout)
			defer cancel()
			_, err := g.api.ContainerRemove(ctx, c.ID, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
			return err
		}()
		if err != nil && !errdefs.IsNotFound(err) {
			return err
		}
	}
	return g.removeVolumes(ctx, id, nil)
}

// removeVolumes removes the volumes of a VM, or of all except some, whose container
// is gone.
func (g *Guests) removeVolumes(ctx context.Context, id string, except []string) error {
	ctx, cancel := call(ctx, callTimeout)
	defer cancel()
	left, err := g.api.VolumeList(ctx, client.VolumeListOptions{Filters: g.labeled(id)})
	if err != nil {
		return err
	}
	for _, v := range left.Items {
		if slices.Contains(except, v.Labels[VMLabel]) {
			continue
		}
		if _, err := g.api.VolumeRemove(ctx, v.Name, client.VolumeRemoveOptions{}); err != nil && !errdefs.IsNotFound(err) {
			return err
		}
	}
	return nil
}

// subnets are those of the Docker network.
func (g *Guests) subnets(ctx context.Context) ([]netip.Prefix, error) {
	ctx, cancel := call(ctx, callTimeout)
	defer cancel()
	found, err := g.api.NetworkInspect(ctx, g.options.Network, client.NetworkInspectOptions{})
	switch {
	case client.IsErrConnectionFailed(err):
		return nil, fmt.Errorf("no Docker Engine answers at %s: start it, or set DOCKER_HOST: %w", g.api.DaemonHost(), err)
	case errdefs.IsNotFound(err):
		return nil, fmt.Errorf("make the Docker network %q first (docker network create --subnet): %w", g.options.Network, err)
	case err != nil:
		return nil, err
	}
	var all []netip.Prefix
	for _, c := range found.Network.IPAM.Config {
		all = append(all, c.Subnet)
	}
	return all, nil
}
