package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemento.cloud/cluster-api-provider-elemento/e2e/conformance/images"
	"elemento.cloud/cluster-api-provider-elemento/e2e/docker"
	"elemento.cloud/cluster-api-provider-elemento/e2e/image"
	"elemento.cloud/cluster-api-provider-elemento/e2e/suite"
	"elemento.cloud/cluster-api-provider-elemento/e2e/world"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos/guest/container"
	"elemento.cloud/cluster-api-provider-elemento/reports"
)

// The cluster that is tested: the tests of conformance want two nodes for pods.
const (
	controlPlanes = 1
	workers       = 2
)

// create makes the cluster as Clastix would, and waits until it can be tested.
func (s *scenario) create(ctx context.Context, c1 *reports.Examination) {
	GinkgoHelper()
	clastix := s.site.Clastix(ctx)
	c1.Step(fmt.Sprintf("a cluster of %d control plane and %d workers, from the shipped template", controlPlanes, workers), func() {
		s.cluster = s.site.NewCluster(ctx, "conformance", controlPlanes)
		s.cluster.Patience = "30m"
		Expect(suite.Apply(ctx, clastix, suite.Clastix, s.cluster.Generate(ctx, workers))).To(Succeed())
		s.connect(ctx, clastix)
		if s.site.World.DockerNetwork() != "" {
			suite.ApplyPodNetwork(ctx, s.workload)
		}
		s.cluster.Await(ctx, workers)
	})
	c1.Step("its nodes are Ready, and CoreDNS available", func() {
		s.cluster.AwaitNodes(ctx, s.workload, controlPlanes+workers)
		s.cluster.AwaitDNS(ctx, s.workload)
	})
	if s.site.World.DockerNetwork() == "" {
		c1.Step("the images of the tests are upstream's, from their registries", func() {})
		return
	}
	nodes := s.nodes(ctx)
	if silent := silentTo(ctx, nodes[0], registries...); silent != "" {
		c1.Step("the images of the tests are made of Go modules and Debian packages, since no node has an answer of "+silent+", and served to the nodes",
			func() { s.serveImages(ctx, nodes) })
		return
	}
	c1.Step("the images of the tests are upstream's, from their registries, which answer the nodes", func() {})
}

// nodes are the containers that are the cluster's.
func (s *scenario) nodes(ctx context.Context) []string {
	GinkgoHelper()
	listed, err := docker.Run(ctx, nil, "ps", "--quiet", "--no-trunc", "--filter=label="+container.InstanceLabel+"="+s.site.World.DockerNetwork())
	Expect(err).NotTo(HaveOccurred())
	nodes := strings.Fields(listed)
	Expect(nodes).To(HaveLen(controlPlanes + workers))
	return nodes
}

// made is what the cluster is made with.
func (s *scenario) made(ctx context.Context) made {
	GinkgoHelper()
	m := made{Commit: reports.ThisMachine(ctx).Commit}
	if s.site.Guests() == world.GuestsContainer {
		var err error
		m.NodeImage, err = docker.Run(ctx, nil, "image", "inspect", "--format={{.Id}}", container.NodeImage(s.site.KubernetesVersion))
		Expect(err).NotTo(HaveOccurred())
	}
	return m
}

// connect waits until the API of the cluster answers who has the kubeconfig that Clastix
// can fetch, and keeps that for sonobuoy.
func (s *scenario) connect(ctx context.Context, clastix client.Client) {
	GinkgoHelper()
	_, s.workload = s.cluster.Answering(ctx, clastix)
	secret := &corev1.Secret{}
	Expect(clastix.Get(ctx, client.ObjectKey{Namespace: s.cluster.Key.Namespace, Name: s.cluster.Key.Name + "-kubeconfig"}, secret)).To(Succeed())
	// The directory is removed with all that is temporary.
	s.kubeconfig = filepath.Join(s.site.Dir, "tmp", "workload.kubeconfig")
	Expect(os.WriteFile(s.kubeconfig, secret.Data["value"], 0o600)).To(Succeed())
}

// registries are where the tests' own images are, the ones of upstream: those of
// registry.k8s.io and of docker.io.
var registries = []string{"https://registry.k8s.io/v2/", "https://registry-1.docker.io/v2/"}

// silentTo is the first of some registries that does not answer a node, by its container;
// empty where all do. It is the node that fetches images, and by no proxy.
func silentTo(ctx context.Context, node string, registries ...string) string {
	for _, url := range registries {
		status, err := docker.Run(ctx, nil, "exec", node, "curl", "--silent", "--location", "--noproxy", "*", "--max-time", "10",
			"--output", "/dev/null", "--write-out", "%{http_code}", url)
		// One that wants to know who asks is one.
		if err != nil || status != strconv.Itoa(http.StatusOK) && status != strconv.Itoa(http.StatusUnauthorized) {
			return url
		}
	}
	return ""
}

// serveImages has a registry with our images, which listens on the nodes' own network,
// stand in for those that the nodes would ask. It ends with the suite.
func (s *scenario) serveImages(ctx context.Context, nodes []string) {
	GinkgoHelper()
	network := s.site.World.DockerNetwork()
	all, err := images.All(ctx, GinkgoWriter)
	Expect(err).NotTo(HaveOccurred())
	registry, err := image.Registry(all...)
	Expect(err).NotTo(HaveOccurred())
	gateway, err := docker.Run(ctx, nil, "network", "inspect", "--format={{(index .IPAM.Config 0).Gateway}}", network)
	Expect(err).NotTo(HaveOccurred())
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(gateway, "0"))
	Expect(err).NotTo(HaveOccurred())
	server := &http.Server{Handler: registry, ReadHeaderTimeout: time.Minute}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	s.endRegistry = func() error {
		err := server.Close()
		if failure := <-ended; !errors.Is(failure, http.ErrServerClosed) {
			err = errors.Join(err, failure)
		}
		return err
	}

	for _, id := range nodes {
		for _, replaced := range []string{"registry.k8s.io", "docker.io"} {
			_, err := docker.Run(ctx, strings.NewReader(mirror(listener.Addr())), "exec", "--interactive", id, "sh", "-euc",
				"mkdir -p /etc/containerd/certs.d/"+replaced+"; cat >/etc/containerd/certs.d/"+replaced+"/hosts.toml")
			Expect(err).NotTo(HaveOccurred())
		}
	}
}

// mirror has containerd ask the registry at an address, and no other. It reads that at
// each pull.
func mirror(at net.Addr) string {
	return fmt.Sprintf("server = \"http://%[1]s\"\n[host.\"http://%[1]s\"]\n  capabilities = [\"pull\", \"resolve\"]\n", at)
}

// prepare has the suite be about real nodes where nothing else was said, and sees that
// there is something to boot.
func (s *scenario) prepare(o *suite.Options) error {
	o.Lasts = 48 * time.Hour
	if o.World.Elemento.AtomOS.Guests == world.GuestsSimulated {
		return errors.New("conformance tests run pods, which simulated guests do not: leave out --guests (E2E_GUEST)")
	}
	if err := s.plan(context.Background()); err != nil {
		return err
	}
	return suite.RealNodes(o, o.KubernetesVersion)
}
