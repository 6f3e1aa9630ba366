// Build makes the node images that are not there, of all versions of Kubernetes that are
// pinned or of those that it is given, and prints their names (see [node.Build]):
//
//	go run ./e2e/node/build v1.36.3
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"elemento.cloud/cluster-api-provider-elemento/e2e/binaries"
	"elemento.cloud/cluster-api-provider-elemento/e2e/node"
)

func main() {
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: build [VERSION...]\nMakes the images of nodes with these versions of Kubernetes; without one, with all that are pinned.")
	}
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := build(ctx, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func build(ctx context.Context, versions []string) error {
	if len(versions) == 0 {
		var err error
		if versions, err = binaries.KubernetesVersions(ctx); err != nil {
			return err
		}
	}
	for _, version := range versions {
		image, err := node.Build(ctx, version, os.Stderr)
		if err != nil {
			return err
		}
		fmt.Println(image)
	}
	return nil
}
