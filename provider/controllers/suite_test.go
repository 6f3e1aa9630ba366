package controllers_test

import (
	"context"
	"os"
	"testing"

	"github.com/go-logr/logr"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"

	"elemento.cloud/cluster-api-provider-elemento/e2e/apitest"
)

// api reaches the API server of the package's tests, which has the CRDs of
// Cluster API and ours, and nothing that reconciles.
var api *rest.Config

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard()) // each site keeps its own log
	os.Exit(apitest.Run(m, "../config", func(_ context.Context, s *apitest.Server) (func() error, error) {
		api = s.Config
		return nil, nil
	}, "clusters", "machines"))
}
