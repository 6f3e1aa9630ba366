// Command elemento-daemon is the gRPC client daemon in front of the AtomOS
// hosts of a site.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"elemento.cloud/cluster-api-provider-elemento/daemon"
)

func main() {
	if err := run(os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "elemento-daemon:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	flags := flag.NewFlagSet("elemento-daemon", flag.ContinueOnError)
	config := flags.String("config", "/etc/elemento/daemon.yaml", "the configuration `file`")
	check := flags.Bool("check", false, "check the configuration and end")
	level := flags.String("log-level", "", "debug, info, warn or error, in place of the configuration's log.level")
	format := flags.String("log-format", "", "json or text, in place of the configuration's log.format")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	cfg, err := daemon.LoadConfig(*config)
	if err != nil {
		return err
	}
	cfg.Log = daemon.Log{Level: cmp.Or(*level, cfg.Log.Level), Format: cmp.Or(*format, cfg.Log.Format)}
	if err := cfg.Check(); err != nil || *check {
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
