package main

import (
	"context"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/utils/ptr"
	upstream "sigs.k8s.io/cluster-api/test/e2e"
	"sigs.k8s.io/cluster-api/test/framework"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemento.cloud/cluster-api-provider-elemento/e2e/suite"
)

func controlPlaneRemediation(s *suite.Site) {
	upstream.KCPRemediationSpec(context.Background(), func() upstream.KCPRemediationSpecInput {
		return upstream.KCPRemediationSpecInput{
			E2EConfig:              config(s),
			ClusterctlConfigPath:   s.Clusterctl,
			BootstrapClusterProxy:  s.Proxy,
			ArtifactFolder:         s.Artifact("kcp-remediation"),
			InfrastructureProvider: &s.Provider,
			Flavor:                 ptr.To("kcp-remediation-signal"),
			PostNamespaceCreated: func(proxy framework.ClusterProxy, namespace string) {
				podNetwork(s)(proxy, namespace)
				tellEndpoint(s)
			},
		}
	})
}

// tellEndpoint has the management cluster say where guests reach it, as one made by
// kubeadm does; it says so for the time of a spec where nobody said it before.
func tellEndpoint(s *suite.Site) {
	GinkgoHelper()
	kubeconfig, err := clientcmd.Write(clientcmdapi.Config{Clusters: map[string]*clientcmdapi.Cluster{
		"": {Server: s.World.Config().Host, CertificateAuthorityData: s.World.Config().CAData},
	}})
	Expect(err).NotTo(HaveOccurred())
	info := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespacePublic, Name: "cluster-info"},
		Data:       map[string]string{"kubeconfig": string(kubeconfig)},
	}
	err = s.Admin.Create(context.Background(), info)
	if apierrors.IsAlreadyExists(err) {
		return
	}
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func(ctx SpecContext) { Expect(client.IgnoreNotFound(s.Admin.Delete(ctx, info))).To(Succeed()) })
}

func machineDeploymentRemediation(s *suite.Site) {
	upstream.MachineDeploymentRemediationSpec(context.Background(), func() upstream.MachineDeploymentRemediationSpecInput {
		return upstream.MachineDeploymentRemediationSpecInput{
			E2EConfig:              config(s),
			ClusterctlConfigPath:   s.Clusterctl,
			BootstrapClusterProxy:  s.Proxy,
			ArtifactFolder:         s.Artifact("md-remediation"),
			InfrastructureProvider: &s.Provider,
			PostNamespaceCreated:   podNetwork(s),
		}
	})
}
