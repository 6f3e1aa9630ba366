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
func Own(ctx context.Context, pkg, target string) error {
	repository, err := Repository(ctx)
	if err != nil {
		return err
	}
	if target, err = filepath.Abs(target); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", target, "./"+pkg)
	cmd.Dir = repository
	cmd.Env = Environment()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building %s: %w\n%s", pkg, err, bytes.TrimSpace(out))
	}
	return nil
}
