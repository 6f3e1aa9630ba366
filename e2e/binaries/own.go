package binaries

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
)

// Own builds a program of this repository, a package such as e2e/docker/runtime, as the
// file target. The go command's cache makes that quick where nothing changed.
func Own(ctx context.Context, pkg, target string) error { return compile(ctx, "./"+pkg, target) }

// Tool builds a program that this repository's own go.mod names as a tool, a package
// such as sigs.k8s.io/cluster-api/test/extension, as the file target.
func Tool(ctx context.Context, pkg, target string) error { return compile(ctx, pkg, target) }

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

func compile(ctx context.Context, pkg, target string) error {
	repository, err := Repository(ctx)
	if err != nil {
		return err
	}
	if target, err = filepath.Abs(target); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", target, pkg)
	cmd.Dir = repository
	cmd.Env = Environment()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building %s: %w\n%s", pkg, err, bytes.TrimSpace(out))
	}
	return nil
}
