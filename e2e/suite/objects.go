package suite

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/cluster-api/test/framework"
)

// rootCA is a ConfigMap that Kubernetes puts into each namespace when it gets to
// it.
const rootCA = "kube-root-ca.crt"

// Objects are all objects in a namespace that anyone would miss, by kind and
// name, with what tells one from another of that name and a change of it from
// none: those of Cluster API and of its providers, Secrets, ConfigMaps and
// permissions.
func (s *Site) Objects(ctx context.Context, namespace string) map[string]string {
	found := map[string]string{}
	for _, o := range framework.GetCAPIResources(ctx, framework.GetCAPIResourcesInput{
		Lister:    s.Admin,
		Namespace: namespace,
		IncludeTypes: []metav1.TypeMeta{
			{APIVersion: "v1", Kind: "Secret"}, {APIVersion: "v1", Kind: "ConfigMap"},
			{APIVersion: "rbac.authorization.k8s.io/v1", Kind: "Role"}, {APIVersion: "rbac.authorization.k8s.io/v1", Kind: "RoleBinding"},
		},
	}) {
		if o.GetKind() == "ConfigMap" && o.GetName() == rootCA {
			continue
		}
		found[o.GetKind()+" "+o.GetName()] = fmt.Sprintf("%s generation %d resourceVersion %s", o.GetUID(), o.GetGeneration(), o.GetResourceVersion())
	}
	return found
}
