package main

import (
	"context"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	addonsv1 "sigs.k8s.io/cluster-api/api/addons/v1beta2"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/cluster-api/test/framework"

	"elemento.cloud/cluster-api-provider-elemento/e2e/node"
	"elemento.cloud/cluster-api-provider-elemento/e2e/suite"
	"elemento.cloud/cluster-api-provider-elemento/e2e/world"
)

// podNetwork is what upstream's specs do with the namespace of a spec: where nodes are
// real, each cluster that is made in it gets a pod network, without which no node
// becomes Ready. A ClusterResourceSet gives it, as upstream's own templates have it.
func podNetwork(s *suite.Site) func(framework.ClusterProxy, string) {
	return func(_ framework.ClusterProxy, namespace string) {
		GinkgoHelper()
		if s.Guests() != world.GuestsContainer {
			return
		}
		const name = "pod-network"
		meta := metav1.ObjectMeta{Namespace: namespace, Name: name}
		Expect(s.Admin.Create(context.Background(), &corev1.ConfigMap{
			ObjectMeta: meta, Data: map[string]string{"network.yaml": node.Network},
		})).To(Succeed())
		Expect(s.Admin.Create(context.Background(), &addonsv1.ClusterResourceSet{
			ObjectMeta: meta,
			Spec: addonsv1.ClusterResourceSetSpec{
				// An empty selector would be one of no cluster, and this is one of all.
				ClusterSelector: metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{
					Key: clusterv1.WatchLabel, Operator: metav1.LabelSelectorOpDoesNotExist,
				}}},
				Resources: []addonsv1.ResourceRef{{Kind: string(addonsv1.ConfigMapClusterResourceSetResourceKind), Name: name}},
				Strategy:  string(addonsv1.ClusterResourceSetStrategyApplyOnce),
			},
		})).To(Succeed())
	}
}
