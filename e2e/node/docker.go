package node

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os/exec"
	"strings"

	"elemento.cloud/cluster-api-provider-elemento/e2e/image"
)

// docker runs the docker command, which knows where the engine is.
func docker(ctx context.Context, stdin io.Reader, stdout io.Writer, args ...string) error {
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, "docker", args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, stdout, &stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("docker %s: %w: %s", args[0], err, strings.TrimSpace(stderr.String()))
	}
	return nil
}

// exists tells whether the engine has an image.
func exists(ctx context.Context, image string) bool {
	return docker(ctx, nil, nil, "image", "inspect", image) == nil
}

// container is one in which an image is made.
type container struct{ id string }

// inContainer makes the image to: of the image from, after do has changed it.
func inContainer(ctx context.Context, from, to string, do func(container) error) error {
	var out strings.Builder
	if err := docker(ctx, nil, &out, "run", "--detach", "--privileged", "--network=none", "--entrypoint=sleep", from, "infinity"); err != nil {
		return err
	}
	c := container{strings.TrimSpace(out.String())}
	defer func() {
		_ = docker(context.WithoutCancel(ctx), nil, nil, "rm", "--force", "--volumes", c.id)
	}()
	if err := do(c); err != nil {
		return err
	}
	return docker(ctx, nil, nil, "commit", c.id, to)
}

// run runs a shell script in the container.
func (c container) run(ctx context.Context, stdin io.Reader, stdout io.Writer, script string) error {
	return docker(ctx, stdin, stdout, "exec", "--interactive", c.id, "sh", "-euc", script)
}

// copy puts files into the container.
func (c container) copy(ctx context.Context, files ...image.File) error {
	return pipe(func(w io.Writer) error { return image.Archive(w, files...) }, func(r io.Reader) error {
		return docker(ctx, r, nil, "cp", "-", c.id+":/")
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
