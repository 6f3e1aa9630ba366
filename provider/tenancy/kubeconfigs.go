// Package tenancy lets the people who drive clusters, and hold no more than the
// shipped ClusterRole for them, read the kubeconfigs of their clusters.
package tenancy

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	rbacac "k8s.io/client-go/applyconfigurations/rbac/v1"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/cluster-api/util/secret"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
)

// KubeconfigReader is the name of the Role, in each namespace with clusters on
// AtomOS, that allows to get their kubeconfig Secrets and no other Secret. RBAC
// cannot match names by a pattern, and the namespace's other Secrets are the
// cluster's private keys and bootstrap tokens, so the Role lists the names.
const KubeconfigReader = "elemento-kubeconfig-reader"

const fieldOwner = client.FieldOwner("elemento-tenancy")

// +kubebuilder:rbac:groups=cluster.x-k8s.io,resources=clusters,verbs=get;list;watch
// +kubebuilder:rbac:groups=rbac.authorization.k8s.io,resources=roles,resourceNames=elemento-kubeconfig-reader,verbs=create;patch;delete
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get

// Kubeconfigs keeps the Role KubeconfigReader of each namespace. It grants the
// Role to no one: whoever gives a person the shipped ClusterRole in a namespace
// binds this Role too.
type Kubeconfigs struct {
	Client client.Client
}

// SetupWithManager has the manager run it whenever a Cluster comes or goes, and at each
// resync: a Role that somebody changed or removed is not watched.
func (k *Kubeconfigs) SetupWithManager(mgr ctrl.Manager, options controller.Options) error {
	namespace := handler.EnqueueRequestsFromMapFunc(func(_ context.Context, cluster client.Object) []reconcile.Request {
		return []reconcile.Request{{NamespacedName: types.NamespacedName{Name: cluster.GetNamespace()}}}
	})
	relevant := predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		return e.ObjectOld.GetGeneration() != e.ObjectNew.GetGeneration() || e.ObjectOld.GetResourceVersion() == e.ObjectNew.GetResourceVersion()
	}}
	return ctrl.NewControllerManagedBy(mgr).
		Named("kubeconfig-reader").
		Watches(&clusterv1.Cluster{}, namespace, builder.WithPredicates(relevant)).
		WithOptions(options).
		Complete(k)
}

// Reconcile makes the Role of the namespace that the request names, or removes it
// with the last cluster.
func (k *Kubeconfigs) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	namespace := request.Name
	var clusters clusterv1.ClusterList
	if err := k.Client.List(ctx, &clusters, client.InNamespace(namespace)); err != nil {
		return reconcile.Result{}, fmt.Errorf("listing the clusters of namespace %s: %w", namespace, err)
	}
	var names []string
	for _, cluster := range clusters.Items {
		ref := cluster.Spec.InfrastructureRef
		if ref.APIGroup == infrav1.GroupVersion.Group && ref.Kind == "ElementoCluster" {
			names = append(names, secret.Name(cluster.Name, secret.Kubeconfig))
		}
	}
	// A rule without names would allow all Secrets.
	if len(names) == 0 {
		role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: KubeconfigReader}}
		if err := client.IgnoreNotFound(k.Client.Delete(ctx, role)); err != nil {
			return reconcile.Result{}, fmt.Errorf("removing the Role %s/%s: %w", namespace, KubeconfigReader, err)
		}
		return reconcile.Result{}, nil
	}
	slices.Sort(names)
	role := rbacac.Role(KubeconfigReader, namespace).
		WithRules(rbacac.PolicyRule().
			WithAPIGroups(corev1.GroupName).
			WithResources("secrets").
			WithResourceNames(names...).
			WithVerbs("get"))
	err := k.Client.Apply(ctx, role, fieldOwner, client.ForceOwnership)
	if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return reconcile.Result{}, nil // the clusters are about to go, and the Role with them
	}
	if err != nil {
		return reconcile.Result{}, fmt.Errorf("applying the Role %s/%s: %w", namespace, KubeconfigReader, err)
	}
	return reconcile.Result{}, nil
}
