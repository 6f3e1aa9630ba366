package simulated_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"elemento.cloud/cluster-api-provider-elemento/fakeatomos/guest"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos/guest/simulated"
)

func TestFirstControlPlaneOpensAClusterLikeKubeadm(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	vm := l.init()
	client := l.client(vm.Address)

	node := l.nodeBecomes("cp-1", corev1.ConditionTrue)
	if node.Spec.ProviderID != "elemento://here/cp-1" || node.Status.NodeInfo.KubeletVersion != kubernetesVersion {
		t.Errorf("node has provider ID %q and version %q", node.Spec.ProviderID, node.Status.NodeInfo.KubeletVersion)
	}
	if _, ok := node.Labels["node-role.kubernetes.io/control-plane"]; !ok || len(node.Spec.Taints) != 1 {
		t.Errorf("node has labels %v and taints %v", node.Labels, node.Spec.Taints)
	}
	if address := node.Status.Addresses[0].Address; address != vm.Address.String() {
		t.Errorf("node has the address %s, not %s", address, vm.Address)
	}
	for _, component := range []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"} {
		pod, err := client.CoreV1().Pods("kube-system").Get(t.Context(), component+"-cp-1", metav1.GetOptions{})
		if err != nil || !podReady(pod) {
			t.Errorf("pod of %s: %v, ready %v", component, err, err == nil && podReady(pod))
		}
	}
	config, err := client.CoreV1().ConfigMaps("kube-system").Get(t.Context(), "kubeadm-config", metav1.GetOptions{})
	if err != nil || !strings.Contains(config.Data["ClusterConfiguration"], "controlPlaneEndpoint: "+l.endpoint()) {
		t.Errorf("kubeadm-config: %v, %v", config, err)
	}
	proxy, err := client.AppsV1().DaemonSets("kube-system").Get(t.Context(), "kube-proxy", metav1.GetOptions{})
	if err != nil || proxy.Spec.Template.Spec.Containers[0].Image != "registry.k8s.io/kube-proxy:"+kubernetesVersion || proxy.Status.NumberReady != 1 {
		t.Errorf("kube-proxy: %v, %v", proxy, err)
	}
	dns, err := client.AppsV1().Deployments("kube-system").Get(t.Context(), "coredns", metav1.GetOptions{})
	if err != nil || dns.Status.AvailableReplicas != 2 || dns.Spec.Template.Spec.Containers[0].Name != "coredns" {
		t.Errorf("coredns: %v, %v", dns, err)
	}
	if _, err := client.RbacV1().ClusterRoles().Get(t.Context(), "kubeadm:get-nodes", metav1.GetOptions{}); err != nil {
		t.Error(err)
	}
	members, err := l.etcdClient(vm).MemberList(t.Context())
	if err != nil || len(members.Members) != 1 || members.Members[0].Name != "cp-1" {
		t.Errorf("etcd members: %v, %v", members, err)
	}
}

func podReady(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

func TestWorkerJoinsOverItsOwnAddress(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	vm := l.machine("cp-1")
	vm.Address, vm.UserData = l.first, l.initSeed()
	sources := make(chan netip.Addr, 1000)
	vm.Reachable = func(source netip.Addr) bool { sources <- source; return true }
	l.boot(vm)
	l.eventually("the API answers", func() error {
		_, err := l.client(l.first).Discovery().ServerVersion()
		return err
	})
	l.token, l.tokenHash = l.newToken(time.Hour), l.ca.pin()

	worker := l.join("worker-1", false)
	node := l.nodeBecomes("worker-1", corev1.ConditionTrue)
	if node.Spec.ProviderID != "elemento://here/worker-1" || node.Labels["tier"] != "test" || len(node.Spec.Taints) != 0 {
		t.Errorf("node is %+v with labels %v", node.Spec, node.Labels)
	}
	close(sources)
	seen := false
	for source := range sources {
		seen = seen || source == worker.Address
	}
	if !seen {
		t.Error("no connection came from the worker's address")
	}
	if cpu, memory := l.guests.Usage(worker.ID); cpu == 0 || memory == 0 || memory > worker.MemoryMiB {
		t.Errorf("usage is %d, %d", cpu, memory)
	}
}

func TestWorkerWaitsForAClusterThatIsNotThereYet(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	// The token is known before its cluster: an API that comes up with it.
	early := l.machine("early")
	early.UserData = l.joinSeed("abcdef.0123456789abcdef", l.ca.pin(), false)
	l.boot(early)
	vm := l.machine("cp-1")
	// Nobody but this test reaches the API until the token is there.
	gate := make(chan struct{})
	vm.Reachable = func(source netip.Addr) bool {
		select {
		case <-gate:
			return true
		default:
			return source == netip.MustParseAddr("127.0.0.1")
		}
	}
	vm.Address, vm.UserData = l.first, l.initSeed()
	l.boot(vm)
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "bootstrap-token-abcdef"}, Type: corev1.SecretTypeBootstrapToken,
		StringData: nil, Data: map[string][]byte{"token-id": []byte("abcdef"), "token-secret": []byte("0123456789abcdef"), "usage-bootstrap-authentication": []byte("true")},
	}
	l.eventually("the token is made", func() error {
		_, err := l.client(l.first).CoreV1().Secrets("kube-system").Create(l.Context(), secret, metav1.CreateOptions{})
		return err
	})
	close(gate)
	l.nodeBecomes("early", corev1.ConditionTrue)
}

func TestBadCredentialsLeaveARunningMachineWithoutANode(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.init()
	other := newAuthority(t, "other")
	for name, seed := range map[string][]byte{
		"unknown-token": l.joinSeed("aaaaaa.0123456789abcdef", l.ca.pin(), false),
		"wrong-secret":  l.joinSeed(l.token[:7]+"0123456789abcdef", l.ca.pin(), false),
		"expired-token": l.joinSeed(l.newToken(-time.Minute), l.ca.pin(), false),
		"wrong-hash":    l.joinSeed(l.token, other.pin(), false),
		"wrong-cas":     (&lab{T: t, ca: other, etcd: l.etcd, front: l.front, first: l.first}).joinSeed(l.token, l.ca.pin(), true),
	} {
		vm := l.machine(name)
		vm.UserData = seed
		l.boot(vm)
		if cpu, _ := l.guests.Usage(vm.ID); cpu == 0 {
			t.Errorf("%s: the machine does not run", name)
		}
	}
	// One that is good, made last, is in when the others have been refused.
	l.join("good", false)
	if names := l.nodeNames(); !slices.Equal(names, []string{"cp-1", "good"}) {
		t.Errorf("nodes are %v", names)
	}
}

func TestKubeconfigOfAnotherClusterIsRefused(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.init()
	foreign, err := kubernetes.NewForConfig(l.configBy(newAuthority(t, "kubernetes"), l.first))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := foreign.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{}); !apierrors.IsUnauthorized(err) {
		t.Errorf("a foreign certificate gets %v", err)
	}
	anonymous := l.config(l.first)
	anonymous.CertData, anonymous.KeyData = nil, nil
	nobody, err := kubernetes.NewForConfig(anonymous)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := nobody.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("nobody gets %v", err)
	}
	anonymous.BearerToken = l.token
	joiner, err := kubernetes.NewForConfig(anonymous)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := joiner.CoreV1().Secrets("kube-system").List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("a bootstrap token that reads secrets gets %v", err)
	}
}

func TestControlPlanesShareTheClusterAndEtcd(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	first := l.init()
	second, third := l.join("cp-2", true), l.join("cp-3", true)
	for _, vm := range []guest.VM{first, second, third} {
		nodes, err := l.client(vm.Address).CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
		if err != nil || len(nodes.Items) != 3 {
			t.Errorf("the API of %s: %v", vm.Name, err)
		}
		members, err := l.etcdClient(vm).MemberList(t.Context())
		if err != nil || len(members.Members) != 3 {
			t.Errorf("etcd of %s: %v", vm.Name, err)
		}
	}

	// Leadership moves away from the first, which is then removed.
	etcd := l.etcdClient(first)
	status, err := etcd.Status(t.Context(), etcd.Endpoints()[0])
	if err != nil || status.Leader != status.Header.MemberId {
		t.Fatalf("the first member is not the leader: %v, %v", status, err)
	}
	members, err := etcd.MemberList(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := etcd.MoveLeader(t.Context(), members.Members[1].ID); err != nil {
		t.Fatal(err)
	}
	if _, err := etcd.MoveLeader(t.Context(), members.Members[2].ID); !errors.Is(err, rpctypes.ErrNotLeader) {
		t.Errorf("moving leadership from a follower: %v", err)
	}
	if _, err := l.etcdClient(second).MemberRemove(t.Context(), members.Members[0].ID); err != nil {
		t.Fatal(err)
	}
	l.eventually("the API of the removed member is closed", func() error { return refused(first.Address, "6443") })
	nodes, err := l.client(second.Address).CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil || len(nodes.Items) != 3 {
		t.Errorf("after the removal: %v", err)
	}
	pod, err := l.client(second.Address).CoreV1().Pods("kube-system").Get(t.Context(), "etcd-cp-1", metav1.GetOptions{})
	if err != nil || podReady(pod) {
		t.Errorf("the removed member's pod is ready, %v", err)
	}
	// Its machine and node go; the two others live on.
	l.destroy(first)
	if err := l.client(second.Address).CoreV1().Nodes().Delete(t.Context(), "cp-1", metav1.DeleteOptions{}); err != nil {
		t.Error(err)
	}
	pods, err := l.client(third.Address).CoreV1().Pods("").List(t.Context(), metav1.ListOptions{FieldSelector: "spec.nodeName=cp-1"})
	if err != nil || len(pods.Items) != 0 {
		t.Errorf("pods of the deleted node: %d, %v", len(pods.Items), err)
	}
}

func TestAPIClosesWithoutAMajorityAndComesBackWithIt(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	first := l.init()
	second, third := l.join("cp-2", true), l.join("cp-3", true)
	worker := l.join("worker-1", false)
	client := l.client(first.Address)
	watching, err := client.CoreV1().Nodes().Watch(t.Context(), metav1.ListOptions{ResourceVersion: "0"})
	if err != nil {
		t.Fatal(err)
	}
	l.powerOff(third)
	l.nodeBecomes("cp-3", corev1.ConditionUnknown)
	l.powerOff(second)
	l.eventually("the watch is cut", func() error {
		select {
		case _, open := <-watching.ResultChan():
			if !open {
				return nil
			}
		default:
		}
		return errors.New("the watch goes on")
	})
	l.eventually("the API is closed", func() error { return refused(first.Address, "6443") })
	l.eventually("the API of a machine that is off is closed", func() error { return refused(second.Address, "6443") })
	ctx, cancel := deadline(l)
	defer cancel()
	etcd := l.etcdClient(first)
	status, err := etcd.Status(ctx, etcd.Endpoints()[0])
	if err != nil || status.Leader != 0 {
		t.Errorf("etcd without a majority: %v, %v", status, err)
	}
	// What happens meanwhile shows when the majority is back.
	l.powerOff(worker)
	l.boot(second)
	l.nodeBecomes("cp-2", corev1.ConditionTrue)
	l.nodeBecomes("worker-1", corev1.ConditionUnknown)
	if members, err := l.etcdClient(second).MemberList(t.Context()); err != nil || len(members.Members) != 3 {
		t.Errorf("members after the return: %v, %v", members, err)
	}
}

func TestPowerCycleContinuesFromTheDisk(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.init()
	worker := l.join("worker-1", false)
	before := l.nodeBecomes("worker-1", corev1.ConditionTrue)
	l.powerOff(worker)
	if cpu, memory := l.guests.Usage(worker.ID); cpu != 0 || memory != 0 {
		t.Errorf("a machine that is off uses %d, %d", cpu, memory)
	}
	silent := l.nodeBecomes("worker-1", corev1.ConditionUnknown)
	if !slices.ContainsFunc(silent.Spec.Taints, func(taint corev1.Taint) bool {
		return taint.Key == corev1.TaintNodeUnreachable && taint.Effect == corev1.TaintEffectNoExecute
	}) {
		t.Errorf("a silent node has the taints %v", silent.Spec.Taints)
	}
	// A spent token does not matter: there is no second join.
	if err := l.client(l.first).CoreV1().Secrets("kube-system").Delete(t.Context(), "bootstrap-token-"+l.token[:6], metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	worker.UserData = nil
	l.boot(worker)
	after := l.nodeBecomes("worker-1", corev1.ConditionTrue)
	if after.UID != before.UID || len(after.Spec.Taints) != 0 || after.Status.NodeInfo.BootID == before.Status.NodeInfo.BootID {
		t.Errorf("the node came back as %v with taints %v", after.UID, after.Spec.Taints)
	}
}

func TestSingleControlPlaneComesBackFromItsDisk(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	vm := l.init()
	uid := l.nodeBecomes("cp-1", corev1.ConditionTrue).UID
	for range 3 {
		l.powerOff(vm)
		if err := refused(vm.Address, "6443"); err != nil {
			t.Error(err)
		}
		if err := refused(vm.Address, "2379"); err != nil {
			t.Error(err)
		}
		l.boot(vm)
		if after := l.nodeBecomes("cp-1", corev1.ConditionTrue); after.UID != uid {
			t.Errorf("the cluster is another one")
		}
	}
}

func TestUnreachableGuestAcceptsNobody(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	friend := freshAddress()
	vm := l.machine("cp-1")
	vm.Address, vm.UserData = l.first, l.initSeed()
	vm.Reachable = func(source netip.Addr) bool { return source == friend }
	l.boot(vm)
	worker := l.machine("worker-1")
	worker.UserData = l.joinSeed("abcdef.0123456789abcdef", l.ca.pin(), false)
	l.boot(worker)
	l.eventually("the first control plane runs", func() error {
		if cpu, _ := l.guests.Usage(vm.ID); cpu < 100 {
			return errors.New("no control plane yet")
		}
		return nil
	})
	if _, err := l.client(l.first).Discovery().ServerVersion(); err == nil {
		t.Error("a stranger gets an answer")
	}
}

func TestSecondNodeOfTheSameNameIsRefused(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.init()
	first := l.join("worker-1", false)
	twin := l.machine("worker-1")
	twin.UserData = l.joinSeed(l.token, l.tokenHash, false)
	l.boot(twin)
	l.join("worker-2", false)
	node := l.nodeBecomes("worker-1", corev1.ConditionTrue)
	if node.Status.NodeInfo.MachineID != first.ID {
		t.Error("the node belongs to the second machine")
	}
	// When the first is known to be dead, a new machine takes the node over.
	l.destroy(first)
	l.nodeBecomes("worker-1", corev1.ConditionUnknown)
	heir := l.machine("worker-1")
	heir.UserData = l.joinSeed(l.token, l.tokenHash, false)
	l.boot(heir)
	if node := l.nodeBecomes("worker-1", corev1.ConditionTrue); node.Status.NodeInfo.MachineID != heir.ID {
		t.Errorf("the node belongs to %s", node.Status.NodeInfo.MachineID)
	}
}

func TestSeedThatMakesNoNode(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	const secret = "TOP-SECRET"
	var seedError *simulated.SeedError
	for name, test := range map[string]struct {
		userData string
		version  string
		is       func(error) bool
	}{
		"no user-data":       {"", kubernetesVersion, func(err error) bool { return err == nil }},
		"no kubeadm":         {"#cloud-config\nruncmd: [echo hello]\n", kubernetesVersion, func(err error) bool { return err == nil }},
		"no Kubernetes":      {string(l.initSeed()), "", func(err error) bool { return errors.Is(err, simulated.ErrNoKubernetes) }},
		"no configuration":   {"#cloud-config\nruncmd: [kubeadm init --config /k.yaml]\n", kubernetesVersion, func(err error) bool { return errors.As(err, &seedError) }},
		"broken YAML":        {"#cloud-config\nruncmd: [" + secret + "\n", kubernetesVersion, func(err error) bool { return err != nil }},
		"broken kubeadm":     {"#cloud-config\nwrite_files:\n" + file("/k.yaml", "token: ["+secret) + "runcmd: [kubeadm join --config /k.yaml]\n", kubernetesVersion, func(err error) bool { return errors.As(err, &seedError) }},
		"kubeadm of old":     {"#cloud-config\nwrite_files:\n" + file("/k.yaml", "apiVersion: kubeadm.k8s.io/v1beta2\nkind: JoinConfiguration") + "runcmd: [kubeadm join --config /k.yaml]\n", kubernetesVersion, func(err error) bool { return errors.As(err, &seedError) }},
		"an unpinned joiner": {"#cloud-config\nwrite_files:\n" + file("/k.yaml", "apiVersion: kubeadm.k8s.io/v1beta4\nkind: JoinConfiguration\ndiscovery: {bootstrapToken: {token: "+secret+"}}") + "runcmd: [kubeadm join --config /k.yaml]\n", kubernetesVersion, func(err error) bool { return errors.As(err, &seedError) }},
	} {
		vm := l.machine("machine")
		vm.UserData, vm.KubernetesVersion = []byte(test.userData), test.version
		err := l.guests.Boot(t.Context(), vm)
		if !test.is(err) {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && strings.Contains(err.Error(), secret) {
			t.Errorf("%s: the error shows the seed: %v", name, err)
		}
		if cpu, _ := l.guests.Usage(vm.ID); cpu == 0 {
			t.Errorf("%s: the machine does not run", name)
		}
	}
}

func TestClientsOfClusterAPIFindWhatTheyUse(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.init()
	l.join("worker-1", false)
	client := l.client(l.first)

	// An informer starts with the nodes there are and follows the changes.
	factory := informers.NewSharedInformerFactory(client, 0)
	nodes := factory.Core().V1().Nodes()
	events := make(chan string, 100)
	_, err := nodes.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { events <- "add " + o.(*corev1.Node).Name },
		UpdateFunc: func(_, o any) { events <- "update " + o.(*corev1.Node).Name },
		DeleteFunc: func(o any) { events <- "delete " + o.(*corev1.Node).Name },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer factory.Shutdown()
	defer cancel()
	factory.Start(ctx.Done())
	expect := func(want string) {
		t.Helper()
		for {
			select {
			case got := <-events:
				if got == want {
					return
				}
			case <-time.After(patience):
				t.Fatalf("no event %q", want)
			}
		}
	}
	expect("add worker-1")

	// A health check's suite breaks a node through its status.
	patch := []byte(`{"status":{"conditions":[{"type":"Ready","status":"False","reason":"Test"},{"type":"Own","status":"True"}]},"spec":{"unschedulable":true}}`)
	node, err := client.CoreV1().Nodes().Patch(t.Context(), "worker-1", types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	if err != nil || readiness(node) != corev1.ConditionFalse || len(node.Status.Conditions) < 5 || node.Spec.Unschedulable {
		t.Fatalf("patched status: %+v, %v", node, err)
	}
	expect("update worker-1")
	// A drain cordons and evicts.
	node, err = client.CoreV1().Nodes().Patch(t.Context(), "worker-1", types.MergePatchType, []byte(`{"spec":{"unschedulable":true},"status":null}`), metav1.PatchOptions{})
	if err != nil || !node.Spec.Unschedulable || readiness(node) != corev1.ConditionFalse {
		t.Fatalf("cordoned node: %+v, %v", node, err)
	}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "web-", Labels: map[string]string{"app": "web"}},
		Spec:       corev1.PodSpec{NodeName: "worker-1", Containers: []corev1.Container{{Name: "web", Image: "web"}}},
	}
	pod, err = client.CoreV1().Pods("default").Create(t.Context(), pod, metav1.CreateOptions{})
	if err != nil || !podReady(pod) || pod.Name == "web-" {
		t.Fatalf("created pod: %+v, %v", pod, err)
	}
	eviction := &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: pod.Name, Namespace: "default"}}
	if err := client.CoreV1().Pods("default").EvictV1(t.Context(), eviction); err != nil {
		t.Fatal(err)
	}
	if err := client.CoreV1().Pods("default").EvictV1(t.Context(), eviction); !apierrors.IsNotFound(err) {
		t.Errorf("the second eviction: %v", err)
	}
	// Stale writers lose.
	stale := node.DeepCopy()
	node.Labels["fresh"] = "yes"
	if _, err = client.CoreV1().Nodes().Update(t.Context(), node, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err = client.CoreV1().Nodes().Update(t.Context(), stale, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
		t.Errorf("a stale update: %v", err)
	}
	if err := client.CoreV1().Nodes().Delete(t.Context(), "worker-1", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	expect("delete worker-1")
	if _, err := client.CoreV1().Nodes().Patch(t.Context(), "worker-1", types.MergePatchType, []byte(`{}`), metav1.PatchOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("patching what is gone: %v", err)
	}
}

func TestManyWorkersJoinAtOnce(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.init()
	const count = 60
	var all []guest.VM
	for i := range count {
		vm := l.machine(fmt.Sprintf("worker-%d", i))
		vm.UserData = l.joinSeed(l.token, l.tokenHash, false)
		all = append(all, l.boot(vm))
	}
	l.eventually("all workers are nodes", func() error {
		if have := len(l.nodeNames()); have != count+1 {
			return fmt.Errorf("%d nodes", have)
		}
		return nil
	})
	for _, vm := range all {
		l.destroy(vm)
	}
	l.eventually("all workers are silent", func() error {
		nodes, err := l.client(l.first).CoreV1().Nodes().List(l.Context(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		for _, node := range nodes.Items {
			if node.Name != "cp-1" && readiness(&node) != corev1.ConditionUnknown {
				return fmt.Errorf("%s is %s", node.Name, readiness(&node))
			}
		}
		return nil
	})
}

// It does not run in parallel: it looks at all goroutines.
func TestRemovalOfTheLastControlPlaneLeavesNothing(t *testing.T) {
	l := newLab(t)
	vms := []guest.VM{l.init(), l.join("cp-2", true), l.join("worker-1", false)}
	watching, err := l.client(l.first).CoreV1().Nodes().Watch(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer watching.Stop()
	lost := l.machine("lost")
	lost.UserData = l.joinSeed(l.token, l.tokenHash, false)
	for _, vm := range vms {
		l.destroy(vm)
	}
	l.boot(lost) // its cluster is gone
	l.destroy(lost)
	if left := goroutines(); left != "" {
		t.Errorf("goroutines are left:\n%s", left)
	}
	// The same addresses and authorities make a new cluster.
	l.init()
	if names := l.nodeNames(); !slices.Equal(names, []string{"cp-1"}) {
		t.Errorf("the new cluster has the nodes %v", names)
	}
}
