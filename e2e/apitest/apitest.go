// Package apitest gives a package's tests a real API server that serves our kinds,
// and on which nothing reconciles.
package apitest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"elemento.cloud/cluster-api-provider-elemento/e2e/world"
	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
)

// Scheme has Kubernetes' kinds, Cluster API's and ours.
var Scheme = runtime.NewScheme()

func init() {
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, clusterv1.AddToScheme, infrav1.AddToScheme} {
		if err := add(Scheme); err != nil {
			panic(err)
		}
	}
}

// Server is an API server with CRDs.
type Server struct {
	// Config reaches it as an administrator, and Client does so with Scheme.
	Config *rest.Config
	Client client.Client
}

// startup is how long the server may take until tests can run; it may have to be
// built first.
const startup = 15 * time.Minute

// Run runs a package's tests with a server that has the CRDs of provider/config, a
// directory given relative to the package, and those of some of Cluster API's own
// kinds, such as "clusters". Before the tests use is given the server; what it
// returns, if anything, ends what it has begun. The result is for os.Exit.
func Run(m *testing.M, config string, use func(context.Context, *Server) (end func() error, err error), core ...string) int {
	code, err := run(m, filepath.Join(config, "crd", "bases"), core, use)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

func run(m *testing.M, ours string, core []string, use func(context.Context, *Server) (func() error, error)) (code int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), startup)
	defer cancel()
	crds, err := coreCRDs(ctx, core)
	if err != nil {
		return 0, err
	}
	started, err := world.StartAPIServer(ctx, world.Options{Progress: os.Stderr})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, started.Stop()) }()
	if _, err := envtest.InstallCRDs(started.Config, envtest.CRDInstallOptions{Paths: append(crds, ours), ErrorIfPathMissing: true}); err != nil {
		return 0, err
	}
	s := &Server{Config: started.Config}
	if s.Client, err = client.New(s.Config, client.Options{Scheme: Scheme}); err != nil {
		return 0, err
	}
	end, err := use(ctx, s)
	if end != nil {
		defer func() { err = errors.Join(err, end()) }()
	}
	if err != nil {
		return 0, err
	}
	return m.Run(), nil
}

// coreCRDs are the files of Cluster API's own kinds, in the module that the tests
// are built with.
func coreCRDs(ctx context.Context, kinds []string) (paths []string, err error) {
	if len(kinds) == 0 {
		return nil, nil
	}
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/cluster-api").Output()
	if err != nil {
		return nil, fmt.Errorf("finding Cluster API's CRDs: %w", err)
	}
	for _, kind := range kinds {
		paths = append(paths, filepath.Join(strings.TrimSpace(string(out)), "core", "config", "crd", "bases", "cluster.x-k8s.io_"+kind+".yaml"))
	}
	return paths, nil
}
