// Draw draws the dashboards that are shipped as a Prometheus shows them now, as SVG
// files, and tells which of their queries give nothing there:
//
//	go run ./e2e/watch/draw --prometheus http://127.0.0.1:9090 --last 1h --out dashboards
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/e2e/binaries"
	"elemento.cloud/cluster-api-provider-elemento/e2e/watch"
)

func main() {
	url := flag.String("prometheus", "http://127.0.0.1:9090", "`URL` of Prometheus")
	last := flag.Duration("last", 6*time.Hour, "how much time to show, up to now; less where Prometheus has less")
	out := flag.String("out", "dashboards", "`directory` for the pictures")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *url, *last, *out); err != nil {
		fmt.Fprintln(os.Stderr, "draw:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, url string, last time.Duration, out string) error {
	repository, err := binaries.Repository(ctx)
	if err != nil {
		return err
	}
	prometheus, err := watch.Connect(url)
	if err != nil {
		return err
	}
	began, err := prometheus.Began(ctx, last)
	if err != nil {
		return err
	}
	unanswered, err := prometheus.Draw(ctx, filepath.Join(repository, "provider", "config", "prometheus", "dashboards"), out, began, time.Now())
	for _, query := range unanswered {
		fmt.Println("nothing:", query)
	}
	if err == nil {
		fmt.Println("pictures are in", out)
	}
	return err
}
