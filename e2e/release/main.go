// Release lays out the provider as a local clusterctl repository:
//
//	go run ./e2e/release out/repository
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"elemento.cloud/cluster-api-provider-elemento/e2e/world"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: release DIRECTORY")
		os.Exit(2)
	}
	config, err := world.Release(ctx, os.Args[1], os.Stderr)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("clusterctl --config", config)
}
