package suite

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"slices"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"google.golang.org/grpc"
	grpccredentials "google.golang.org/grpc/credentials"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemento.cloud/cluster-api-provider-elemento/e2e/world"
	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
	"elemento.cloud/cluster-api-provider-elemento/reports"
)

// ClastixReachesNothingElse demands that Clastix reaches what drives its cluster, which
// is there, and nothing else: by what the API server says of its permissions, by calls
// that are to be refused, and by what it can read. It belongs to no criterion. Another of
// Clastix's group asks, so that the audit log tells these requests from others.
func (c *Cluster) ClastixReachesNothingElse(ctx context.Context) {
	GinkgoHelper()
	s := c.Site
	v := &view{Cluster: c, own: c.Key.Namespace, other: s.bareNamespace(ctx)}
	v.config, v.clastix = s.member(ctx, Clastix+"-elsewhere")
	s.Report.Step("what the API server says that Clastix may do", func() { v.permissions(ctx) })
	s.Report.Step("Clastix reads the cluster's kubeconfig, and no other Secret", func() { v.secrets(ctx) })
	s.Report.Step("calls of Clastix to what is ours, or another's, are refused", func() { v.calls(ctx) })
	s.Report.Step("Clastix cannot have a daemon's credentials brought to a node", func() { v.smuggles(ctx) })
	s.Report.Step("nothing that Clastix can read holds a credential of AtomOS, and no daemon knows it", func() { v.credentials(ctx) })
	s.Report.Figure(
		reports.Figure{Name: "permissions of Clastix asked for", Value: float64(v.asked), Command: "SelfSubjectAccessReview"},
		reports.Figure{Name: "calls of Clastix that were refused", Value: float64(v.refusals), Command: "the Kubernetes API"},
		reports.Figure{Name: "objects that Clastix can read", Value: float64(v.read), Command: "the Kubernetes API"},
	)
	Expect(client.IgnoreNotFound(s.Admin.Delete(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: v.other}}))).To(Succeed())
}

// bareNamespace makes a namespace in which Clastix has no role.
func (s *Site) bareNamespace(ctx context.Context) string {
	GinkgoHelper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "another-"}}
	Expect(s.Admin.Create(ctx, namespace)).To(Succeed())
	if s.options.World.Plane == world.PlaneExisting {
		s.namespaces = append(s.namespaces, namespace.Name)
	}
	return namespace.Name
}

// view is Clastix's of a management plane.
type view struct {
	*Cluster
	config  *rest.Config
	clastix client.Client
	// own is the namespace of its cluster, other one that is another's.
	own, other string
	// asked, refusals and read count what was looked at.
	asked, refusals, read int
}

// secrets reads every Secret that there is in its namespace and in that of our manager.
func (v *view) secrets(ctx context.Context) {
	GinkgoHelper()
	identity := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: v.own, Name: "tenant-elemento-identity"}}
	Expect(v.Site.Admin.Create(ctx, identity)).To(Succeed())
	kubeconfig := v.Key.Name + "-kubeconfig"
	for _, namespace := range []string{v.own, v.Site.World.Lease().Namespace} {
		all := &corev1.SecretList{}
		Expect(v.Site.Admin.List(ctx, all, client.InNamespace(namespace))).To(Succeed())
		for _, secret := range all.Items {
			err := v.clastix.Get(ctx, client.ObjectKeyFromObject(&secret), &corev1.Secret{})
			if namespace == v.own && secret.Name == kubeconfig {
				Expect(err).NotTo(HaveOccurred(), "reading its kubeconfig")
				continue
			}
			v.refused(err, "reading Secret %s/%s", namespace, secret.Name)
		}
		v.refused(v.clastix.List(ctx, &corev1.SecretList{}, client.InNamespace(namespace)), "listing the Secrets of %s", namespace)
	}
	v.refused(v.clastix.Patch(ctx, identity.DeepCopy(), client.RawPatch("application/merge-patch+json", []byte(`{"data":{"a":"Yg=="}}`))), "changing an identity")
	v.refused(v.clastix.Delete(ctx, identity.DeepCopy()), "deleting an identity")
	v.refused(v.clastix.Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: v.own, Name: "my-elemento-identity"}}), "making an identity")
	Expect(v.Site.Admin.Delete(ctx, identity)).To(Succeed())
}

// refused demands that a call was refused for want of permission.
func (v *view) refused(err error, doing string, args ...any) {
	GinkgoHelper()
	what := fmt.Sprintf(doing, args...)
	Expect(err).To(HaveOccurred(), "%s was not refused", what)
	Expect(apierrors.IsForbidden(err)).To(BeTrue(), "%s ended otherwise than by being forbidden: %v", what, err)
	v.refusals++
}

// calls tries what Clastix is not to do.
func (v *view) calls(ctx context.Context) {
	GinkgoHelper()
	patch := client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"annotations":{"clastix":"was here"}}}`))
	try := func(object client.Object, what string) {
		GinkgoHelper()
		v.refused(v.clastix.Patch(ctx, object.DeepCopyObject().(client.Object), patch), "changing %s", what)
		v.refused(v.clastix.Delete(ctx, object.DeepCopyObject().(client.Object)), "deleting %s", what)
	}

	machines := &infrav1.ElementoMachineList{}
	Expect(v.clastix.List(ctx, machines, client.InNamespace(v.own))).To(Succeed())
	Expect(machines.Items).NotTo(BeEmpty(), "ElementoMachines of the cluster")
	machine := &machines.Items[0]
	try(machine, "an ElementoMachine")
	v.refused(v.clastix.Status().Patch(ctx, machine.DeepCopy(), patch), "changing the status of an ElementoMachine")
	v.refused(v.clastix.Create(ctx, &infrav1.ElementoMachine{ObjectMeta: metav1.ObjectMeta{Namespace: v.own, Name: "mine"}}), "making an ElementoMachine")
	v.refused(v.clastix.Create(ctx, &infrav1.ElementoCleanup{ObjectMeta: metav1.ObjectMeta{Namespace: v.own, Name: "mine"}}), "making an ElementoCleanup")

	ours := &appsv1.DeploymentList{}
	Expect(v.Site.Admin.List(ctx, ours, client.InNamespace(v.Site.World.Lease().Namespace))).To(Succeed())
	for _, d := range ours.Items { // an embedded plane has none
		try(&d, "our manager")
	}
	try(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: v.own}}, "its namespace")
	try(&rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: v.own, Name: "elemento-kubeconfig-reader"}}, "the Role that names the kubeconfigs")
	try(&rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: v.own, Name: "clastix"}}, "its own RoleBinding")
	for _, gvk := range []schema.GroupVersionKind{
		{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"},
		{Group: "admissionregistration.k8s.io", Version: "v1", Kind: "ValidatingAdmissionPolicy"},
		{Group: rbacv1.GroupName, Version: "v1", Kind: "ClusterRole"},
	} {
		object := &unstructured.Unstructured{}
		object.SetGroupVersionKind(gvk)
		object.SetName("elementomachines.infrastructure.cluster.x-k8s.io")
		try(object, "a "+gvk.Kind)
	}
	for _, namespace := range []string{v.other, v.Site.World.Lease().Namespace} {
		v.refused(v.clastix.List(ctx, &infrav1.ElementoClusterList{}, client.InNamespace(namespace)), "listing ElementoClusters of %s", namespace)
		v.refused(v.clastix.List(ctx, &corev1.ConfigMapList{}, client.InNamespace(namespace)), "listing ConfigMaps of %s", namespace)
		v.refused(v.clastix.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "mine"}}), "making a ConfigMap in %s", namespace)
		for _, own := range v.generated {
			object := own.DeepCopy()
			object.SetNamespace(namespace)
			v.refused(Apply(ctx, v.clastix, Clastix, []unstructured.Unstructured{*object}), "applying %s to %s", object.GetKind(), namespace)
		}
	}
	v.refused(v.clastix.List(ctx, &infrav1.ElementoMachineList{}), "listing the ElementoMachines of all namespaces")

	// The ways by which the API server would reach other machines for it.
	kube, err := kubernetes.NewForConfig(v.config)
	Expect(err).NotTo(HaveOccurred())
	host := v.Site.World.Hosts()[0].URL
	_, err = kube.CoreV1().Services(v.own).ProxyGet("https", "any", "443", "/", nil).DoRaw(ctx)
	v.refused(err, "reaching a Service by the API server")
	_, err = kube.CoreV1().RESTClient().Get().AbsPath("/api/v1/nodes/any:10250/proxy/pods").DoRaw(ctx)
	v.refused(err, "reaching a node by the API server")
	_, err = kube.CoreV1().RESTClient().Get().AbsPath("/metrics").DoRaw(ctx)
	v.refused(err, "reading the metrics of the API server")
	v.refused(v.clastix.Create(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: v.own, Name: "atomos"},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: strings.TrimPrefix(host, "https://")},
	}), "making a Service that leads to a host")
	v.refused(v.clastix.Create(ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: v.own, Name: "mine"},
		Spec:       corev1.PodSpec{HostNetwork: true, Containers: []corev1.Container{{Name: "a", Image: "a"}}},
	}), "making a Pod beside the daemons")
	for _, account := range []string{"elemento-manager", "default"} {
		_, err = kube.CoreV1().ServiceAccounts(v.Site.World.Lease().Namespace).CreateToken(ctx, account, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
		v.refused(err, "asking for a token of our service account %s", account)
	}
	for _, as := range []struct{ user, group string }{{"system:serviceaccount:elemento-system:elemento-manager", ""}, {Clastix, "system:masters"}} {
		config := *v.config
		config.Impersonate.UserName = as.user
		if as.group != "" {
			config.Impersonate.Groups = []string{as.group}
		}
		other, err := client.New(&config, client.Options{Scheme: v.Site.Admin.Scheme()})
		if err == nil {
			err = other.List(ctx, &corev1.SecretList{}, client.InNamespace(v.own))
		}
		v.refused(err, "acting as %s %s", as.user, as.group)
	}
}

// smuggles tries to have the bootstrap provider copy an identity into a node.
func (v *view) smuggles(ctx context.Context) {
	GinkgoHelper()
	template := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": bootstrapGroup + "/v1beta2", "kind": "KubeadmConfigTemplate",
		"metadata": map[string]any{"namespace": v.own, "name": "smuggler"},
		"spec": map[string]any{"template": map[string]any{"spec": map[string]any{"files": []any{map[string]any{
			"path": "/a", "contentFrom": map[string]any{"secret": map[string]any{"name": "elemento-identity", "key": "tls.key"}},
		}}}}},
	}}
	v.refused(v.clastix.Create(ctx, template), "making a template with an identity in it")
}

// credentials looks at all that Clastix can read, and comes to the daemons with what it
// has.
func (v *view) credentials(ctx context.Context) {
	GinkgoHelper()
	var secrets []string
	for _, h := range v.Site.World.Hosts() {
		secrets = append(secrets, h.Fingerprint)
	}
	secrets = append(secrets, v.Site.World.Endpoints()...)
	identities := &corev1.SecretList{}
	Expect(v.Site.Admin.List(ctx, identities, client.InNamespace(v.Site.World.Lease().Namespace))).To(Succeed())
	for _, s := range identities.Items {
		if strings.HasSuffix(s.Name, "elemento-identity") {
			for line := range bytes.Lines(s.Data[corev1.TLSPrivateKeyKey]) {
				if text := string(bytes.TrimSpace(line)); len(text) > 40 {
					secrets = append(secrets, text)
				}
			}
		}
	}
	secrets = slices.DeleteFunc(secrets, func(s string) bool { return s == "" })
	if len(v.Site.World.Endpoints()) > 0 {
		Expect(len(secrets)).To(BeNumerically(">", len(v.Site.World.Endpoints())), "credentials to look for")
	}
	kinds, err := kubernetes.NewForConfig(v.config)
	Expect(err).NotTo(HaveOccurred())
	lists, err := kinds.Discovery().ServerPreferredNamespacedResources()
	Expect(err).NotTo(HaveOccurred())
	for _, list := range lists {
		group, err := schema.ParseGroupVersion(list.GroupVersion)
		Expect(err).NotTo(HaveOccurred())
		for _, kind := range list.APIResources {
			if !slices.Contains(kind.Verbs, "list") {
				continue
			}
			found := &unstructured.UnstructuredList{}
			found.SetGroupVersionKind(group.WithKind(kind.Kind + "List"))
			err := v.clastix.List(ctx, found, client.InNamespace(v.own))
			if apierrors.IsForbidden(err) {
				continue
			}
			Expect(err).NotTo(HaveOccurred(), "listing %s", kind.Name)
			for _, object := range found.Items {
				v.read++
				text, err := object.MarshalJSON()
				Expect(err).NotTo(HaveOccurred())
				for _, secret := range secrets {
					Expect(bytes.Contains(text, []byte(secret))).To(BeFalse(), "%s %s holds a credential, or the address of a daemon", object.GetKind(), object.GetName())
				}
			}
		}
	}
	Expect(v.read).NotTo(BeZero(), "objects that Clastix can read")
	for _, endpoint := range v.Site.World.Endpoints() {
		Expect(v.comesToDaemon(ctx, endpoint)).NotTo(Succeed(), "a daemon serves Clastix")
	}
}

// comesToDaemon asks a daemon with the only certificate that Clastix has.
func (v *view) comesToDaemon(ctx context.Context, endpoint string) error {
	GinkgoHelper()
	pair, err := tls.X509KeyPair(v.config.CertData, v.config.KeyData)
	Expect(err).NotTo(HaveOccurred())
	// It does not even look who it talks to.
	conn, err := grpc.NewClient(endpoint, grpc.WithTransportCredentials(grpccredentials.NewTLS(&tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair}, InsecureSkipVerify: true,
	})))
	Expect(err).NotTo(HaveOccurred())
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	_, err = healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{})
	return err
}
