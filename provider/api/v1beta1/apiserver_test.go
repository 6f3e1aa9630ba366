package v1beta1_test

import (
	"context"
	"fmt"
	"os"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"elemento.cloud/cluster-api-provider-elemento/e2e/world"
	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
)

// api is a real API server that serves our kinds, and nothing that reconciles.
var api client.Client

func TestMain(m *testing.M) {
	code, err := withAPIServer(context.Background(), m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func withAPIServer(ctx context.Context, m *testing.M) (code int, err error) {
	server, err := world.StartAPIServer(ctx, world.Options{Progress: os.Stderr})
	if err != nil {
		return 0, err
	}
	defer func() {
		if stopErr := server.Stop(); err == nil {
			err = stopErr
		}
	}()
	if _, err := envtest.InstallCRDs(server.Config, envtest.CRDInstallOptions{Paths: []string{"../../config/crd/bases"}, ErrorIfPathMissing: true}); err != nil {
		return 0, err
	}
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		return 0, err
	}
	if err := infrav1.AddToScheme(scheme); err != nil {
		return 0, err
	}
	if api, err = client.New(server.Config, client.Options{Scheme: scheme}); err != nil {
		return 0, err
	}
	return m.Run(), nil
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
