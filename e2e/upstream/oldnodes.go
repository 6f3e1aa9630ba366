package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	runtimecatalog "sigs.k8s.io/cluster-api/api/runtime/catalog"
	runtimehooksv1 "sigs.k8s.io/cluster-api/api/runtime/hooks/v1alpha1"
	runtimev1 "sigs.k8s.io/cluster-api/api/runtime/v1beta2"
	"sigs.k8s.io/cluster-api/exp/runtime/server"
	"sigs.k8s.io/cluster-api/exp/runtime/topologymutation"
	upstream "sigs.k8s.io/cluster-api/test/e2e"
	"sigs.k8s.io/cluster-api/test/framework"
	"sigs.k8s.io/cluster-api/util/annotations"

	"elemento.cloud/cluster-api-provider-elemento/e2e/pki"
	"elemento.cloud/cluster-api-provider-elemento/e2e/suite"
)

// oldNodes is what the class of joinOldNodes calls its extension.
const oldNodes = "old-nodes"

// joinOldNodes has a worker of an old version join a control plane of a new one, which it
// does. The spec then looks by Docker for what ran in the worker, in a container that is
// called like the Machine: that of the guest is called like its VM, and is not found.
func joinOldNodes(s *suite.Site) {
	upstream.KubeadmJoinOldNodesSpec(context.Background(), func() upstream.KubeadmJoinOldNodesSpecInput {
		return upstream.KubeadmJoinOldNodesSpecInput{
			E2EConfig:              config(s),
			ClusterctlConfigPath:   s.Clusterctl,
			BootstrapClusterProxy:  s.Proxy,
			ArtifactFolder:         s.Artifact("join-old-nodes"),
			InfrastructureProvider: &s.Provider,
			Flavor:                 "topology-old-nodes",
			PostNamespaceCreated: func(proxy framework.ClusterProxy, namespace string) {
				podNetwork(s)(proxy, namespace)
				annotateTemplates(s, namespace)
			},
		}
	})
}

// annotateTemplates has an extension, which is this process for the time of a spec, give
// the KubeadmConfigTemplates of a namespace the annotations that a variable names.
// Upstream's own test extension refuses templates of providers that it does not know.
func annotateTemplates(s *suite.Site, namespace string) {
	GinkgoHelper()
	catalog := runtimecatalog.New()
	Expect(runtimehooksv1.AddToCatalog(catalog)).To(Succeed())
	block := s.World.Addresses()
	host := block.Address(1)
	port, err := block.FreePort(host)
	Expect(err).NotTo(HaveOccurred())
	authority, err := pki.NewAuthority(oldNodes)
	Expect(err).NotTo(HaveOccurred())
	pair, err := authority.Server(host)
	Expect(err).NotTo(HaveOccurred())
	dir := filepath.Join(s.Dir, "tmp", oldNodes)
	Expect(os.MkdirAll(dir, 0o700)).To(Succeed())
	for name, content := range map[string][]byte{"tls.crt": pair.Cert, "tls.key": pair.Key} {
		Expect(os.WriteFile(filepath.Join(dir, name), content, 0o600)).To(Succeed())
	}
	extension, err := server.New(server.Options{Catalog: catalog, Host: host, Port: port, CertDir: dir})
	Expect(err).NotTo(HaveOccurred())
	Expect(extension.AddExtensionHandler(server.ExtensionHandler{
		Hook: runtimehooksv1.DiscoverVariables, Name: "variables", HandlerFunc: variables,
	})).To(Succeed())
	Expect(extension.AddExtensionHandler(server.ExtensionHandler{
		Hook: runtimehooksv1.GeneratePatches, Name: "annotate", HandlerFunc: annotate,
	})).To(Succeed())

	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- extension.Start(ctx) }()
	DeferCleanup(func() {
		cancel()
		Expect(<-ended).To(Succeed())
	})
	config := &runtimev1.ExtensionConfig{
		ObjectMeta: metav1.ObjectMeta{Name: oldNodes},
		Spec: runtimev1.ExtensionConfigSpec{
			ClientConfig: runtimev1.ClientConfig{
				URL: "https://" + net.JoinHostPort(host, strconv.Itoa(port)), CABundle: authority.PEM,
			},
			NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: namespace}},
		},
	}
	Expect(s.Admin.Create(ctx, config)).To(Succeed())
	DeferCleanup(func(ctx SpecContext) { Expect(s.Admin.Delete(ctx, config)).To(Succeed()) })
}

// wantedAnnotations is the variable that names the annotations.
const wantedAnnotations = "kubeadmConfigTemplateAnnotations"

// variables defines that variable: Cluster API tells a patch only of those that are
// defined where it comes from.
func variables(_ context.Context, _ *runtimehooksv1.DiscoverVariablesRequest, response *runtimehooksv1.DiscoverVariablesResponse) {
	response.SetStatus(runtimehooksv1.ResponseStatusSuccess)
	response.Variables = []clusterv1.ClusterClassVariable{{
		Name: wantedAnnotations, Required: ptr.To(false),
		Schema: clusterv1.VariableSchema{OpenAPIV3Schema: clusterv1.JSONSchemaProps{
			Type: "object", Description: "Annotations of the workers' KubeadmConfigTemplate.",
			AdditionalProperties: &clusterv1.JSONSchemaProps{Type: "string"},
		}},
	}}
}

// annotate adds the annotations to the templates of workers' configurations.
func annotate(ctx context.Context, request *runtimehooksv1.GeneratePatchesRequest, response *runtimehooksv1.GeneratePatchesResponse) {
	response.SetStatus(runtimehooksv1.ResponseStatusSuccess)
	topologymutation.WalkTemplates(ctx, unstructured.UnstructuredJSONScheme, request, response,
		func(_ context.Context, object runtime.Object, variables map[string]apiextensionsv1.JSON, _ runtimehooksv1.HolderReference) error {
			template, is := object.(*unstructured.Unstructured)
			if !is || template.GetKind() != "KubeadmConfigTemplate" {
				return nil
			}
			var wanted map[string]string
			err := topologymutation.GetObjectVariableInto(variables, wantedAnnotations, &wanted)
			if err != nil && !topologymutation.IsNotFoundError(err) {
				return fmt.Errorf("reading what annotations are wanted: %w", err)
			}
			annotations.AddAnnotations(template, wanted)
			return nil
		})
}
