package main

import (
	"context"
	"os"
	"path/filepath"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/utils/ptr"
	upstream "sigs.k8s.io/cluster-api/test/e2e"

	"elemento.cloud/cluster-api-provider-elemento/e2e/binaries"
	"elemento.cloud/cluster-api-provider-elemento/e2e/suite"
	"elemento.cloud/cluster-api-provider-elemento/e2e/world"
)

// testExtension is the package of upstream's extension, whose answers to Cluster API's
// hooks its specs decide; go.mod has it as a tool. Its manifests lie beside it.
const testExtension = "sigs.k8s.io/cluster-api/test/extension"

// What its manifests call it.
const (
	extensionNamespace = "test-extension-system"
	extensionService   = "test-extension-webhook-service"
)

// upgradeWithHooks upgrades a cluster whose every step waits for an extension. Versions
// of one minor do not show that no Machine is made for an old kubeadm meanwhile.
func upgradeWithHooks(s *suite.Site) {
	BeforeEach(func(ctx SpecContext) { installExtension(ctx, s) })
	upstream.ClusterUpgradeWithRuntimeSDKSpec(context.Background(), func() upstream.ClusterUpgradeWithRuntimeSDKSpecInput {
		return upstream.ClusterUpgradeWithRuntimeSDKSpecInput{
			E2EConfig:                         config(s),
			ClusterctlConfigPath:              s.Clusterctl,
			BootstrapClusterProxy:             s.Proxy,
			ArtifactFolder:                    s.Artifact("upgrade-with-hooks"),
			InfrastructureProvider:            &s.Provider,
			PostNamespaceCreated:              podNetwork(s),
			Flavor:                            ptr.To(topology),
			ExtensionServiceNamespace:         extensionNamespace,
			ExtensionServiceName:              extensionService,
			SkipMachineSetPreflightChecksTest: sameMinor(upgradeFrom, s.KubernetesVersion),
		}
	})
}

// installExtension puts the extension onto the management cluster, as a provider is.
func installExtension(ctx context.Context, s *suite.Site) {
	GinkgoHelper()
	program := filepath.Join(s.Dir, "tmp", "extension")
	Expect(os.MkdirAll(filepath.Dir(program), 0o755)).To(Succeed())
	Expect(binaries.Tool(ctx, testExtension, program)).To(Succeed())
	source, err := binaries.ToolSource(ctx, testExtension)
	Expect(err).NotTo(HaveOccurred())
	Expect(s.World.Install(ctx, world.Provider{
		Name: "test-extension", Kustomization: filepath.Join(source, "config", "default"),
		Program: program, Image: "elemento.cloud/test-extension:upstream",
	})).To(Succeed())
}
