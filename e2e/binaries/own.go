package binaries

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"syscall"
)

// Way is how a program of this repository is built, besides that it is static.
type Way struct {
	// Packed leaves out its symbols and the paths of this machine: for what goes into
	// an image.
	Packed bool
	// Architecture is Go's name of the processor that it is for; this machine's when
	// empty.
	Architecture string
	// Flags are more flags of go build.
	Flags []string
	// Progress is told of it where it takes long; nil for silence.
	Progress io.Writer
}

// Own builds a program of this repository, a package such as e2e/docker/runtime, as the
// file target. The go command's cache makes that quick where nothing changed.
func Own(ctx context.Context, pkg, target string, way Way) error {
	return compile(ctx, "./"+pkg, target, way)
}

// Tool builds a program that this repository's own go.mod names as a tool, a package
// such as sigs.k8s.io/cluster-api/test/extension, as the file target.
func Tool(ctx context.Context, pkg, target string) error {
	return compile(ctx, pkg, target, Way{Packed: true})
}

// ToolSource is the directory of a package that [Tool] builds.
func ToolSource(ctx context.Context, pkg string) (string, error) {
	repository, err := Repository(ctx)
	if err != nil {
		return "", err
	}
	out, err := goCommand(ctx, repository, "list", "-f", "{{.Dir}}", pkg)
	if err != nil {
		return "", fmt.Errorf("finding the source of %s: %w", pkg, err)
	}
	return string(bytes.TrimSpace(out)), nil
}

func compile(ctx context.Context, pkg, target string, way Way) error {
	repository, err := Repository(ctx)
	if err != nil {
		return err
	}
	if target, err = filepath.Abs(target); err != nil {
		return err
	}
	args := []string{"build", "-buildvcs=false", "-o", target}
	if way.Packed {
		args = append(args, "-trimpath", "-ldflags=-s -w")
	}
	cmd := exec.CommandContext(ctx, "go", slices.Concat(args, way.Flags, []string{pkg})...)
	cmd.Dir = repository
	cmd.Env = Environment()
	if way.Architecture != "" {
		cmd.Env = append(cmd.Env, "GOOS=linux", "GOARCH="+way.Architecture)
	}
	// The whole group: the compilers are go's children, not ours.
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	progress := way.Progress
	if progress == nil {
		progress = io.Discard
	}
	if err := Run(cmd, func() { fmt.Fprintf(progress, "building %s …\n", path.Base(pkg)) }); err != nil {
		return errors.Join(fmt.Errorf("building %s: %w\n%s", pkg, err, bytes.TrimSpace(output.Bytes())), context.Cause(ctx))
	}
	return nil
}
