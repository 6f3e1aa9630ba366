package suite

import (
	"context"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Clastix is the one who orders clusters: the name and the group in its client
// certificate, and the owner of the fields that it applies.
const Clastix = "clastix"

// Clastix acts as the one who orders clusters: with a client certificate, the
// permissions of the shipped role in the namespaces of [Site.Namespace], and nothing
// else.
func (s *Site) Clastix(ctx context.Context) client.Client {
	GinkgoHelper()
	_, c := s.member(ctx, Clastix)
	return c
}

// member acts as a user of Clastix's group.
func (s *Site) member(ctx context.Context, user string) (*rest.Config, client.Client) {
	GinkgoHelper()
	kubeconfig, err := s.World.UserKubeconfig(ctx, user, Clastix)
	succeeded(err)
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	Expect(err).NotTo(HaveOccurred(), "Clastix's kubeconfig")
	config.QPS = -1
	c, err := client.New(config, client.Options{Scheme: s.Admin.Scheme()})
	Expect(err).NotTo(HaveOccurred(), "connecting as Clastix")
	return config, c
}

// Workload is how the API of the cluster itself is reached, by the kubeconfig that who
// asks can fetch.
func (c *Cluster) Workload(ctx context.Context, as client.Client) *rest.Config {
	GinkgoHelper()
	secret := &corev1.Secret{}
	Eventually(func() error {
		return as.Get(ctx, client.ObjectKey{Namespace: c.Key.Namespace, Name: c.Key.Name + "-kubeconfig"}, secret)
	}, "1m", Often).WithContext(ctx).Should(Succeed(), "the kubeconfig of the cluster")
	config, err := clientcmd.RESTConfigFromKubeConfig(secret.Data["value"])
	Expect(err).NotTo(HaveOccurred())
	return config
}

// WorkloadClient is a client of that API.
func (c *Cluster) WorkloadClient(ctx context.Context, as client.Client) client.Client {
	GinkgoHelper()
	workload, err := client.New(c.Workload(ctx, as), client.Options{})
	Expect(err).NotTo(HaveOccurred(), "reaching the API of the cluster")
	return workload
}
