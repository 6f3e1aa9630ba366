// Package docker runs commands of Docker's client, as kind does. All that suites ask of
// a Docker Engine goes this way, so that DOCKER_HOST, DOCKER_CONTEXT or the user's
// current context say for all which engine that is; a process that reads DOCKER_HOST
// alone is told by [Environment].
package docker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"elemento.cloud/cluster-api-provider-elemento/e2e/child"
)

// Run runs a command and returns what it prints, without space around. It outlives
// neither ctx nor this process. stdin may be nil.
func Run(ctx context.Context, stdin io.Reader, args ...string) (string, error) {
	var stdout bytes.Buffer
	if err := Pipe(ctx, stdin, &stdout, args...); err != nil {
		return "", errors.Join(err, said(stdout.Bytes()))
	}
	return strings.TrimSpace(stdout.String()), nil
}

// Pipe runs a command as Run does, between two streams, which may be nil.
func Pipe(ctx context.Context, stdin io.Reader, stdout io.Writer, args ...string) error {
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, "docker", args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, stdout, &stderr
	err := child.Start(cmd)
	if err == nil {
		err = cmd.Wait()
	}
	if err != nil {
		command, _, _ := strings.Cut(strings.Join(args, " "), "\n") // of a script the beginning
		return errors.Join(fmt.Errorf("docker %s: %w", command, err), said(stderr.Bytes()))
	}
	return nil
}

// Feed runs a command as Run does, whose input is what write writes. A command that
// succeeds need not take all of it.
func Feed(ctx context.Context, write func(io.Writer) error, args ...string) error {
	r, w := io.Pipe()
	wrote := make(chan error, 1)
	go func() {
		err := write(w)
		w.CloseWithError(err)
		wrote <- err
	}()
	_, err := Run(ctx, r, args...)
	_ = r.Close() // which ends the writer, should it not be at its end
	if unwritten := <-wrote; !errors.Is(unwritten, io.ErrClosedPipe) && !errors.Is(err, unwritten) {
		err = errors.Join(err, unwritten)
	}
	return err
}

// said is the end of what a command has said, as an error; nil where that is nothing.
func said(out []byte) error {
	if out = bytes.TrimSpace(out); len(out) == 0 {
		return nil
	}
	return errors.New(string(out[max(0, len(out)-2000):]))
}

// HasImage tells whether the engine has an image of that name, which has a tag.
func HasImage(ctx context.Context, name string) (bool, error) {
	found, err := Run(ctx, nil, "image", "ls", "--quiet", "--filter=reference="+name)
	return found != "", err
}

// Engine is what the Docker Engine tells of itself.
type Engine struct {
	ServerVersion, CgroupVersion, DefaultRuntime string
}

// Ask asks the Docker Engine what it is; where none answers, the error says how to have
// one.
func Ask(ctx context.Context) (Engine, error) {
	var e Engine
	told, err := Run(ctx, nil, "info", "--format={{json .}}")
	if err == nil {
		err = json.Unmarshal([]byte(told), &e)
	}
	if err == nil && e.ServerVersion == "" {
		err = errors.New("docker info tells of no server")
	}
	if err != nil {
		return e, fmt.Errorf("no Docker Engine answers; `make docker` starts one: %w", err)
	}
	return e, nil
}

// LacksSysResource tells whether containers lack CAP_SYS_RESOURCE: where `make docker`
// has found that, it has given the engine the runtime of e2e/docker/runtime.
func (e Engine) LacksSysResource() bool { return e.DefaultRuntime == "elemento" }

// Host is the address of the engine, such as unix:///var/run/docker.sock, whether it
// answers or not.
func Host(ctx context.Context) (string, error) {
	return Run(ctx, nil, "context", "inspect", "--format={{.Endpoints.docker.Host}}")
}

// Environment has a process that reads DOCKER_HOST reach the same engine.
func Environment(ctx context.Context) ([]string, error) {
	host, err := Host(ctx)
	env := []string{"DOCKER_HOST=" + host}
	for _, name := range []string{"DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env, err
}
