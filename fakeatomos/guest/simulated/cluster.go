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
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos/history"
)

// cluster is one Kubernetes cluster: what its etcd holds, and the machines
// that are its nodes. The API of each control plane is open while its machine
// runs a member of etcd and the members that run are a majority.
type cluster struct {
	// id is the UID of the namespace kube-system, which names a cluster.
	id string
	// endpoint is where the cluster's API is to be reached, as host and port.
	endpoint    string
	log         *slog.Logger
	options     *Options
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
	// leases are the virtual IPs, by address.
	leases map[netip.Addr]*lease
	closed bool
}

// member is a voter of etcd. Its machine may be off or gone: a member stays
// until somebody removes it.
type member struct {
	id   uint64
	node *node
}

// node is what joining a cluster left on a machine's disk, and whether the
// machine runs and has its network.
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
	// cut tells that the machine's network is cut.
	cut bool
	// removed tells that the disk is gone. The node is known on until its
	// object is deleted.
	removed bool
	booted  time.Time
	// registered tells that the node has reported at least once.
	registered bool
	// silence ends the grace of a node whose machine is off.
	silence *time.Timer
}

// up tells whether the others can reach what runs on the machine.
func (n *node) up() bool { return n.running && !n.cut }

// errNoQuorum refuses what needs a majority of etcd.
var errNoQuorum = errors.New("the cluster's etcd has no majority")

// newCluster does what kubeadm init does on the first control plane.
func newCluster(ctx context.Context, options *Options, p *plan, n *node) (*cluster, error) {
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
	own := netip.AddrPortFrom(n.vm.Address, p.api.port())
	c := &cluster{
		endpoint: config.endpoint(own), log: options.Log, options: options, store: kubeapi.NewStore(), authorities: signers,
		nodes: map[string]*node{}, leases: map[netip.Addr]*lease{}, etcdID: randomID(),
	}
	system := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: metav1.NamespaceSystem}}
	if err := c.store.Get(system); err != nil {
		return nil, fmt.Errorf("identify the cluster: %w", err)
	}
	c.id = string(system.UID)
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
	if n.silence != nil && n.up() {
		n.silence.Stop()
	}
	return c.returnLocked(ctx, n)
}

// returnLocked lets a node take part again that did not.
func (c *cluster) returnLocked(ctx context.Context, n *node) error {
	had := c.quorum
	if err := c.settleLocked(ctx); err != nil {
		return err
	}
	if !n.up() || !c.quorum || !had {
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
	c.leave(n, func() { n.running = false })
}

// setCut cuts a node's network, or mends it. What is cut off runs on, and
// nobody can tell it from a machine that is off.
func (c *cluster) setCut(n *node, cut bool) {
	if cut {
		c.leave(n, func() { n.cut = true })
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !n.cut {
		return
	}
	n.cut = false
	if c.closed || !n.running {
		return
	}
	n.silence.Stop()
	c.logError("network mended", n, c.returnLocked(context.Background(), n))
}

// leave ends what the others can reach on a node's machine, and waits for its
// end.
func (c *cluster) leave(n *node, change func()) {
	c.mu.Lock()
	change()
	c.logError("leave", n, c.settleLocked(context.Background()))
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
	n.silence = time.AfterFunc(c.options.NodeGrace, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		// Without a majority nothing can be written; its return starts over.
		if c.closed || n.up() || !c.quorum || c.nodes[n.name] != n {
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
	for _, l := range c.leases {
		l.stop()
	}
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
		if m.node.up() {
			runs++
		}
	}
	c.quorum = runs > len(c.members)/2
	switch {
	case c.quorum && !had:
		c.tell(history.Event{Event: "majority"})
	case had && !c.quorum:
		c.tell(history.Event{Event: "minority"})
	}
	if i := slices.IndexFunc(c.members, func(m *member) bool { return m.id == c.leader && m.node.up() }); i < 0 && c.quorum {
		c.leader = c.members[slices.IndexFunc(c.members, func(m *member) bool { return m.node.up() })].id
	}
	var failed error
	for _, n := range c.nodes {
		if n.control == nil {
			continue
		}
		runsEtcd := n.up() && c.memberOf(n) != nil
		failed = errors.Join(failed,
			n.control.setEtcd(ctx, runsEtcd),
			n.control.setAPI(ctx, runsEtcd && c.quorum))
	}
	c.settleLeasesLocked(ctx)
	if had != c.quorum {
		c.log.Info("etcd majority changed", "cluster", c.id, "majority", c.quorum, "members", len(c.members), "running", runs)
	}
	if c.quorum && !had {
		for _, n := range c.nodes {
			switch {
			case !n.up():
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
		if m.node.up() {
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
	if gone.up() {
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
	case target < 0 || !c.members[target].node.up():
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
		case !n.up():
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
	answers := target != nil && target.up()
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

// tell writes an event of the cluster to the history.
func (c *cluster) tell(e history.Event) {
	e.Kind, e.Name = history.Cluster, c.endpoint
	c.options.History.Add(e)
}

func (c *cluster) logError(doing string, n *node, err error) {
	if err != nil {
		c.log.Warn("cluster state could not be written", "doing", doing, "cluster", c.id, "node", n.name, "error", err)
	}
}

// randomID is an identity as etcd makes them; it fits the signed numbers that
// some tools print.
func randomID() uint64 { return rand.Uint64N(1<<62) + 1 }
