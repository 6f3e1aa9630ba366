package suite

import (
	"context"
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	utilyaml "sigs.k8s.io/cluster-api/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemento.cloud/cluster-api-provider-elemento/e2e/docker"
	"elemento.cloud/cluster-api-provider-elemento/e2e/node"
	"elemento.cloud/cluster-api-provider-elemento/e2e/world"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos/guest/container"
)

// RealNodes has a suite be about VMs that are real nodes where nothing else was said:
// containers that boot, beside a management cluster of kind. Where they are containers it
// sees that there is an image of each of these versions of Kubernetes for them.
func RealNodes(o *Options, versions ...string) error {
	if o.World.Plane == "" && o.World.Kubeconfig == "" {
		o.World.Plane = world.PlaneKind
	}
	a := &o.World.Elemento.AtomOS
	if a.Guests == "" && len(a.Existing) == 0 {
		a.Guests = world.GuestsContainer
	}
	if a.Guests != world.GuestsContainer {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, version := range versions {
		image := container.NodeImage(version)
		there, err := docker.HasImage(ctx, image)
		if err == nil && !there {
			err = fmt.Errorf("the VMs are to boot %s, which is not there: `make docker node-image` starts a Docker Engine and makes it", image)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Answering waits until the API of the cluster answers who has the kubeconfig that who asks
// can fetch, and returns how it is reached.
func (c *Cluster) Answering(ctx context.Context, as client.Client) (*rest.Config, client.Client) {
	GinkgoHelper()
	config := c.Workload(ctx, as)
	var workload client.Client
	Eventually(func() (err error) {
		if workload, err = client.New(config, client.Options{}); err != nil {
			return err
		}
		return workload.List(ctx, &corev1.NodeList{})
	}, c.patience(), Often).WithContext(ctx).Should(Succeed(), "the API of the cluster")
	return config, workload
}

// ApplyPodNetwork gives a cluster of real nodes that are containers its pod network.
func ApplyPodNetwork(ctx context.Context, workload client.Client) {
	GinkgoHelper()
	objects, err := utilyaml.ToUnstructured([]byte(node.Network))
	Expect(err).NotTo(HaveOccurred())
	Expect(Apply(ctx, workload, Clastix, objects)).To(Succeed())
}

// AwaitDNS waits until the names of a cluster are resolved by all that should.
func (c *Cluster) AwaitDNS(ctx context.Context, workload client.Client) {
	GinkgoHelper()
	Eventually(func(g Gomega) {
		dns := &appsv1.Deployment{}
		g.Expect(workload.Get(ctx, client.ObjectKey{Namespace: "kube-system", Name: "coredns"}, dns)).To(Succeed())
		g.Expect(dns.Status.AvailableReplicas).To(And(BeNumerically(">", 0), Equal(*dns.Spec.Replicas)), "CoreDNS")
	}, c.patience(), Often).WithContext(ctx).Should(Succeed())
}
