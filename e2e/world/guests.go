package world

import (
	"context"
	"io"
	"slices"
	"strings"

	"elemento.cloud/cluster-api-provider-elemento/e2e/docker"
	"elemento.cloud/cluster-api-provider-elemento/e2e/image"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos/guest/container"
)

// GuestTraces are what Docker has now of the world's guests: the IDs of their
// containers, running or not, and the names of their volumes. Guests that are no
// containers leave none.
func (w *World) GuestTraces(ctx context.Context) ([]string, error) {
	if w.network == nil {
		return nil, nil
	}
	containers, err := docker.Run(ctx, nil, "ps", "--all", "--quiet", "--no-trunc", w.guestFilter())
	if err != nil {
		return nil, err
	}
	volumes, err := docker.Run(ctx, nil, "volume", "ls", "--quiet", w.guestFilter())
	return slices.Concat(strings.Fields(containers), strings.Fields(volumes)), err
}

// InGuests runs a command in each guest that is a container and runs.
func (w *World) InGuests(ctx context.Context, command ...string) error {
	return w.eachGuest(ctx, func(id string) error {
		_, err := docker.Run(ctx, nil, append([]string{"exec", id}, command...)...)
		return err
	})
}

// LoadImages puts images for pods into each guest that is a container and runs.
func (w *World) LoadImages(ctx context.Context, images ...image.Image) error {
	return w.eachGuest(ctx, func(id string) error {
		return docker.Feed(ctx, func(w io.Writer) error { return image.Write(w, images...) },
			"exec", "--interactive", id, "ctr", "--namespace=k8s.io", "images", "import", "-")
	})
}

func (w *World) eachGuest(ctx context.Context, do func(id string) error) error {
	if w.network == nil {
		return nil
	}
	running, err := docker.Run(ctx, nil, "ps", "--quiet", w.guestFilter())
	if err != nil {
		return err
	}
	for _, id := range strings.Fields(running) {
		if err := do(id); err != nil {
			return err
		}
	}
	return nil
}

// guestFilter has Docker's client list what is the world's guests'.
func (w *World) guestFilter() string {
	return "--filter=label=" + container.InstanceLabel + "=" + w.network.name
}
