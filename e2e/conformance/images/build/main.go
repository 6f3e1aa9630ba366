// Build writes the images of a conformance run as one archive, for where nodes can reach
// no registry, and prints their names:
//
//	go run ./e2e/conformance/images/build out/conformance.tar
//	ctr --namespace k8s.io images import conformance.tar
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"elemento.cloud/cluster-api-provider-elemento/e2e/conformance/images"
	"elemento.cloud/cluster-api-provider-elemento/e2e/image"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: build FILE")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := build(ctx, os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func build(ctx context.Context, path string) error {
	all, err := images.All(ctx, os.Stderr)
	if err != nil {
		return err
	}
	out, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := errors.Join(image.Write(out, all...), out.Close()); err != nil {
		return err
	}
	for _, i := range all {
		fmt.Println(i.Name)
	}
	return nil
}
