// Playground keeps a whole world running until it is interrupted: a management
// plane with Cluster API and our provider, two daemons, and a fake AtomOS with
// simulated guests. It prints how to use it.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/e2e/binaries"
	"elemento.cloud/cluster-api-provider-elemento/e2e/world"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "playground:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) (err error) {
	flags := flag.NewFlagSet("playground", flag.ExitOnError)
	dir := flags.String("out", "out", "`directory` for logs and the clusterctl repository")
	hosts := flags.Int("hosts", 3, "AtomOS hosts")
	domains := flags.Int("domains", 3, "domains that they are dealt to")
	bootTime := flags.Duration("boot-time", 2*time.Second, "how long a VM boots")
	stopTime := flags.Duration("stop-time", 2*time.Second, "how long a VM shuts down")
	watched := flags.Bool("prometheus", false, "have Prometheus watch it, with the rules that are shipped")
	if err := flags.Parse(args); err != nil {
		return err
	}
	kept, err := filepath.Abs(filepath.Join(*dir, "playground"))
	if err != nil {
		return err
	}
	config, err := world.Release(ctx, filepath.Join(kept, "repository"), out)
	if err != nil {
		return err
	}
	clusterctl, err := binaries.Path(ctx, binaries.Clusterctl, out)
	if err != nil {
		return err
	}
	kubectl, err := binaries.Path(ctx, binaries.Kubectl, out)
	if err != nil {
		return err
	}
	options := world.Options{
		Dir:      kept,
		Progress: out,
		Elemento: &world.Elemento{AtomOS: world.AtomOS{Hosts: *hosts, Domains: *domains, BootTime: *bootTime, StopTime: *stopTime}},
	}
	if *watched {
		options.Prometheus = &world.Prometheus{}
	}
	w, err := world.Up(ctx, options)
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if downErr := w.Down(ctx); err == nil {
			err = downErr
		}
	}()
	if err := writeEnvironment(filepath.Join(kept, "env"), w, kubectl, clusterctl, config); err != nil {
		return err
	}
	fmt.Fprintf(out, `
The playground is up. In another terminal:

  source %s
  clusterctl generate cluster demo --infrastructure elemento:%s --target-namespace default \
    --control-plane-machine-count 1 --worker-machine-count 2 | kubectl apply -f -
  clusterctl describe cluster demo
  kubectl get clusters,machines,elementomachines

What AtomOS holds:
  curl -s %s/inventory

The proof of concept on what is up here, which it is told by address and owner only:
  %s
%s
Logs are in %s. Ctrl-C takes everything down.
`, filepath.Join(kept, "env"), world.ReleaseVersion, w.FakeURL(), pocCommand(w), prometheusHint(w), filepath.Join(kept, "logs"))
	select {
	case <-ctx.Done():
		fmt.Fprintln(out, "taking the playground down")
		return nil
	case <-w.Failed():
		return w.Err()
	}
}

// prometheusHint says what can be asked of Prometheus, where it is there.
func prometheusHint(w *world.World) string {
	url := w.PrometheusURL()
	if url == "" {
		return ""
	}
	return fmt.Sprintf(`
Prometheus, a data source for Grafana, is at %s
  curl -s %s/api/v1/alerts
Pictures of the dashboards, as they are now, in the directory dashboards:
  go run ./e2e/watch/draw --prometheus %s --out dashboards
`, url, url, url)
}

// pocCommand runs the proof of concept on a plane and hosts that it did not start.
func pocCommand(w *world.World) string {
	command := fmt.Sprintf("go run ./e2e/poc --kubeconfig %s --client-uid %s --control %s --variable %s",
		w.AdminKubeconfig(), w.ClientUID(), w.FakeURL(), strings.Join(w.TemplateVariables(), " --variable "))
	for _, h := range w.Hosts() {
		command += fmt.Sprintf(" \\\n    --atomos %s=%s#%s", h.Domain, h.URL, h.Fingerprint)
	}
	return command
}

// writeEnvironment writes what a shell needs to use the playground.
func writeEnvironment(path string, w *world.World, kubectl, clusterctl, config string) error {
	text := fmt.Sprintf(`export KUBECONFIG=%q
kubectl() { %q "$@"; }
clusterctl() { %q --config %q "$@"; }
export KUBERNETES_VERSION=%q
`, w.AdminKubeconfig(), kubectl, clusterctl, config, world.KubernetesVersion)
	for _, v := range w.TemplateVariables() {
		text += "export " + v + "\n"
	}
	return os.WriteFile(path, []byte(text), 0o644)
}
