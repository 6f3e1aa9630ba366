// Validate judges the history that a run has left.
//
//	go run ./soak/validate/cmd/validate [flags] RUN
//
// RUN is the directory of the run. It prints a verdict for each validator and what
// is wrong, and exits with 1 if anything is, with 2 if it cannot tell.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"

	"elemento.cloud/cluster-api-provider-elemento/reports"
	"elemento.cloud/cluster-api-provider-elemento/soak/validate"
)

func main() {
	var limits validate.Limits
	flags := flag.NewFlagSet("validate", flag.ExitOnError)
	flags.DurationVar(&limits.Gap, "gap", 0, "for how long an API may not answer (default 10s)")
	flags.DurationVar(&limits.Left, "left", 0, "for how long something may outlive its owner (default 30s)")
	flags.DurationVar(&limits.Cleanup, "cleanup", 0, "how long an ElementoCleanup may take once its host is there (default 2m)")
	events := flags.Bool("events", false, "show the events of each violation")
	flags.Usage = func() {
		fmt.Fprintln(flags.Output(), "usage: validate [flags] RUN\n\nRUN is the directory of a run, or its history directory.")
		flags.PrintDefaults()
	}
	_ = flags.Parse(os.Args[1:]) // it exits by itself
	if flags.NArg() != 1 {
		flags.Usage()
		os.Exit(2)
	}
	verdict, err := judge(flags.Arg(0), limits, *events)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	switch verdict {
	case reports.Passed:
	case reports.Failed:
		os.Exit(1)
	default:
		os.Exit(2)
	}
}

func judge(dir string, limits validate.Limits, events bool) (reports.Verdict, error) {
	parts, err := validate.Parts(dir)
	if err != nil {
		return reports.Unknown, err
	}
	var verdicts []reports.Verdict
	for _, part := range parts {
		results, err := validate.Run(part, validate.All(limits)...)
		if err != nil {
			return reports.Unknown, err
		}
		if len(parts) > 1 {
			fmt.Println(part)
		}
		show(results, events)
		verdicts = append(verdicts, validate.Verdict(results))
	}
	verdict := reports.Sum(verdicts...)
	fmt.Printf("\n%s\n", verdict)
	return verdict, nil
}

func show(results []validate.Result, events bool) {
	for _, r := range results {
		fmt.Printf("%-8s %-18s %6d judged  %s\n", r.Verdict, r.Validator, r.Judged, r.Explanation)
		for _, v := range r.Violations {
			fmt.Printf("         %s\n", v)
			for _, e := range v.Events {
				if line, err := json.Marshal(e); events && err == nil {
					fmt.Printf("             %s\n", line)
				}
			}
		}
		if r.More > 0 {
			fmt.Printf("         and %d more\n", r.More)
		}
	}
}
