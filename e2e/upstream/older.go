package main

import (
	"context"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	upstream "sigs.k8s.io/cluster-api/test/e2e"

	"elemento.cloud/cluster-api-provider-elemento/e2e/suite"
	"elemento.cloud/cluster-api-provider-elemento/e2e/world"
)

// quickStartOnOlder makes a cluster where Cluster API is of the minor version before
// ours: on an embedded plane of its own, for the same client on the same hosts.
func quickStartOnOlder(s *suite.Site) {
	var older *suite.Site
	BeforeEach(func(ctx SpecContext) {
		twin, err := s.World.Twin(ctx, world.Options{
			ClusterAPI: world.OlderClusterAPI, Dir: s.Artifact("older-cluster-api"), Progress: GinkgoWriter,
			QuickReconciles: !s.Comparable(),
		})
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(func(ctx SpecContext) {
			Expect(twin.Err()).NotTo(HaveOccurred())
			Expect(twin.Down(ctx)).To(Succeed())
		})
		older, err = s.Of(twin)
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(older.Proxy.Dispose)
	})
	upstream.QuickStartSpec(context.Background(), func() upstream.QuickStartSpecInput { return quickStartInput(older, "") })
}
