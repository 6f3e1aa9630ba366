package main

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"elemento.cloud/cluster-api-provider-elemento/e2e/binaries"
	"elemento.cloud/cluster-api-provider-elemento/e2e/world"
	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
	"elemento.cloud/cluster-api-provider-elemento/reports"
)

// side is one of the two that are compared.
type side struct {
	name string
	// machines are its infrastructure machines.
	machines schema.GroupVersionResource
	// manifest makes a manifest its own, in place, that is written for us.
	manifest func([]unstructured.Unstructured) error
}

const (
	ours  = "ours"
	peers = "the peer's"
)

// peerGroup is where the peer's kinds are.
var peerGroup = schema.GroupVersion{Group: infrav1.GroupVersion.Group, Version: "v1beta2"}

// sides are both, in the order of their turns.
var sides = []side{
	{name: ours, machines: infrav1.GroupVersion.WithResource("elementomachines"), manifest: func([]unstructured.Unstructured) error { return nil }},
	{name: peers, machines: peerGroup.WithResource("devmachines"), manifest: forPeer},
}

// install starts the peer's manager beside ours, with its kinds, permissions and
// webhooks.
func (c *comparison) install(ctx context.Context) {
	program, err := binaries.Path(ctx, binaries.ClusterAPIDev, c.site.Progress())
	Expect(err).NotTo(HaveOccurred())
	version, err := binaries.Version(ctx, binaries.ClusterAPIDev)
	Expect(err).NotTo(HaveOccurred())
	source, err := binaries.Package(ctx, binaries.ClusterAPIDev)
	Expect(err).NotTo(HaveOccurred())
	address := c.site.World.Addresses().Address(1)
	port, err := c.site.World.Addresses().FreePort(address)
	Expect(err).NotTo(HaveOccurred())
	c.engine, err = startEngine(ctx, address, port)
	Expect(err).NotTo(HaveOccurred())
	Expect(c.site.World.Install(ctx, world.Provider{
		Name:          binaries.ClusterAPIDev,
		Kustomization: filepath.Join(source, "config", "default"),
		Program:       program,
		// As many requests a second as ours, which is twice what it has by default.
		Args: []string{"--kube-api-qps=200", "--kube-api-burst=400"},
		Variables: map[string]string{
			"EXP_MACHINE_POOL":             "true",
			"CLUSTER_TOPOLOGY":             "true",
			"EXP_RECONCILER_RATE_LIMITING": strconv.FormatBool(!c.quick),
			"CAPD_DOCKER_HOST":             "tcp://" + net.JoinHostPort(address, strconv.Itoa(port)),
		},
	})).To(Succeed())
	c.site.Report.Setting(
		reports.Setting{Name: "Peer", Value: "sigs.k8s.io/cluster-api/test/infrastructure/docker " + version + ", machines in memory"},
		reports.Setting{Name: "Startup of the peer's VMs, Nodes, API servers and etcds", Value: noTime},
	)
}

// noTime is how long each part of the peer's machines takes to start.
const noTime = "0s"

// forPeer makes our manifest one for the peer: the same objects with the same replicas,
// versions and checks, whose infrastructure is the peer's.
func forPeer(objects []unstructured.Unstructured) error {
	starts := map[string]any{"provisioning": map[string]any{"startupDuration": noTime}}
	machine := map[string]any{"backend": map[string]any{"inMemory": map[string]any{
		"vm": starts, "node": starts, "apiServer": starts, "etcd": starts,
	}}}
	for i := range objects {
		o := &objects[i]
		rename(o.Object)
		if o.GroupVersionKind().Group != peerGroup.Group {
			continue
		}
		o.SetAPIVersion(peerGroup.String())
		switch o.GetKind() {
		case "DevCluster":
			// It writes into the annotations without a look whether there are any.
			o.SetAnnotations(map[string]string{"elemento.cloud/made-by": owner})
			o.Object["spec"] = map[string]any{"backend": map[string]any{"inMemory": map[string]any{}}}
		case "DevMachineTemplate":
			o.Object["spec"] = map[string]any{"template": map[string]any{"spec": machine}}
		default:
			return fmt.Errorf("the peer has nothing like the %s %s", o.GetKind(), o.GetName())
		}
	}
	return nil
}

// rename has every kind of ours in an object be the peer's.
func rename(value any) {
	switch value := value.(type) {
	case map[string]any:
		if kind, is := value["kind"].(string); is {
			if what, is := strings.CutPrefix(kind, "Elemento"); is {
				value["kind"] = "Dev" + what
			}
		}
		for _, v := range value {
			rename(v)
		}
	case []any:
		for _, v := range value {
			rename(v)
		}
	}
}
