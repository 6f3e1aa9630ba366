// Manager writes our manager as a container image:
//
//	go run ./e2e/image/manager out/manager.tar
//	docker load --input out/manager.tar
//
// It is for this machine's processor, or for that of --architecture, by Go's name.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"

	"elemento.cloud/cluster-api-provider-elemento/e2e/binaries"
	"elemento.cloud/cluster-api-provider-elemento/e2e/image"
	"elemento.cloud/cluster-api-provider-elemento/e2e/world"
)

func main() {
	architecture := flag.String("architecture", runtime.GOARCH, "`processor` that the image is for, by Go's name")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: manager [--architecture NAME] FILE")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := write(ctx, flag.Arg(0), *architecture); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func write(ctx context.Context, path, architecture string) (err error) {
	repository, err := binaries.Repository(ctx)
	if err != nil {
		return err
	}
	name, err := world.ManagerImage(ctx)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "elemento-image-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	program := filepath.Join(dir, "manager")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", program, "./provider/cmd/manager")
	build.Dir, build.Env = repository, append(binaries.Environment(), "GOOS=linux", "GOARCH="+architecture)
	build.Stdout, build.Stderr = os.Stdout, os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("building the manager: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	out, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := out.Close(); err == nil {
			err = closeErr
		}
	}()
	i := image.Program(name, program)
	i.Architecture = architecture
	if err := i.Write(out); err != nil {
		return err
	}
	fmt.Printf("%s is in %s; load it by: docker load --input %s\n", name, path, path)
	return nil
}
