package binaries

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// mainModule is the module that this package belongs to.
const mainModule = "elemento.cloud/cluster-api-provider-elemento"

// Repository is the root of this repository, found from the working directory.
func Repository(ctx context.Context) (string, error) {
	out, err := goCommand(ctx, "", "list", "-m", "-f", "{{.Dir}}", mainModule)
	if err != nil {
		return "", fmt.Errorf("the working directory must be inside the repository of %s: %w", mainModule, err)
	}
	return string(bytes.TrimSpace(out)), nil
}

func pinsDir(repository, pins string) string {
	return filepath.Join(repository, "e2e", "binaries", pins)
}

// Source is the directory of the source that a program is built from: its module,
// which is downloaded if need be.
func Source(ctx context.Context, name string) (string, error) {
	repository, err := Repository(ctx)
	if err != nil {
		return "", err
	}
	p, _, err := find(ctx, name)
	if err != nil {
		return "", err
	}
	out, err := goCommand(ctx, pinsDir(repository, p.pins), "mod", "download", "-json", p.module)
	if err != nil {
		return "", fmt.Errorf("finding the source of %s: %w", name, err)
	}
	var found struct{ Dir string }
	if err := json.Unmarshal(out, &found); err != nil {
		return "", fmt.Errorf("finding the source of %s: %w", name, err)
	}
	return found.Dir, nil
}

// Package is the directory of the package that a program is.
func Package(ctx context.Context, name string) (string, error) {
	p, _, err := find(ctx, name)
	if err != nil {
		return "", err
	}
	module, err := Source(ctx, name)
	if err != nil {
		return "", err
	}
	return filepath.Join(module, filepath.FromSlash(strings.TrimPrefix(p.pkg, p.module))), nil
}

// goCommand runs the go command in dir and returns what it prints.
func goCommand(ctx context.Context, dir string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = Environment()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return out, nil
}

// Environment has the go command build static programs from exactly what go.mod and
// go.sum pin.
func Environment() []string {
	return append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=readonly", "GOWORK=off", "PWD=")
}

// Cache is the directory that programs are kept in, for what else is made of modules.
func Cache() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("where to keep built programs: %w; set XDG_CACHE_HOME", err)
	}
	cache = filepath.Join(cache, "cluster-api-provider-elemento", runtime.GOOS+"-"+runtime.GOARCH)
	return cache, os.MkdirAll(cache, 0o755)
}
