package main

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	upstream "sigs.k8s.io/cluster-api/test/e2e"
	"sigs.k8s.io/cluster-api/test/framework/clusterctl"

	"elemento.cloud/cluster-api-provider-elemento/e2e/conformance/images"
	"elemento.cloud/cluster-api-provider-elemento/e2e/docker"
	"elemento.cloud/cluster-api-provider-elemento/e2e/image"
	"elemento.cloud/cluster-api-provider-elemento/e2e/suite"
)

const (
	// kubetestNetwork is the Docker network from which kubetest calls the cluster, and
	// kubetestImage what it runs, with a version.
	kubetestNetwork = "kind"
	kubetestImage   = "registry.k8s.io/conformance:"
)

// kubetest says which of Kubernetes' tests the spec runs: those of ConfigMaps as files,
// which take Pods with volumes. All of conformance is C1's.
const kubetest = `
ginkgo.focus: '\[sig-storage\] ConfigMap should be consumable.*\[Conformance\]'
disable-log-dump: true
ginkgo.v: true
system-pods-startup-timeout: 15m
`

// conformance has kubetest run tests against a cluster of six nodes, which have the
// images of tests beforehand: no registry is asked.
func conformance(s *suite.Site) {
	var made []image.Image
	BeforeEach(func(ctx SpecContext) {
		var err error
		made, err = images.All(ctx, GinkgoWriter)
		Expect(err).NotTo(HaveOccurred())
		prepareKubetest(ctx, s, made)
	})
	upstream.K8SConformanceSpec(context.Background(), func() upstream.K8SConformanceSpecInput {
		configured := config(s)
		file := s.Artifact("kubetest.yaml")
		Expect(os.MkdirAll(filepath.Dir(file), 0o755)).To(Succeed())
		Expect(os.WriteFile(file, []byte(kubetest), 0o644)).To(Succeed())
		configured.Variables["KUBETEST_CONFIGURATION"] = file
		return upstream.K8SConformanceSpecInput{
			E2EConfig:              configured,
			ClusterctlConfigPath:   s.Clusterctl,
			BootstrapClusterProxy:  s.Proxy,
			ArtifactFolder:         s.Artifact("k8s-conformance"),
			InfrastructureProvider: &s.Provider,
			PostNamespaceCreated:   podNetwork(s),
			ControlPlaneWaiters: clusterctl.ControlPlaneWaiters{WaitForControlPlaneMachinesReady: func(ctx context.Context, input clusterctl.ApplyCustomClusterTemplateAndWaitInput, result *clusterctl.ApplyCustomClusterTemplateAndWaitResult) {
				allReady(ctx, s, input, result)
				Expect(s.World.LoadImages(ctx, made...)).To(Succeed())
			}},
		}
	})
}

// prepareKubetest gives kubetest, for the time of a spec, its image and the network that
// it is on, and removes the container that it leaves.
func prepareKubetest(ctx context.Context, s *suite.Site, made []image.Image) {
	GinkgoHelper()
	run := func(ctx context.Context, args ...string) string {
		GinkgoHelper()
		said, err := docker.Run(ctx, nil, args...)
		Expect(err).NotTo(HaveOccurred())
		return said
	}
	name := kubetestImage + s.KubernetesVersion
	which := slices.IndexFunc(made, func(i image.Image) bool { return i.Name == name })
	Expect(which).NotTo(Equal(-1), "there is no %s", name)
	there, err := docker.HasImage(ctx, name)
	Expect(err).NotTo(HaveOccurred())
	if !there {
		Expect(docker.Feed(ctx, made[which].Write, "load")).To(Succeed())
		DeferCleanup(func(ctx SpecContext) { run(ctx, "image", "rm", name) })
	}
	if run(ctx, "network", "ls", "--quiet", "--filter=name=^"+kubetestNetwork+"$") == "" {
		run(ctx, "network", "create", kubetestNetwork)
		DeferCleanup(func(ctx SpecContext) { run(ctx, "network", "rm", kubetestNetwork) })
	}
	of := []string{"ps", "--all", "--quiet", "--filter=ancestor=" + name}
	before := strings.Fields(run(ctx, of...))
	DeferCleanup(func(ctx SpecContext) {
		for _, id := range strings.Fields(run(ctx, of...)) {
			if !slices.Contains(before, id) {
				run(ctx, "rm", "--force", "--volumes", id)
			}
		}
	})
}
