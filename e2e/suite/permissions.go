package suite

import (
	"context"
	"fmt"
	"slices"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The groups of what Clastix reaches and does not reach.
const (
	coreGroup      = "cluster.x-k8s.io"
	infraGroup     = "infrastructure.cluster.x-k8s.io"
	bootstrapGroup = "bootstrap.cluster.x-k8s.io"
	controlGroup   = "controlplane.cluster.x-k8s.io"
)

// reach is what Clastix may do with a resource in its namespace, and what it may not.
// Elsewhere it may do nothing of either.
type reach struct {
	group, resource, may, mayNot string
}

var reaches = []reach{
	{coreGroup, "clusters", "create get list watch update patch delete", "deletecollection"},
	{coreGroup, "machinedeployments", "create get list watch update patch delete", "deletecollection"},
	{coreGroup, "machinedeployments/scale", "get update patch", ""},
	{coreGroup, "machines", "get list watch patch delete", "create update"},
	{coreGroup, "machinesets", "get list watch", "create update patch delete"},
	{controlGroup, "kubeadmcontrolplanes", "create get list watch update patch delete", ""},
	{bootstrapGroup, "kubeadmconfigtemplates", "create get list watch update patch delete", ""},
	{bootstrapGroup, "kubeadmconfigs", "get list watch", "create update patch delete"},
	{infraGroup, "elementoclusters", "create get list watch update patch delete", ""},
	{infraGroup, "elementoclusters/status", "", "update patch"},
	{infraGroup, "elementomachinetemplates", "create get list watch update patch delete", ""},
	{infraGroup, "elementomachines", "get list watch", "create update patch delete"},
	{infraGroup, "elementomachines/status", "", "update patch"},
	{infraGroup, "elementocleanups", "get list watch", "create update patch delete"},
	{"", "secrets", "", "get list watch create update patch delete"},
	{"", "pods", "", "get list create delete"},
	{"", "pods/exec", "", "create get"},
	{"", "pods/portforward", "", "create get"},
	{"", "pods/proxy", "", "create get"},
	{"", "pods/log", "", "get"},
	{"", "services/proxy", "", "create get"},
	{"", "serviceaccounts/token", "", "create"},
	{"apps", "deployments", "", "get list create patch delete"},
	{"coordination.k8s.io", "leases", "", "get list create update patch delete"},
	{rbacv1.GroupName, "roles", "", "get create update patch delete bind escalate"},
	{rbacv1.GroupName, "rolebindings", "", "get create update patch delete"},
}

// beyond is what no namespace has, of which Clastix reaches nothing.
var beyond = []reach{
	{"", "nodes", "", "get list"},
	{"", "nodes/proxy", "", "create get"},
	{"", "namespaces", "", "list create delete"},
	{"", "users", "", "impersonate"},
	{"", "groups", "", "impersonate"},
	{"apiextensions.k8s.io", "customresourcedefinitions", "", "get create patch delete"},
	{"admissionregistration.k8s.io", "validatingwebhookconfigurations", "", "get create patch delete"},
	{"admissionregistration.k8s.io", "validatingadmissionpolicies", "", "get create patch delete"},
	{rbacv1.GroupName, "clusterroles", "", "create patch delete bind escalate"},
	{rbacv1.GroupName, "clusterrolebindings", "", "create patch delete"},
	{"certificates.k8s.io", "certificatesigningrequests", "", "create get list"},
}

// permissions asks the API server for all of these.
func (v *view) permissions(ctx context.Context) {
	GinkgoHelper()
	var wrong []string
	for _, r := range slices.Concat(reaches, beyond) {
		for _, verb := range strings.Fields(r.may) {
			if !v.may(ctx, verb, r, v.own) {
				wrong = append(wrong, fmt.Sprintf("may not %s %s.%s in its namespace", verb, r.resource, r.group))
			}
		}
		for _, verb := range strings.Fields(r.mayNot) {
			if v.may(ctx, verb, r, v.own) {
				wrong = append(wrong, fmt.Sprintf("may %s %s.%s in its namespace", verb, r.resource, r.group))
			}
		}
		for _, elsewhere := range []string{v.other, v.Site.World.Lease().Namespace, metav1.NamespaceSystem, metav1.NamespaceAll} {
			for _, verb := range strings.Fields(r.may + " " + r.mayNot) {
				if v.may(ctx, verb, r, elsewhere) {
					wrong = append(wrong, fmt.Sprintf("may %s %s.%s in namespace %q", verb, r.resource, r.group, elsewhere))
				}
			}
		}
	}
	Expect(wrong).To(BeEmpty(), "what Clastix may do")
}

// may asks whether Clastix may.
func (v *view) may(ctx context.Context, verb string, r reach, namespace string) bool {
	GinkgoHelper()
	v.asked++
	resource, subresource, _ := strings.Cut(r.resource, "/")
	review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
		ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: namespace, Verb: verb, Group: r.group, Resource: resource, Subresource: subresource},
	}}
	Expect(v.clastix.Create(ctx, review)).To(Succeed())
	return review.Status.Allowed
}
