package simulated

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/yaml"

	"elemento.cloud/cluster-api-provider-elemento/fakeatomos/guest/simulated/kubeapi"
)

const (
	controlPlaneRole = "node-role.kubernetes.io/control-plane"
	joinersGroup     = "system:bootstrappers:kubeadm:default-node-token"
	etcdImage        = "etcd:3.6.8-0"
)

// register puts the node's object there, or takes over one that is there
// already, as a kubelet does at its start.
func (n *node) register(store *kubeapi.Store) error {
	object := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: n.name}}
	err := kubeapi.Apply(store, object, func(object *corev1.Node) {
		fresh := object.UID == ""
		if object.Labels == nil {
			object.Labels = map[string]string{}
		}
		maps.Copy(object.Labels, n.labels)
		if fresh {
			object.Spec.Taints = slices.Clone(n.taints)
		}
		if object.Spec.ProviderID == "" {
			object.Spec.ProviderID = n.providerID
		}
		object.Spec.Taints = slices.DeleteFunc(object.Spec.Taints, func(t corev1.Taint) bool { return t.Key == corev1.TaintNodeUnreachable })
		object.Status = n.status(object.Status)
	})
	n.registered = n.registered || err == nil
	return err
}

// status is what the kubelet of a running machine reports.
func (n *node) status(old corev1.NodeStatus) corev1.NodeStatus {
	capacity := corev1.ResourceList{
		corev1.ResourceCPU:              *resource.NewQuantity(int64(n.vm.Processors), resource.DecimalSI),
		corev1.ResourceMemory:           *resource.NewQuantity(n.vm.MemoryMiB<<20, resource.BinarySI),
		corev1.ResourceEphemeralStorage: resource.MustParse("20Gi"),
		corev1.ResourcePods:             resource.MustParse("110"),
	}
	status := corev1.NodeStatus{
		Capacity: capacity, Allocatable: capacity, Conditions: slices.Clone(old.Conditions),
		Addresses: []corev1.NodeAddress{
			{Type: corev1.NodeInternalIP, Address: n.vm.Address.String()},
			{Type: corev1.NodeHostName, Address: n.name},
		},
		NodeInfo: corev1.NodeSystemInfo{
			MachineID: n.vm.ID, SystemUUID: n.vm.ID, BootID: strconv.FormatInt(n.booted.UnixNano(), 36),
			KernelVersion: "6.1.0-simulated", OSImage: "AtomOS simulated guest", OperatingSystem: "linux", Architecture: "amd64",
			ContainerRuntimeVersion: "containerd://2.4.2", KubeletVersion: n.vm.KubernetesVersion,
		},
	}
	for _, c := range []corev1.NodeCondition{
		{Type: corev1.NodeMemoryPressure, Status: corev1.ConditionFalse, Reason: "KubeletHasSufficientMemory", Message: "kubelet has sufficient memory available"},
		{Type: corev1.NodeDiskPressure, Status: corev1.ConditionFalse, Reason: "KubeletHasNoDiskPressure", Message: "kubelet has no disk pressure"},
		{Type: corev1.NodePIDPressure, Status: corev1.ConditionFalse, Reason: "KubeletHasSufficientPID", Message: "kubelet has sufficient PID available"},
		{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady", Message: "kubelet is posting ready status"},
	} {
		setNodeCondition(&status, c)
	}
	return status
}

func setNodeCondition(status *corev1.NodeStatus, wanted corev1.NodeCondition) {
	now := metav1.Now()
	wanted.LastHeartbeatTime, wanted.LastTransitionTime = now, now
	i := slices.IndexFunc(status.Conditions, func(c corev1.NodeCondition) bool { return c.Type == wanted.Type })
	if i < 0 {
		status.Conditions = append(status.Conditions, wanted)
		return
	}
	if status.Conditions[i].Status == wanted.Status {
		wanted.LastTransitionTime = status.Conditions[i].LastTransitionTime
	}
	status.Conditions[i] = wanted
}

// markUnknown is the node-lifecycle controller's verdict on a node whose
// kubelet is silent.
func (n *node) markUnknown(store *kubeapi.Store) error {
	object := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: n.name}}
	return kubeapi.Change(store, object, func(object *corev1.Node) {
		for _, kind := range []corev1.NodeConditionType{corev1.NodeMemoryPressure, corev1.NodeDiskPressure, corev1.NodePIDPressure, corev1.NodeReady} {
			setNodeCondition(&object.Status, corev1.NodeCondition{
				Type: kind, Status: corev1.ConditionUnknown, Reason: "NodeStatusUnknown", Message: "Kubelet stopped posting node status.",
			})
		}
		now := metav1.Now()
		for _, effect := range []corev1.TaintEffect{corev1.TaintEffectNoSchedule, corev1.TaintEffectNoExecute} {
			taint := corev1.Taint{Key: corev1.TaintNodeUnreachable, Effect: effect, TimeAdded: &now}
			if !slices.ContainsFunc(object.Spec.Taints, func(t corev1.Taint) bool { return t.MatchTaint(&taint) }) {
				object.Spec.Taints = append(object.Spec.Taints, taint)
			}
		}
	})
}

// staticPods are the control plane's components, as kubeadm names them.
var staticPods = []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"}

// setStaticPods shows the components of a control-plane node: running and
// ready, or, where failed tells so, with a reason why not.
func (n *node) setStaticPods(store *kubeapi.Store, config *clusterConfiguration, failed func(component string) string) error {
	owner := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: n.name}}
	if err := store.Get(owner); err != nil {
		return err
	}
	for _, component := range staticPods {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: component + "-" + n.name}}
		image := fmt.Sprintf("%s/%s:%s", config.registry(), component, imageTag(config.KubernetesVersion))
		if component == "etcd" {
			image = config.registry() + "/" + etcdImage
		}
		err := kubeapi.Apply(store, pod, func(pod *corev1.Pod) {
			pod.Labels = map[string]string{"component": component, "tier": "control-plane"}
			pod.Annotations = map[string]string{
				corev1.MirrorPodAnnotationKey: n.vm.ID, "kubernetes.io/config.source": "file",
			}
			pod.OwnerReferences = []metav1.OwnerReference{{
				APIVersion: "v1", Kind: "Node", Name: owner.Name, UID: owner.UID, Controller: new(true),
			}}
			pod.Spec = corev1.PodSpec{
				NodeName: n.name, HostNetwork: true, PriorityClassName: "system-node-critical",
				Containers: []corev1.Container{{Name: component, Image: image}},
			}
			pod.Status = podStatus(component, image, n.vm.Address, failed(component))
		})
		if err != nil {
			return fmt.Errorf("pod %s: %w", pod.Name, err)
		}
	}
	return nil
}

func podStatus(container, image string, address netip.Addr, failure string) corev1.PodStatus {
	now := metav1.Now()
	ready := corev1.ConditionTrue
	state := corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: now}}
	var last corev1.ContainerState
	if failure != "" {
		ready = corev1.ConditionFalse
		state = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff", Message: failure}}
		last = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 1, Reason: "Error", FinishedAt: now}}
	}
	status := corev1.PodStatus{
		Phase: corev1.PodRunning, HostIP: address.String(), PodIP: address.String(), StartTime: &now,
		ContainerStatuses: []corev1.ContainerStatus{{
			Name: container, Image: image, Ready: failure == "", State: state, LastTerminationState: last,
		}},
	}
	for kind, value := range map[corev1.PodConditionType]corev1.ConditionStatus{
		corev1.PodScheduled: corev1.ConditionTrue, corev1.PodInitialized: corev1.ConditionTrue,
		corev1.ContainersReady: ready, corev1.PodReady: ready,
	} {
		status.Conditions = append(status.Conditions, corev1.PodCondition{Type: kind, Status: value, LastTransitionTime: now})
	}
	slices.SortFunc(status.Conditions, func(a, b corev1.PodCondition) int { return strings.Compare(string(a.Type), string(b.Type)) })
	return status
}

// imageTag spells a version as an image's tag, in which + may not occur.
func imageTag(version string) string { return strings.ReplaceAll(version, "+", "_") }

// foundation stores what kubeadm init leaves in a new cluster.
func foundation(store *kubeapi.Store, ca *authority, raw map[string]any, config *clusterConfiguration, own netip.AddrPort) error {
	clusterYAML, err := yaml.Marshal(raw)
	if err != nil {
		return fmt.Errorf("encode the ClusterConfiguration: %w", err)
	}
	info, err := clientcmd.Write(clientcmdapi.Config{Clusters: map[string]*clientcmdapi.Cluster{
		"": {Server: "https://" + config.endpoint(own), CertificateAuthorityData: ca.pem()},
	}})
	if err != nil {
		return fmt.Errorf("encode cluster-info: %w", err)
	}
	system := metav1.NamespaceSystem
	tag := imageTag(config.KubernetesVersion)
	configMap := func(namespace, name string, data map[string]string) *corev1.ConfigMap {
		return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Data: data}
	}
	bind := func(name, role, kind, subject string) *rbacv1.ClusterRoleBinding {
		return &rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
			Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: kind, Name: subject}},
		}
	}
	role := func(name string, verbs, groups, resources []string) *rbacv1.ClusterRole {
		return &rbacv1.ClusterRole{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Rules:      []rbacv1.PolicyRule{{Verbs: verbs, APIGroups: groups, Resources: resources}},
		}
	}
	workload := func(name, image string, volumes ...corev1.Volume) (*metav1.LabelSelector, corev1.PodTemplateSpec) {
		names := map[string]string{"k8s-app": name}
		return &metav1.LabelSelector{MatchLabels: names}, corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: names},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: strings.TrimPrefix(name, "kube-dns-"), Image: image}}, Volumes: volumes},
		}
	}
	proxySelector, proxyTemplate := workload("kube-proxy", config.registry()+"/kube-proxy:"+tag)
	dnsSelector, dnsTemplate := workload("coredns", config.coreDNSImage(), corev1.Volume{
		Name: "config-volume",
		VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
			LocalObjectReference: corev1.LocalObjectReference{Name: "coredns"},
			Items:                []corev1.KeyToPath{{Key: "Corefile", Path: "Corefile"}},
		}},
	})
	objects := []kubeapi.Object{
		configMap(system, "kubeadm-config", map[string]string{"ClusterConfiguration": string(clusterYAML)}),
		configMap(system, "kubelet-config", map[string]string{"kubelet": "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n"}),
		configMap(system, "kube-proxy", map[string]string{"config.conf": "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"}),
		configMap(system, "coredns", map[string]string{"Corefile": corefile}),
		configMap(metav1.NamespacePublic, "cluster-info", map[string]string{"kubeconfig": string(info)}),
		&appsv1.DaemonSet{
			ObjectMeta: metav1.ObjectMeta{Namespace: system, Name: "kube-proxy", Labels: map[string]string{"k8s-app": "kube-proxy"}},
			Spec:       appsv1.DaemonSetSpec{Selector: proxySelector, Template: proxyTemplate},
		},
		&appsv1.Deployment{
			ObjectMeta: metav1.ObjectMeta{Namespace: system, Name: "coredns", Labels: map[string]string{"k8s-app": "kube-dns"}},
			Spec:       appsv1.DeploymentSpec{Replicas: new(int32(2)), Selector: dnsSelector, Template: dnsTemplate},
		},
		&corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: "kubernetes", Labels: map[string]string{"component": "apiserver", "provider": "kubernetes"}},
			Spec: corev1.ServiceSpec{
				Type: corev1.ServiceTypeClusterIP, ClusterIP: serviceAddress(config), ClusterIPs: []string{serviceAddress(config)},
				Ports: []corev1.ServicePort{{Name: "https", Port: 443, Protocol: corev1.ProtocolTCP}},
			},
		},
		role("cluster-admin", []string{"*"}, []string{"*"}, []string{"*"}),
		role("kubeadm:get-nodes", []string{"get"}, []string{""}, []string{"nodes"}),
		bind("cluster-admin", "cluster-admin", rbacv1.GroupKind, "system:masters"),
		bind("kubeadm:cluster-admins", "cluster-admin", rbacv1.GroupKind, "kubeadm:cluster-admins"),
		bind("kubeadm:get-nodes", "kubeadm:get-nodes", rbacv1.GroupKind, joinersGroup),
		bind("kubeadm:kubelet-bootstrap", "system:node-bootstrapper", rbacv1.GroupKind, joinersGroup),
	}
	for _, object := range objects {
		if err := store.Create(object); err != nil {
			return fmt.Errorf("create %s: %w", object.GetName(), err)
		}
	}
	return nil
}

const corefile = `.:53 {
    errors
    health {
       lameduck 5s
    }
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
       pods insecure
       fallthrough in-addr.arpa ip6.arpa
       ttl 30
    }
    prometheus :9153
    forward . /etc/resolv.conf
    cache 30
    loop
    reload
    loadbalance
}
`

// labelsAndTaints are what the node registers with.
func labelsAndTaints(p *plan, name string) (map[string]string, []corev1.Taint) {
	all := map[string]string{
		corev1.LabelHostname: name, corev1.LabelOSStable: "linux", corev1.LabelArchStable: "amd64",
	}
	for pair := range strings.SplitSeq(p.node.KubeletExtraArgs["node-labels"], ",") {
		if label, value, ok := strings.Cut(strings.TrimSpace(pair), "="); ok {
			all[label] = value
		}
	}
	var taints []corev1.Taint
	if p.node.Taints != nil {
		taints = append(taints, *p.node.Taints...)
	} else if p.api != nil {
		taints = append(taints, corev1.Taint{Key: controlPlaneRole, Effect: corev1.TaintEffectNoSchedule})
	}
	for text := range strings.SplitSeq(p.node.KubeletExtraArgs["register-with-taints"], ",") {
		rest, effect, ok := strings.Cut(strings.TrimSpace(text), ":")
		if !ok {
			continue
		}
		label, value, _ := strings.Cut(rest, "=")
		taints = append(taints, corev1.Taint{Key: label, Value: value, Effect: corev1.TaintEffect(effect)})
	}
	if p.api != nil {
		all[controlPlaneRole] = ""
		all[corev1.LabelNodeExcludeBalancers] = ""
	}
	return all, taints
}

// readyElsewhere tells whether another machine runs the node of this name.
func readyElsewhere(store *kubeapi.Store, name, machine string) bool {
	object := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if store.Get(object) != nil || object.Status.NodeInfo.MachineID == machine {
		return false
	}
	return slices.ContainsFunc(object.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
}
