package controllers_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"elemento.cloud/cluster-api-provider-elemento/e2e/world"
)

// api reaches the API server of the package's tests, which has the CRDs of
// Cluster API and ours, and nothing that reconciles.
var api *rest.Config

func TestMain(m *testing.M) {
	os.Exit(func() int {
		ctrl.SetLogger(logr.Discard()) // each site keeps its own log
		ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
		defer cancel()
		server, err := world.StartAPIServer(ctx, world.Options{Progress: os.Stderr})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer func() { _ = server.Stop() }()
		api = server.Config

		upstream, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/cluster-api").Output()
		if err != nil {
			fmt.Fprintln(os.Stderr, "finding Cluster API's CRDs:", err)
			return 1
		}
		core := filepath.Join(strings.TrimSpace(string(upstream)), "core", "config", "crd", "bases")
		if _, err := envtest.InstallCRDs(api, envtest.CRDInstallOptions{
			Paths: []string{
				filepath.Join(core, "cluster.x-k8s.io_clusters.yaml"), filepath.Join(core, "cluster.x-k8s.io_machines.yaml"),
				filepath.Join("..", "config", "crd", "bases"),
			},
			ErrorIfPathMissing: true,
		}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}())
}
