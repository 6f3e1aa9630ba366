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
	way := binaries.Way{Packed: true, Architecture: architecture, Progress: os.Stderr}
	if err := binaries.Own(ctx, "provider/cmd/manager", program, way); err != nil {
		return err
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
