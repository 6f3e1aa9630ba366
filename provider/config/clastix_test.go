package config_test

import (
	"context"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/yaml"

	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
	"elemento.cloud/cluster-api-provider-elemento/provider/tenancy"
)

func may(t *testing.T, c client.Client, verb string, what schema.GroupResource, namespace, name string) bool {
	t.Helper()
	resource, subresource, _ := strings.Cut(what.Resource, "/")
	review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{
		Namespace: namespace, Verb: verb, Group: what.Group, Resource: resource, Subresource: subresource, Name: name,
	}}}
	if err := c.Create(t.Context(), review); err != nil {
		t.Fatal(err)
	}
	return review.Status.Allowed
}

func get(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), kubectl, append([]string{"--kubeconfig", server.Kubeconfig, "get"}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("kubectl get %v: %v\n%s", args, err, out)
	}
	return string(out)
}

func readyFalse(reason, message string) []metav1.Condition {
	return []metav1.Condition{{Type: infrav1.ReadyCondition, Status: metav1.ConditionFalse, Reason: reason, Message: message, LastTransitionTime: metav1.Now()}}
}

func TestClastixDrivesClustersInItsNamespaceAndReachesNothingElse(t *testing.T) {
	t.Parallel()
	mine, other := tenant(t), namespace(t)
	clastix := as(t, "someone", "clastix")
	const (
		core      = "cluster.x-k8s.io"
		infra     = "infrastructure.cluster.x-k8s.io"
		bootstrap = "bootstrap.cluster.x-k8s.io"
		control   = "controlplane.cluster.x-k8s.io"
	)
	for _, test := range []struct {
		verbs, group, resource string
		want                   bool
	}{
		{"create get list watch update patch delete", core, "clusters", true},
		{"create get list watch update patch delete", core, "machinedeployments", true},
		{"create get list watch update patch delete", core, "clusterclasses", true},
		{"get update patch", core, "machinedeployments/scale", true},
		{"get list watch patch delete", core, "machines", true},
		{"create update", core, "machines", false},
		{"get list watch", core, "machinesets", true},
		{"create update patch delete", core, "machinesets", false},
		{"create patch delete", control, "kubeadmcontrolplanes", true},
		{"create patch delete", bootstrap, "kubeadmconfigtemplates", true},
		{"create update patch delete", bootstrap, "kubeadmconfigs", false},
		{"create get list watch update patch delete", infra, "elementoclusters", true},
		{"create get list watch update patch delete", infra, "elementomachinetemplates", true},
		{"get list watch", infra, "elementomachines", true},
		{"create update patch delete", infra, "elementomachines", false},
		{"create update patch delete", infra, "elementocleanups", false},
		{"update patch", infra, "elementoclusters/status", false},
		{"get list watch create update patch delete", "", "secrets", false},
		{"create update patch delete", "rbac.authorization.k8s.io", "roles", false},
		{"create update patch delete", "rbac.authorization.k8s.io", "rolebindings", false},
		{"create", "", "serviceaccounts/token", false},
		{"impersonate", "", "users", false},
		{"create get", "", "pods", false},
		{"get list", "", "nodes", false},
	} {
		for _, verb := range strings.Fields(test.verbs) {
			what := schema.GroupResource{Group: test.group, Resource: test.resource}
			if got := may(t, clastix, verb, what, mine, ""); got != test.want {
				t.Errorf("in its namespace Clastix may %s %s: %v, want %v", verb, what, got, test.want)
			}
			if may(t, clastix, verb, what, other, "") {
				t.Errorf("in another namespace Clastix may %s %s", verb, what)
			}
		}
	}
}

func newSecret(t *testing.T, namespace, name string) {
	t.Helper()
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	if err := admin.Create(t.Context(), s); err != nil {
		t.Fatal(err)
	}
}

func newClusterOf(t *testing.T, namespace, name, infrastructure string) *clusterv1.Cluster {
	t.Helper()
	c := &clusterv1.Cluster{}
	c.Namespace, c.Name = namespace, name
	c.Spec.InfrastructureRef = clusterv1.ContractVersionedObjectReference{APIGroup: infrav1.GroupVersion.Group, Kind: infrastructure, Name: name}
	if err := admin.Create(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestClastixReadsTheKubeconfigsOfItsClustersAndNoOtherSecret(t *testing.T) {
	t.Parallel()
	ns := tenant(t)
	clastix := as(t, "someone", "clastix")
	one, two := newClusterOf(t, ns, "one", "ElementoCluster"), newClusterOf(t, ns, "two", "ElementoCluster")
	newClusterOf(t, ns, "foreign", "OtherCluster")
	for _, name := range []string{"one-kubeconfig", "two-kubeconfig", "foreign-kubeconfig", "one-ca", "one-etcd", "elemento-identity"} {
		newSecret(t, ns, name)
	}
	// The permissions that the manager has been given must do.
	reconciler := &tenancy.Kubeconfigs{Client: as(t, "system:serviceaccount:elemento-system:elemento-manager", "system:serviceaccounts")}
	reconcileNow := func() {
		t.Helper()
		if _, err := reconciler.Reconcile(t.Context(), reconcile.Request{NamespacedName: types.NamespacedName{Name: ns}}); err != nil {
			t.Fatal(err)
		}
	}
	// The API server learns of a changed Role a little later.
	wantReadable := func(want ...string) {
		t.Helper()
		if err := wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, 20*time.Second, true, func(ctx context.Context) (bool, error) {
			var readable []string
			for _, name := range []string{"elemento-identity", "foreign-kubeconfig", "one-ca", "one-etcd", "one-kubeconfig", "two-kubeconfig"} {
				switch err := clastix.Get(ctx, client.ObjectKey{Namespace: ns, Name: name}, &corev1.Secret{}); {
				case err == nil:
					readable = append(readable, name)
				case !apierrors.IsForbidden(err):
					return false, err
				}
			}
			return slices.Equal(readable, want), nil
		}); err != nil {
			t.Fatalf("Clastix does not come to read just %v: %v", want, err)
		}
	}

	wantReadable()
	reconcileNow()
	wantReadable("one-kubeconfig", "two-kubeconfig")
	if err := clastix.List(t.Context(), &corev1.SecretList{}, client.InNamespace(ns)); !apierrors.IsForbidden(err) {
		t.Errorf("Clastix lists Secrets: %v", err)
	}
	role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: tenancy.KubeconfigReader}}
	if err := admin.Get(t.Context(), client.ObjectKeyFromObject(role), role); err != nil {
		t.Fatal(err)
	}
	version := role.ResourceVersion
	reconcileNow()
	if err := admin.Get(t.Context(), client.ObjectKeyFromObject(role), role); err != nil {
		t.Fatal(err)
	}
	if role.ResourceVersion != version {
		t.Error("the Role is written although nothing has changed")
	}

	if err := admin.Delete(t.Context(), one); err != nil {
		t.Fatal(err)
	}
	reconcileNow()
	wantReadable("two-kubeconfig")

	if err := admin.Delete(t.Context(), two); err != nil {
		t.Fatal(err)
	}
	reconcileNow()
	wantReadable()
	if err := admin.Get(t.Context(), client.ObjectKeyFromObject(role), role); !apierrors.IsNotFound(err) {
		t.Errorf("the Role outlives the last cluster: %v", err)
	}
	reconcileNow() // with nothing to do
}

func TestTheDaemonsCredentialsStayOutOfBootstrapData(t *testing.T) {
	t.Parallel()
	ns := tenant(t)
	const (
		file = `{files: [{path: /a, contentFrom: {secret: {name: %s, key: tls.key}}}]}`
		user = `{users: [{name: a, passwdFrom: {secret: {name: %s, key: tls.key}}}]}`
	)
	wrap := func(kind, kubeadm string) *unstructured.Unstructured {
		spec := map[string]string{
			"KubeadmConfig":               `%s`,
			"KubeadmConfigTemplate":       `{template: {spec: %s}}`,
			"KubeadmControlPlane":         `{version: v1.36.3, machineTemplate: {spec: {infrastructureRef: {apiGroup: infrastructure.cluster.x-k8s.io, kind: ElementoMachineTemplate, name: a}}}, kubeadmConfigSpec: %s}`,
			"KubeadmControlPlaneTemplate": `{template: {spec: {kubeadmConfigSpec: %s}}}`,
		}[kind]
		group := "bootstrap.cluster.x-k8s.io"
		if strings.HasPrefix(kind, "KubeadmControlPlane") {
			group = "controlplane.cluster.x-k8s.io"
		}
		object := &unstructured.Unstructured{}
		text := "{apiVersion: " + group + "/v1beta2, kind: " + kind + ", spec: " + strings.Replace(spec, "%s", kubeadm, 1) + "}"
		if err := yaml.Unmarshal([]byte(text), &object.Object); err != nil {
			t.Fatal(err)
		}
		object.SetNamespace(ns)
		object.SetGenerateName("x-")
		return object
	}
	for _, kind := range []string{"KubeadmConfig", "KubeadmConfigTemplate", "KubeadmControlPlane", "KubeadmControlPlaneTemplate"} {
		for _, part := range []string{file, user} {
			for _, name := range []string{"elemento-identity", "mine-elemento-identity"} {
				wrong := wrap(kind, strings.Replace(part, "%s", name, 1))
				// The API server heeds a policy a little after it is stored.
				err := wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, 20*time.Second, true, func(ctx context.Context) (bool, error) {
					err := admin.Create(ctx, wrong.DeepCopy(), client.DryRunAll)
					if apierrors.IsForbidden(err) && strings.Contains(err.Error(), "must not name an Elemento identity") {
						return true, nil
					}
					return false, err
				})
				if err != nil {
					t.Errorf("%s with %s: %v, want it refused", kind, part, err)
				}
			}
			if err := admin.Create(t.Context(), wrap(kind, strings.Replace(part, "%s", "mine", 1)), client.DryRunAll); err != nil {
				t.Errorf("%s with another Secret: %v", kind, err)
			}
		}
		if err := admin.Create(t.Context(), wrap(kind, "{preKubeadmCommands: [date]}"), client.DryRunAll); err != nil {
			t.Errorf("%s without Secrets: %v", kind, err)
		}
	}
}
