// Program prints the paths of the programs that it is given the names of, and
// builds those that are not there (see [binaries.Path]):
//
//	go run ./e2e/binaries/program etcd kube-apiserver
//
// Without a name it does so for all that an embedded management plane needs.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"elemento.cloud/cluster-api-provider-elemento/e2e/binaries"
)

func main() {
	flag.Usage = func() {
		fmt.Fprintf(flag.CommandLine.Output(), "usage: program [NAME...]\nBuilds what is not there of %v, and prints the paths.\n", binaries.Programs())
	}
	flag.Parse()
	wanted := flag.Args()
	if len(wanted) == 0 {
		wanted = binaries.Plane()
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	for _, name := range wanted {
		path, err := binaries.Path(ctx, name, os.Stderr)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(path)
	}
}
