package v1beta1_test

import (
	"context"
	"os"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemento.cloud/cluster-api-provider-elemento/e2e/apitest"
)

// api is a real API server that serves our kinds, and nothing that reconciles.
var api client.Client

func TestMain(m *testing.M) {
	os.Exit(apitest.Run(m, "../../config", func(_ context.Context, s *apitest.Server) (func() error, error) {
		api = s.Client
		return nil, nil
	}))
}

// namespace makes a namespace that only this test uses.
func namespace(t *testing.T) string {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}
	if err := api.Create(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	return ns.Name
}
