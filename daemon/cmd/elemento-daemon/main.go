// Command elemento-daemon is the gRPC client daemon in front of the AtomOS
// hosts of a site.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"elemento.cloud/cluster-api-provider-elemento/daemon"
)

func main() {
	config := flag.String("config", "/etc/elemento/daemon.yaml", "the configuration `file`")
	check := flag.Bool("check", false, "check the configuration and end")
	flag.Parse()
	if err := run(*config, *check); err != nil {
		fmt.Fprintln(os.Stderr, "elemento-daemon:", err)
		os.Exit(1)
	}
}

func run(path string, check bool) error {
	cfg, err := daemon.LoadConfig(path)
	if err != nil || check {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	d, err := daemon.New(cfg, cfg.Log.Logger(os.Stderr))
	if err != nil {
		return err
	}
	// A second signal ends at once.
	context.AfterFunc(ctx, stop)
	return d.Run(ctx)
}
