// Engine sees to it that a Docker Engine answers, for the suites that run guests as
// containers:
//
//	go run ./e2e/docker/engine up     # install Debian's where there is none, start it where none answers
//	go run ./e2e/docker/engine down   # end the engine that up started, and no other
//
// An engine that answers is left alone, wherever DOCKER_HOST or the context says it
// is. It says what it does. Where a machine lacks CAP_SYS_RESOURCE, as many a container
// does, the engine that it starts has the OCI runtime of this repository (see
// e2e/docker/runtime) as its default. Where the kernel allows few inotify instances, as
// most do by default, up raises that limit.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	commands := map[string]func(context.Context) error{"up": up, "down": down}
	if len(os.Args) != 2 || commands[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: engine up|down")
		os.Exit(2)
	}
	err := commands[os.Args[1]](ctx)
	if err == nil && os.Args[1] == "up" {
		err = allowWatches()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// say tells the user what is done.
func say(format string, args ...any) { fmt.Printf(format+"\n", args...) }
