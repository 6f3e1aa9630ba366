package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/e2e/docker"
	"elemento.cloud/cluster-api-provider-elemento/e2e/image"
)

// container is one in which an image is made.
type container struct{ id string }

// making is the name of that container. Users make one image at a time, see [Build].
func making() string { return fmt.Sprintf("elemento-node-%d", os.Getuid()) }

// inContainer makes the image to: of the image from, after do has changed it.
func inContainer(ctx context.Context, from, to string, do func(container) error) error {
	return inContainerNamed(ctx, making(), from, to, do)
}

// inContainerNamed does so in a container of that name. What a build has left that was
// killed goes first; its own container goes in any case.
func inContainerNamed(ctx context.Context, name, from, to string, do func(container) error) (err error) {
	if err := removeContainer(ctx, name); err != nil {
		return err
	}
	// By its name, since a run that is interrupted tells no ID.
	defer func() { err = errors.Join(err, removeContainer(context.WithoutCancel(ctx), name)) }()
	id, err := docker.Run(ctx, nil, "run", "--detach", "--name="+name, "--privileged", "--network=none", "--entrypoint=sleep", from, "infinity")
	if err != nil {
		return err
	}
	c := container{id}
	if err := do(c); err != nil {
		return err
	}
	_, err = docker.Run(ctx, nil, "commit", c.id, to)
	return err
}

// removeContainer removes the container of that name, if there is one.
func removeContainer(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	found, err := docker.Run(ctx, nil, "ps", "--all", "--quiet", "--filter=name=^"+name+"$")
	if err != nil || found == "" {
		return err
	}
	_, err = docker.Run(ctx, nil, "rm", "--force", "--volumes", found)
	return err
}

// run runs a shell script in the container.
func (c container) run(ctx context.Context, script string) error {
	return docker.Pipe(ctx, nil, nil, "exec", c.id, "sh", "-euc", script)
}

// copy puts files into the container.
func (c container) copy(ctx context.Context, files ...image.File) error {
	return docker.Feed(ctx, func(w io.Writer) error { return image.Archive(w, files...) }, "cp", "-", c.id+":/")
}
