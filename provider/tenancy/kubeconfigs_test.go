package tenancy_test

import (
	"context"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"elemento.cloud/cluster-api-provider-elemento/e2e/apitest"
	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
	"elemento.cloud/cluster-api-provider-elemento/provider/tenancy"
)

// api is a real API server that has Clusters, and nothing that reconciles; config
// reaches it.
var (
	api    client.Client
	config *rest.Config
)

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard())
	os.Exit(apitest.Run(m, "../config", func(_ context.Context, s *apitest.Server) (func() error, error) {
		api, config = s.Client, s.Config
		return nil, nil
	}, "clusters"))
}

func TestTheRoleListsTheKubeconfigsOfOurClusters(t *testing.T) {
	t.Parallel()
	ns := namespace(t)
	makeCluster(t, ns, "b", "ElementoCluster", infrav1.GroupVersion.Group)
	a := makeCluster(t, ns, "a", "ElementoCluster", infrav1.GroupVersion.Group)
	makeCluster(t, ns, "foreign", "OtherCluster", infrav1.GroupVersion.Group)
	makeCluster(t, ns, "namesake", "ElementoCluster", "infrastructure.example.com")
	wantKubeconfigs(t, ns, "a-kubeconfig", "b-kubeconfig")

	if err := api.Delete(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	wantKubeconfigs(t, ns, "b-kubeconfig")
}

func TestTheRoleGoesWithTheLastCluster(t *testing.T) {
	t.Parallel()
	ns := namespace(t)
	wantNoRole(t, ns) // and none is missed
	cluster := makeCluster(t, ns, "only", "ElementoCluster", infrav1.GroupVersion.Group)
	wantKubeconfigs(t, ns, "only-kubeconfig")
	if err := api.Delete(t.Context(), cluster); err != nil {
		t.Fatal(err)
	}
	wantNoRole(t, ns)
}

func TestARoleThatSomebodyWidenedIsMended(t *testing.T) {
	t.Parallel()
	ns := namespace(t)
	makeCluster(t, ns, "only", "ElementoCluster", infrav1.GroupVersion.Group)
	wide := &rbacv1.Role{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: tenancy.KubeconfigReader},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"get", "list"}}},
	}
	if err := api.Create(t.Context(), wide); err != nil {
		t.Fatal(err)
	}
	wantKubeconfigs(t, ns, "only-kubeconfig")
}

func TestANamespaceThatIsDeletedIsNoError(t *testing.T) {
	t.Parallel()
	ns := namespace(t)
	makeCluster(t, ns, "last", "ElementoCluster", infrav1.GroupVersion.Group)
	if err := api.Delete(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}}); err != nil {
		t.Fatal(err)
	}
	reconcileIn(t, ns)
}

func TestARoleThatSomebodyRemovedComesBackWithTheNextResync(t *testing.T) {
	t.Parallel()
	ns := namespace(t)
	makeCluster(t, ns, "only", "ElementoCluster", infrav1.GroupVersion.Group)
	resync := 500 * time.Millisecond
	mgr, err := ctrl.NewManager(config, ctrl.Options{
		Scheme: apitest.Scheme, Metrics: metricsserver.Options{BindAddress: "0"},
		Cache: cache.Options{DefaultNamespaces: map[string]cache.Config{ns: {}}, SyncPeriod: &resync},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := (&tenancy.Kubeconfigs{Client: mgr.GetClient()}).SetupWithManager(mgr, controller.Options{}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()

	role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: tenancy.KubeconfigReader}}
	for range 2 {
		if err := wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, 30*time.Second, true, func(ctx context.Context) (bool, error) {
			err := api.Get(ctx, client.ObjectKeyFromObject(role), role)
			return err == nil, client.IgnoreNotFound(err)
		}); err != nil {
			t.Fatalf("waiting for the Role: %v", err)
		}
		if err := api.Delete(t.Context(), role); err != nil {
			t.Fatal(err)
		}
	}
}

func namespace(t *testing.T) string {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}
	if err := api.Create(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	return ns.Name
}

// makeCluster makes a Cluster whose infrastructure is of a kind.
func makeCluster(t *testing.T, ns, name, kind, group string) *clusterv1.Cluster {
	t.Helper()
	cluster := &clusterv1.Cluster{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name},
		Spec:       clusterv1.ClusterSpec{InfrastructureRef: clusterv1.ContractVersionedObjectReference{APIGroup: group, Kind: kind, Name: name}},
	}
	if err := api.Create(t.Context(), cluster); err != nil {
		t.Fatal(err)
	}
	return cluster
}

func reconcileIn(t *testing.T, ns string) {
	t.Helper()
	if _, err := (&tenancy.Kubeconfigs{Client: api}).Reconcile(t.Context(), reconcile.Request{NamespacedName: types.NamespacedName{Name: ns}}); err != nil {
		t.Fatal(err)
	}
}

// wantKubeconfigs reconciles and fails the test if the Role allows anything but to
// get these Secrets.
func wantKubeconfigs(t *testing.T, ns string, names ...string) {
	t.Helper()
	reconcileIn(t, ns)
	role := &rbacv1.Role{}
	if err := api.Get(t.Context(), types.NamespacedName{Namespace: ns, Name: tenancy.KubeconfigReader}, role); err != nil {
		t.Fatal(err)
	}
	if len(role.Rules) != 1 {
		t.Fatalf("the Role has the rules %+v, want one", role.Rules)
	}
	rule := role.Rules[0]
	if !slices.Equal(rule.ResourceNames, names) || !slices.Equal(rule.Verbs, []string{"get"}) ||
		!slices.Equal(rule.Resources, []string{"secrets"}) || !slices.Equal(rule.APIGroups, []string{""}) {
		t.Errorf("the Role allows %+v, want to get the Secrets %v", rule, names)
	}
}

func wantNoRole(t *testing.T, ns string) {
	t.Helper()
	reconcileIn(t, ns)
	err := api.Get(t.Context(), types.NamespacedName{Namespace: ns, Name: tenancy.KubeconfigReader}, &rbacv1.Role{})
	if !apierrors.IsNotFound(err) {
		t.Errorf("looking for the Role: %v, want none", err)
	}
}
