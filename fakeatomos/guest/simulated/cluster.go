package simulated

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"elemento.cloud/cluster-api-provider-elemento/fakeatomos/guest"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos/guest/simulated/kubeapi"
)

// cluster is one Kubernetes cluster: what its etcd holds, and the machines
// that are its nodes. The API of each control plane is open while its machine
// runs a member of etcd and the members that run are a majority.
type cluster struct {
	// id is the UID of the namespace kube-system, which names a cluster.
	id          string
	log         *slog.Logger
	grace       time.Duration
	store       *kubeapi.Store
	authorities authorities

	mu    sync.Mutex
	nodes map[string]*node
	// members are etcd's, in the order in which they joined.
	members []*member
	etcdID  uint64
	leader  uint64
	// quorum tells whether a majority of the members runs.
	quorum bool
	closed bool
}

// member is a voter of etcd. Its machine may be off or gone: a member stays
// until somebody removes it.
type member struct {
	id   uint64
	node *node
}

// node is what joining a cluster left on a machine's disk, and whether the
// machine runs.
type node struct {
	cluster    *cluster
	name       string
	providerID string
	labels     map[string]string
	taints     []corev1.Taint
	// control is nil for a worker.
	control *controlPlane

	// The cluster's mutex guards the rest.
	vm      guest.VM
	running bool
	// removed tells that the disk is gone. The node is known on until its
	// object is deleted.
	removed bool
	booted  time.Time
	// registered tells that the node has reported at least once.
	registered bool
	// silence ends the grace of a node whose machine is off.
	silence *time.Timer
}

// errNoQuorum refuses what needs a majority of etcd.
var errNoQuorum = errors.New("the cluster's etcd has no majority")

// newCluster does what kubeadm init does on the first control plane.
func newCluster(ctx context.Context, log *slog.Logger, grace time.Duration, p *plan, n *node) (*cluster, error) {
	config, err := read[clusterConfiguration](p.cluster)
	if err != nil {
		return nil, err
	}
	if config.Etcd.External != nil {
		return nil, &SeedError{"an external etcd is not simulated"}
	}
	if config.KubernetesVersion == "" {
		config.KubernetesVersion = n.vm.KubernetesVersion
		p.cluster["kubernetesVersion"] = config.KubernetesVersion
	}
	signers, err := readAuthorities(p.seed.Files, config.pki())
	if err != nil {
		return nil, err
	}
	c := &cluster{
		log: log, grace: grace, store: kubeapi.NewStore(), authorities: signers,
		nodes: map[string]*node{}, etcdID: randomID(),
	}
	system := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: metav1.NamespaceSystem}}
	if err := c.store.Get(system); err != nil {
		return nil, fmt.Errorf("identify the cluster: %w", err)
	}
	c.id = string(system.UID)
	own := netip.AddrPortFrom(n.vm.Address, p.api.port())
	if err := foundation(c.store, c.authorities.cluster, p.cluster, &config, own); err != nil {
		return nil, fmt.Errorf("lay the cluster's foundation: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.enterLocked(ctx, p, n, &config); err != nil {
		c.closeLocked()
		return nil, err
	}
	return c, nil
}

// configuration is the ClusterConfiguration as it is now: the control-plane
// provider changes it for upgrades.
func (c *cluster) configuration() (*clusterConfiguration, error) {
	object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: "kubeadm-config"}}
	if err := c.store.Get(object); err != nil {
		return nil, fmt.Errorf("read kubeadm-config: %w", err)
	}
	config := &clusterConfiguration{}
	if err := yaml.Unmarshal([]byte(object.Data["ClusterConfiguration"]), config); err != nil {
		return nil, fmt.Errorf("decode kubeadm-config: %w", err)
	}
	return config, nil
}

// enter makes a machine a node of the cluster. Its credentials have been
// checked.
func (c *cluster) enter(ctx context.Context, p *plan, n *node) error {
	config, err := c.configuration()
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || !c.quorum {
		return errNoQuorum
	}
	return c.enterLocked(ctx, p, n, config)
}

func (c *cluster) enterLocked(ctx context.Context, p *plan, n *node, config *clusterConfiguration) error {
	if readyElsewhere(c.store, n.name, n.vm.ID) {
		return &RefusedError{"a node of the name " + n.name + " is in the cluster and ready already"}
	}
	n.cluster, n.booted, n.running = c, time.Now(), true
	n.providerID = p.node.KubeletExtraArgs["provider-id"]
	n.labels, n.taints = labelsAndTaints(p, n.name)
	if p.api != nil {
		control, err := newControlPlane(c, n, p, config)
		if err != nil {
			return err
		}
		n.control = control
		c.members = append(c.members, &member{id: randomID(), node: n})
	}
	c.sweepLocked()
	c.nodes[n.name] = n
	if err := c.settleLocked(ctx); err != nil {
		c.members = slices.DeleteFunc(c.members, func(m *member) bool { return m.node == n })
		delete(c.nodes, n.name)
		n.running = false
		return errors.Join(err, c.settleLocked(ctx))
	}
	return c.reportLocked(n)
}

// powerOn continues a node from its disk. It may not reach the API yet: then
// it reports when a majority is back.
func (c *cluster) powerOn(ctx context.Context, n *node, vm guest.VM) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil
	}
	n.vm, n.booted, n.running = vm, time.Now(), true
	if n.silence != nil {
		n.silence.Stop()
	}
	had := c.quorum
	if err := c.settleLocked(ctx); err != nil {
		return err
	}
	if !c.quorum || !had {
		return nil // nobody to report to, or all have just reported
	}
	return c.reportLocked(n)
}

// reportLocked is the start of a node's kubelet.
func (c *cluster) reportLocked(n *node) error {
	if err := n.register(c.store); err != nil {
		return fmt.Errorf("report node %s: %w", n.name, err)
	}
	return c.showPodsLocked(n)
}

// powerOff ends what runs on a node's machine and waits for its end.
func (c *cluster) powerOff(n *node) {
	c.mu.Lock()
	n.running = false
	c.logError("power off", n, c.settleLocked(context.Background()))
	if !c.closed {
		c.beginSilenceLocked(n)
	}
	var ended []*activity
	if n.control != nil {
		ended = n.control.ended()
	}
	c.mu.Unlock()
	for _, service := range ended {
		service.wait()
	}
}

// beginSilenceLocked starts the grace after which a silent node is unknown.
func (c *cluster) beginSilenceLocked(n *node) {
	if n.silence != nil {
		n.silence.Stop()
	}
	n.silence = time.AfterFunc(c.grace, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		// Without a majority nothing can be written; its return starts over.
		if c.closed || n.running || !c.quorum || c.nodes[n.name] != n {
			return
		}
		c.logError("node lifecycle", n, n.markUnknown(c.store))
		c.logError("node lifecycle", n, c.showPodsLocked(n))
	})
}

// remove forgets a node's disk, and the whole cluster with the last disk that
// holds a copy of etcd. It tells whether that was so.
func (c *cluster) remove(n *node) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	n.removed = true
	for _, other := range c.nodes {
		if other.control != nil && !other.removed {
			c.sweepLocked()
			return false
		}
	}
	c.closeLocked()
	return true
}

// sweepLocked forgets removed nodes whose object is gone.
func (c *cluster) sweepLocked() {
	for name, n := range c.nodes {
		if n.removed && c.store.Get(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}) != nil {
			delete(c.nodes, name)
		}
	}
}

// close ends the cluster, whatever runs.
func (c *cluster) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closeLocked()
}

func (c *cluster) closeLocked() {
	c.closed, c.quorum = true, false
	for _, n := range c.nodes {
		n.running = false
		if n.silence != nil {
			n.silence.Stop()
		}
		if n.control != nil {
			n.control.closeAll()
		}
	}
}

// settleLocked brings etcd's majority, its leader and what listens where in
// line with the machines that run. It returns what could not be opened.
func (c *cluster) settleLocked(ctx context.Context) error {
	if c.closed {
		return nil
	}
	had := c.quorum
	runs := 0
	for _, m := range c.members {
		if m.node.running {
			runs++
		}
	}
	c.quorum = runs > len(c.members)/2
	if i := slices.IndexFunc(c.members, func(m *member) bool { return m.id == c.leader && m.node.running }); i < 0 && c.quorum {
		c.leader = c.members[slices.IndexFunc(c.members, func(m *member) bool { return m.node.running })].id
	}
	var failed error
	for _, n := range c.nodes {
		if n.control == nil {
			continue
		}
		runsEtcd := n.running && c.memberOf(n) != nil
		failed = errors.Join(failed,
			n.control.setEtcd(ctx, runsEtcd),
			n.control.setAPI(ctx, runsEtcd && c.quorum))
	}
	if had != c.quorum {
		c.log.Info("etcd majority changed", "cluster", c.id, "majority", c.quorum, "members", len(c.members), "running", runs)
	}
	if c.quorum && !had {
		for _, n := range c.nodes {
			switch {
			case !n.running:
				c.beginSilenceLocked(n)
			case n.registered:
				failed = errors.Join(failed, c.reportLocked(n))
			}
		}
	}
	return failed
}

func (c *cluster) memberOf(n *node) *member {
	for _, m := range c.members {
		if m.node == n {
			return m
		}
	}
	return nil
}

// removeMember takes a voter out of etcd. On its machine etcd ends, and with
// it the API server that has no other etcd to talk to.
func (c *cluster) removeMember(id uint64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.IndexFunc(c.members, func(m *member) bool { return m.id == id })
	switch {
	case !c.quorum:
		return errNoQuorum
	case i < 0:
		return errNoMember
	}
	left := slices.Delete(slices.Clone(c.members), i, i+1)
	runs := 0
	for _, m := range left {
		if m.node.running {
			runs++
		}
	}
	if runs <= len(left)/2 {
		return errNotEnoughStarted
	}
	gone := c.members[i].node
	c.members = left
	if err := c.settleLocked(context.Background()); err != nil {
		return err
	}
	if gone.running {
		c.logError("etcd member removed", gone, c.showPodsLocked(gone))
	}
	return nil
}

// moveLeader makes another member that runs the leader.
func (c *cluster) moveLeader(from *node, to uint64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	target := slices.IndexFunc(c.members, func(m *member) bool { return m.id == to })
	switch own := c.memberOf(from); {
	case !c.quorum:
		return errNoQuorum
	case own == nil || own.id != c.leader:
		return errNotLeader
	case target < 0 || !c.members[target].node.running:
		return errNoMember
	}
	c.leader = to
	return nil
}

// showPodsLocked brings the static pods of a control plane in line with what
// runs on its machine.
func (c *cluster) showPodsLocked(n *node) error {
	if n.control == nil {
		return nil
	}
	config, err := c.configuration()
	if err != nil {
		return err
	}
	failed := func(component string) string {
		switch {
		case !n.running:
			return "the machine does not answer"
		case (component == "etcd" || component == "kube-apiserver") && c.memberOf(n) == nil:
			return "the member has been permanently removed from the cluster"
		}
		return ""
	}
	return n.setStaticPods(c.store, config, failed)
}

// dialPod connects a control plane to a port of a pod, which is a port of the
// pod's machine, since all pods that listen are static ones on its network.
func (c *cluster) dialPod(ctx context.Context, from *node, namespace, name string, port uint16) (net.Conn, error) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	if err := c.store.Get(pod); err != nil {
		return nil, err
	}
	c.mu.Lock()
	target := c.nodes[pod.Spec.NodeName]
	answers := target != nil && target.running
	var source, address netip.Addr
	if answers {
		source, address = from.vm.Address, target.vm.Address
	}
	c.mu.Unlock()
	if !answers {
		return nil, fmt.Errorf("the kubelet of node %q does not answer", pod.Spec.NodeName)
	}
	return dialFrom(ctx, source, net.JoinHostPort(address.String(), strconv.Itoa(int(port))))
}

func (c *cluster) logError(doing string, n *node, err error) {
	if err != nil {
		c.log.Warn("cluster state could not be written", "doing", doing, "cluster", c.id, "node", n.name, "error", err)
	}
}

// randomID is an identity as etcd makes them; it fits the signed numbers that
// some tools print.
func randomID() uint64 { return rand.Uint64N(1<<62) + 1 }
