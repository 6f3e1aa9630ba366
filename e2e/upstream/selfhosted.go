package main

import (
	"context"
	"os"
	"path/filepath"
	"regexp"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	clusterctlv1 "sigs.k8s.io/cluster-api/cmd/clusterctl/api/v1alpha3"
	upstream "sigs.k8s.io/cluster-api/test/e2e"
	"sigs.k8s.io/cluster-api/test/framework"
	"sigs.k8s.io/cluster-api/test/framework/clusterctl"
	"sigs.k8s.io/yaml"

	"elemento.cloud/cluster-api-provider-elemento/e2e/binaries"
	"elemento.cloud/cluster-api-provider-elemento/e2e/certmanager"
	"elemento.cloud/cluster-api-provider-elemento/e2e/image"
	"elemento.cloud/cluster-api-provider-elemento/e2e/suite"
	"elemento.cloud/cluster-api-provider-elemento/e2e/world"
)

// selfHosted makes a cluster that manages itself: clusterctl installs there what a user
// has, cert-manager too, from a repository and images that are made here. Its upgrade is
// left out, since nodes that come then would have to pull the images.
func selfHosted(s *suite.Site) {
	var repository string
	BeforeEach(func(ctx SpecContext) {
		repository = s.Artifact("self-hosted-repository")
		layOut(ctx, s, repository)
		takeStock(ctx, s)
	})
	upstream.SelfHostedSpec(context.Background(), func() upstream.SelfHostedSpecInput {
		c := config(s)
		c.Providers = []clusterctl.ProviderConfig{{
			Name: "elemento", Type: "InfrastructureProvider",
			Versions: []clusterctl.ProviderVersionSource{{Name: world.ReleaseVersion}},
		}}
		c.Intervals["default/wait-controllers"] = c.Intervals["default/wait-deployment-available"]
		return upstream.SelfHostedSpecInput{
			E2EConfig:              c,
			ClusterctlConfigPath:   filepath.Join(repository, "clusterctl.yaml"),
			BootstrapClusterProxy:  s.Proxy,
			ArtifactFolder:         s.Artifact("self-hosted"),
			InfrastructureProvider: &s.Provider,
			SkipUpgrade:            true,
			PostNamespaceCreated: func(proxy framework.ClusterProxy, namespace string) {
				if proxy.GetName() == s.Proxy.GetName() {
					podNetwork(s)(proxy, namespace)
					return
				}
				prepareToManage(context.Background(), s, proxy)
			},
		}
	})
}

// takeStock has the first cluster tell what is installed on it as clusterctl would, which
// has not installed it: what it is told is not there it moves nothing to.
func takeStock(ctx context.Context, s *suite.Site) {
	GinkgoHelper()
	s.Kubectl(ctx, "apply", "--server-side", "--filename="+filepath.Join(source(ctx), "cmd", "clusterctl", "config", "crd", "bases"))
	version, err := binaries.Version(ctx, binaries.ClusterAPICore)
	Expect(err).NotTo(HaveOccurred())
	installed := []unstructured.Unstructured{entry("infrastructure-elemento", "elemento", "InfrastructureProvider", world.ReleaseVersion, s.World.Manager(world.ElementoProvider).Namespace)}
	for _, m := range managers {
		installed = append(installed, entry(m.label, m.name, m.kind, version, s.World.Manager(m.program).Namespace))
	}
	// The API server serves a new kind a moment after it has stored it.
	Eventually(func() error { return suite.Apply(ctx, s.Admin, "clusterctl", installed) }, suite.Long, suite.Often).WithContext(ctx).Should(Succeed())
	DeferCleanup(func(ctx SpecContext) {
		for i := range installed {
			Expect(s.Admin.Delete(ctx, &installed[i])).To(Succeed())
		}
	})
}

// entry is a provider in clusterctl's inventory.
func entry(label, name, kind, version, namespace string) unstructured.Unstructured {
	o := unstructured.Unstructured{Object: map[string]any{"providerName": name, "type": kind, "version": version}}
	o.SetGroupVersionKind(clusterctlv1.GroupVersion.WithKind("Provider"))
	o.SetNamespace(namespace)
	o.SetName(label)
	o.SetLabels(map[string]string{clusterctlv1.ClusterctlLabel: "", clusterv1.ProviderNameLabel: label, clusterctlv1.ClusterctlCoreLabel: clusterctlv1.ClusterctlCoreLabelInventoryValue})
	return o
}

// source is the directory of Cluster API's module.
func source(ctx context.Context) string {
	GinkgoHelper()
	dir, err := binaries.Source(ctx, binaries.ClusterAPICore)
	Expect(err).NotTo(HaveOccurred())
	return dir
}

// managers are Cluster API's own, as a clusterctl repository has them.
var managers = []struct{ program, name, kind, label, file string }{
	{binaries.ClusterAPICore, "cluster-api", "CoreProvider", "cluster-api", "core-components.yaml"},
	{binaries.KubeadmBootstrap, "kubeadm", "BootstrapProvider", "bootstrap-kubeadm", "bootstrap-components.yaml"},
	{binaries.KubeadmControlPlane, "kubeadm", "ControlPlaneProvider", "control-plane-kubeadm", "control-plane-components.yaml"},
}

// imageOf is the name of the image of one of Cluster API's managers.
func imageOf(ctx context.Context, program string) string {
	GinkgoHelper()
	version, err := binaries.Version(ctx, program)
	Expect(err).NotTo(HaveOccurred())
	return "elemento.cloud/" + program + ":" + version
}

var (
	managerImage = regexp.MustCompile(`(?m)^( +)image: gcr\.io/.*$`)
	pullAlways   = regexp.MustCompile(`imagePullPolicy: Always`)
)

// layOut lays out a clusterctl repository with all that a management cluster has: the
// site's own release, Cluster API as it is on the site's plane, and cert-manager.
func layOut(ctx context.Context, s *suite.Site, repository string) {
	GinkgoHelper()
	content, err := os.ReadFile(s.Clusterctl)
	Expect(err).NotTo(HaveOccurred())
	var settings map[string]any
	Expect(yaml.Unmarshal(content, &settings)).To(Succeed())
	providers := settings["providers"].([]any)

	version, err := binaries.Version(ctx, binaries.ClusterAPICore)
	Expect(err).NotTo(HaveOccurred())
	metadata, err := os.ReadFile(filepath.Join(source(ctx), "metadata.yaml"))
	Expect(err).NotTo(HaveOccurred())
	for _, m := range managers {
		components, err := os.ReadFile(filepath.Join(s.Dir, "manifests", m.program+".yaml"))
		Expect(err).NotTo(HaveOccurred())
		components = managerImage.ReplaceAll(components, []byte("${1}image: "+imageOf(ctx, m.program)))
		components = pullAlways.ReplaceAll(components, []byte("imagePullPolicy: IfNotPresent"))
		dir := filepath.Join(repository, m.label, version)
		write(filepath.Join(dir, m.file), components)
		write(filepath.Join(dir, "metadata.yaml"), metadata)
		providers = append(providers, map[string]any{"name": m.name, "type": m.kind, "url": filepath.Join(dir, m.file)})
	}
	settings["providers"] = providers

	issuer, err := binaries.Version(ctx, binaries.CertManagerController)
	Expect(err).NotTo(HaveOccurred())
	manifest, err := certmanager.Manifest(ctx, GinkgoWriter)
	Expect(err).NotTo(HaveOccurred())
	file := filepath.Join(repository, "cert-manager", issuer, "cert-manager.yaml")
	write(file, manifest)
	settings["cert-manager"] = map[string]any{"url": file, "version": issuer}

	content, err = yaml.Marshal(settings)
	Expect(err).NotTo(HaveOccurred())
	write(filepath.Join(repository, "clusterctl.yaml"), content)
}

func write(path string, content []byte) {
	GinkgoHelper()
	Expect(os.MkdirAll(filepath.Dir(path), 0o755)).To(Succeed())
	Expect(os.WriteFile(path, content, 0o644)).To(Succeed())
}

// prepareToManage gives the nodes of a cluster the images that nobody lets them pull, and
// the cluster the identity that our manager has there.
func prepareToManage(ctx context.Context, s *suite.Site, cluster framework.ClusterProxy) {
	GinkgoHelper()
	images, err := certmanager.Images(ctx, GinkgoWriter)
	Expect(err).NotTo(HaveOccurred())
	for _, m := range managers {
		path, err := binaries.Path(ctx, m.program, GinkgoWriter)
		Expect(err).NotTo(HaveOccurred())
		images = append(images, image.Program(imageOf(ctx, m.program), path))
	}
	name, err := world.ManagerImage(ctx)
	Expect(err).NotTo(HaveOccurred())
	program := filepath.Join(s.Dir, "tmp", "manager")
	Expect(binaries.Own(ctx, "provider/cmd/manager", program, binaries.Way{Packed: true})).To(Succeed())
	images = append(images, image.Program(name, program))
	Expect(s.World.LoadImages(ctx, images...)).To(Succeed())

	identity := s.World.IdentitySecret("elemento-system", "elemento-identity")
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: identity.Namespace}}
	if err := cluster.GetClient().Create(ctx, namespace); !apierrors.IsAlreadyExists(err) {
		Expect(err).NotTo(HaveOccurred())
	}
	Expect(cluster.GetClient().Create(ctx, identity)).To(Succeed())
}
