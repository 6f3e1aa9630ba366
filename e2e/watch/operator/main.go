// Operator writes the rules of a directory as objects of the Prometheus Operator:
//
//	go run ./e2e/watch/operator provider/config/prometheus
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"elemento.cloud/cluster-api-provider-elemento/e2e/watch"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: operator DIRECTORY")
		os.Exit(2)
	}
	objects, err := watch.PrometheusRules(os.Args[1])
	if err == nil {
		err = os.WriteFile(filepath.Join(os.Args[1], "operator", "rules.yaml"), objects, 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
