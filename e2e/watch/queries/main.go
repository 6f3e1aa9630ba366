// Queries prints the queries of the dashboards of a directory as a rule file, which
// promtool can check:
//
//	go run ./e2e/watch/queries provider/config/prometheus/dashboards
package main

import (
	"fmt"
	"os"

	"elemento.cloud/cluster-api-provider-elemento/e2e/watch"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: queries DIRECTORY")
		os.Exit(2)
	}
	dashboards, err := watch.Dashboards(os.Args[1])
	var rules []byte
	if err == nil {
		rules, err = watch.QueriesAsRules(dashboards)
	}
	if err == nil {
		_, err = os.Stdout.Write(rules)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
