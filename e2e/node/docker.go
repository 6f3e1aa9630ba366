package node

import (
	"context"
	"io"

	"elemento.cloud/cluster-api-provider-elemento/e2e/docker"
	"elemento.cloud/cluster-api-provider-elemento/e2e/image"
)

// container is one in which an image is made.
type container struct{ id string }

// inContainer makes the image to: of the image from, after do has changed it.
func inContainer(ctx context.Context, from, to string, do func(container) error) error {
	id, err := docker.Run(ctx, nil, "run", "--detach", "--privileged", "--network=none", "--entrypoint=sleep", from, "infinity")
	if err != nil {
		return err
	}
	c := container{id}
	defer func() {
		_, _ = docker.Run(context.WithoutCancel(ctx), nil, "rm", "--force", "--volumes", c.id)
	}()
	if err := do(c); err != nil {
		return err
	}
	_, err = docker.Run(ctx, nil, "commit", c.id, to)
	return err
}

// run runs a shell script in the container.
func (c container) run(ctx context.Context, stdin io.Reader, stdout io.Writer, script string) error {
	return docker.Pipe(ctx, stdin, stdout, "exec", "--interactive", c.id, "sh", "-euc", script)
}

// copy puts files into the container.
func (c container) copy(ctx context.Context, files ...image.File) error {
	return pipe(func(w io.Writer) error { return image.Archive(w, files...) }, func(r io.Reader) error {
		return docker.Pipe(ctx, r, nil, "cp", "-", c.id+":/")
	})
}

// pipe has read read what write writes.
func pipe(write func(io.Writer) error, read func(io.Reader) error) error {
	r, w := io.Pipe()
	wrote := make(chan error, 1)
	go func() {
		err := write(w)
		w.CloseWithError(err)
		wrote <- err
	}()
	err := read(r)
	r.CloseWithError(err) // a reader that gave up ends the writer
	if wrote := <-wrote; err == nil {
		err = wrote
	}
	return err
}
