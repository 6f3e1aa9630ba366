package simulated_test

import (
	"context"
	"testing"
	"time"

	"github.com/blang/semver/v4"
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	bootstrapv1 "sigs.k8s.io/cluster-api/api/bootstrap/kubeadm/v1beta2"
	controlplanev1 "sigs.k8s.io/cluster-api/api/controlplane/kubeadm/v1beta2"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/cluster-api/bootstrap/kubeadm/pkg/cloudinit"
	"sigs.k8s.io/cluster-api/controllers/clustercache"
	kcp "sigs.k8s.io/cluster-api/controlplane/kubeadm/pkg"
	capicache "sigs.k8s.io/cluster-api/util/cache"
	"sigs.k8s.io/cluster-api/util/certs"
	"sigs.k8s.io/cluster-api/util/collections"
	"sigs.k8s.io/cluster-api/util/conditions"
	"sigs.k8s.io/cluster-api/util/secret"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemento.cloud/cluster-api-provider-elemento/fakeatomos/guest"
)

// This file drives guests with the code of the kubeadm providers themselves:
// seeds from the bootstrap provider's templates, and the control-plane
// provider's own view of a workload cluster.

// oneCluster gives the control-plane provider its connection.
type oneCluster struct {
	clustercache.ClusterCache
	config *rest.Config
	client client.Client
}

func (c oneCluster) GetRESTConfig(context.Context, client.ObjectKey) (*rest.Config, error) {
	return c.config, nil
}

func (c oneCluster) GetClient(context.Context, client.ObjectKey) (client.Client, error) {
	return c.client, nil
}

// workload is the control-plane provider's view of the lab's cluster through
// the API of one machine.
func (l *lab) workload(through guest.VM) (kcp.WorkloadCluster, *clusterv1.Cluster) {
	l.Helper()
	config := l.config(through.Address)
	c, err := client.New(config, client.Options{})
	if err != nil {
		l.Fatal(err)
	}
	// The secret of etcd's authority lies in the management cluster, for which
	// this cluster stands in.
	object := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "test-etcd"},
		Data:       map[string][]byte{"tls.crt": []byte(l.etcd.certPEM()), "tls.key": []byte(keyPEM(l.T, l.etcd.key))},
	}
	if err := c.Create(l.Context(), object); client.IgnoreAlreadyExists(err) != nil {
		l.Fatal(err)
	}
	management := &kcp.Management{
		Client: c, SecretCachingClient: c, ClusterCache: oneCluster{config: config, client: c},
		EtcdDialTimeout: 2 * time.Second, EtcdCallTimeout: 2 * time.Second, EtcdLogger: zap.NewNop(),
		ClientCertCache: capicache.New[kcp.ClientCertEntry](l.Context(), time.Hour),
	}
	cluster := &clusterv1.Cluster{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "test"}}
	view, err := management.GetWorkloadCluster(l.Context(), cluster, bootstrapv1.EncryptionAlgorithmRSA2048)
	if err != nil {
		l.Fatal(err)
	}
	return view, cluster
}

// controlPlane is what the provider knows of its machines.
func controlPlane(cluster *clusterv1.Cluster, vms ...guest.VM) *kcp.ControlPlane {
	machines := collections.Machines{}
	for _, vm := range vms {
		machines.Insert(&clusterv1.Machine{
			ObjectMeta: metav1.ObjectMeta{Name: vm.Name, Namespace: "default"},
			Spec:       clusterv1.MachineSpec{ProviderID: "elemento://here/" + vm.Name},
			Status:     clusterv1.MachineStatus{NodeRef: clusterv1.MachineNodeReference{Name: vm.Name}},
		})
	}
	return &kcp.ControlPlane{Cluster: cluster, Machines: machines, KCP: &controlplanev1.KubeadmControlPlane{
		Spec: controlplanev1.KubeadmControlPlaneSpec{Version: kubernetesVersion},
	}}
}

// unhealthy returns the conditions of a machine that are not true.
func unhealthy(machine *clusterv1.Machine) []string {
	var bad []string
	for _, kind := range []string{
		controlplanev1.KubeadmControlPlaneMachineAPIServerPodHealthyCondition,
		controlplanev1.KubeadmControlPlaneMachineControllerManagerPodHealthyCondition,
		controlplanev1.KubeadmControlPlaneMachineSchedulerPodHealthyCondition,
		controlplanev1.KubeadmControlPlaneMachineEtcdPodHealthyCondition,
		controlplanev1.KubeadmControlPlaneMachineEtcdMemberHealthyCondition,
		controlplanev1.KubeadmControlPlaneMachineNodeKubeadmLabelsAndTaintsSetCondition,
	} {
		if !conditions.IsTrue(machine, kind) {
			bad = append(bad, kind+": "+conditions.GetMessage(machine, kind))
		}
	}
	return bad
}

func TestControlPlaneProviderSeesAHealthyClusterAndScalesItDown(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	first := l.init()
	second, third := l.join("cp-2", true), l.join("cp-3", true)
	ctx := t.Context()

	view, cluster := l.workload(first)
	state := controlPlane(cluster, first, second, third)
	view.UpdateStaticPodConditions(ctx, state)
	view.UpdateEtcdConditions(ctx, state)
	for _, machine := range state.Machines {
		if bad := unhealthy(machine); len(bad) > 0 {
			t.Errorf("machine %s is not healthy: %q", machine.Name, bad)
		}
	}
	if len(state.EtcdMembers) != 3 || !state.EtcdMembersAndMachinesAreMatching || state.EtcdLeader.Name != "cp-1" {
		t.Fatalf("etcd members are %v, leader %v", state.EtcdMembers, state.EtcdLeader)
	}
	for _, vm := range []guest.VM{first, second, third} {
		expiry, err := view.GetAPIServerCertificateExpiry(ctx, &bootstrapv1.KubeadmConfig{}, vm.Name)
		if err != nil || time.Until(*expiry) < 300*24*time.Hour {
			t.Errorf("certificate of %s: %v, %v", vm.Name, expiry, err)
		}
	}

	// Scale down: leadership, then the member, then the machine.
	if err := view.ForwardEtcdLeadership(ctx, "cp-1", "cp-2"); err != nil {
		t.Fatal(err)
	}
	view, _ = l.workload(second)
	if err := view.RemoveEtcdMember(ctx, state.EtcdLeader, state.Nodes); err != nil {
		t.Fatal(err)
	}
	l.destroy(first)
	left := controlPlane(cluster, second, third)
	view.UpdateStaticPodConditions(ctx, left)
	view.UpdateEtcdConditions(ctx, left)
	if len(left.EtcdMembers) != 2 || left.EtcdLeader.Name != "cp-2" {
		t.Errorf("members after the scale-down are %v, leader %v", left.EtcdMembers, left.EtcdLeader)
	}
	for _, machine := range left.Machines {
		if bad := unhealthy(machine); len(bad) > 0 {
			t.Errorf("machine %s is not healthy after the scale-down: %q", machine.Name, bad)
		}
	}
}

func TestControlPlaneProviderSeesAMachineThatIsOff(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	first := l.init()
	second, third := l.join("cp-2", true), l.join("cp-3", true)
	l.powerOff(third)
	l.nodeBecomes("cp-3", corev1.ConditionUnknown)
	view, cluster := l.workload(first)
	state := controlPlane(cluster, first, second, third)
	view.UpdateStaticPodConditions(t.Context(), state)
	view.UpdateEtcdConditions(t.Context(), state)
	for _, machine := range state.Machines {
		pod := conditions.IsTrue(machine, controlplanev1.KubeadmControlPlaneMachineEtcdPodHealthyCondition)
		if pod != (machine.Name != "cp-3") {
			t.Errorf("the etcd pod of %s is healthy: %v", machine.Name, pod)
		}
	}
	if err := view.RemoveEtcdMember(t.Context(), state.EtcdMembers[2], state.Nodes); err != nil {
		t.Errorf("the member of a dead machine is not removed: %v", err)
	}
}

func TestControlPlaneProviderUpgradesWhatKubeadmLeft(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	first := l.init()
	ctx := t.Context()
	view, _ := l.workload(first)
	if found, err := view.HasKubeadmConfig(ctx); err != nil || !found {
		t.Errorf("kubeadm-config is found: %v, %v", found, err)
	}
	version := semver.MustParse("1.36.4")
	if err := view.EnsureKubeadmPermissions(ctx, version); err != nil {
		t.Error(err)
	}
	err := view.UpdateClusterConfiguration(ctx, version, view.UpdateAPIServerInKubeadmConfigMap(bootstrapv1.APIServer{CertSANs: []string{"upgraded.example.com"}}))
	if err != nil {
		t.Error(err)
	}
	plane := &controlplanev1.KubeadmControlPlane{Spec: controlplanev1.KubeadmControlPlaneSpec{
		Version: "v1.36.4",
		KubeadmConfigSpec: bootstrapv1.KubeadmConfigSpec{ClusterConfiguration: bootstrapv1.ClusterConfiguration{
			ImageRepository: "registry.example.com", DNS: bootstrapv1.DNS{ImageTag: "v1.14.2"},
		}},
	}}
	if err := view.UpdateKubeProxyImageInfo(ctx, plane); err != nil {
		t.Error(err)
	}
	if err := view.UpdateCoreDNS(ctx, plane); err != nil {
		t.Error(err)
	}
	proxy, err := l.client(first.Address).AppsV1().DaemonSets("kube-system").Get(ctx, "kube-proxy", metav1.GetOptions{})
	if err != nil || proxy.Spec.Template.Spec.Containers[0].Image != "registry.example.com/kube-proxy:v1.36.4" || proxy.Status.ObservedGeneration != proxy.Generation {
		t.Errorf("kube-proxy after the upgrade: %v, %v", proxy, err)
	}
	// A control plane that joins now follows the changed configuration.
	second := l.join("cp-2", true)
	pod, err := l.client(second.Address).CoreV1().Pods("kube-system").Get(ctx, "kube-apiserver-cp-2", metav1.GetOptions{})
	if err != nil || pod.Spec.Containers[0].Image != "registry.k8s.io/kube-apiserver:v1.36.4" {
		t.Errorf("the API server of the new control plane: %v, %v", pod, err)
	}
}

// Seeds come from the bootstrap provider's own templates here, with RSA keys
// from its own generator, as in a cluster that people make.
func TestSeedsOfTheBootstrapProviderMakeACluster(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	all := secret.NewCertificatesForInitialControlPlane(&bootstrapv1.ClusterConfiguration{})
	if err := all.Generate(); err != nil {
		t.Fatal(err)
	}
	l.ca = rsaAuthority(t, all.GetByPurpose(secret.ClusterCA))
	registration := "nodeRegistration:\n  name: '{{ ds.meta_data.local_hostname }}'\n  taints: null\n  kubeletExtraArgs:\n  - name: provider-id\n    value: '{{ ds.meta_data.provider_id }}'\n"
	seed, err := cloudinit.NewInitControlPlane(&cloudinit.ControlPlaneInput{
		Certificates:         all,
		ClusterConfiguration: "apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\ncontrolPlaneEndpoint: " + l.endpoint() + "\n",
		InitConfiguration:    "apiVersion: kubeadm.k8s.io/v1beta4\nkind: InitConfiguration\n" + registration,
	})
	if err != nil {
		t.Fatal(err)
	}
	vm := l.machine("cp-1")
	vm.Address, vm.UserData = l.first, seed
	l.boot(vm)
	l.eventually("the API answers", func() error {
		_, err := l.client(l.first).Discovery().ServerVersion()
		return err
	})
	l.token = l.newToken(time.Hour)
	join := "apiVersion: kubeadm.k8s.io/v1beta4\nkind: JoinConfiguration\ndiscovery:\n  bootstrapToken:\n    apiServerEndpoint: " + l.endpoint() +
		"\n    caCertHashes: [\"" + l.ca.pin() + "\"]\n    token: " + l.token + "\n"
	worker, second := l.machine("worker-1"), l.machine("cp-2")
	if worker.UserData, err = cloudinit.NewNode(&cloudinit.NodeInput{JoinConfiguration: join + registration}); err != nil {
		t.Fatal(err)
	}
	if second.UserData, err = cloudinit.NewJoinControlPlane(&cloudinit.ControlPlaneJoinInput{
		Certificates: all, JoinConfiguration: join + "controlPlane: {localAPIEndpoint: {}}\n" + registration,
	}); err != nil {
		t.Fatal(err)
	}
	l.boot(worker)
	l.boot(second)
	for _, name := range []string{"cp-1", "worker-1", "cp-2"} {
		if node := l.nodeBecomes(name, corev1.ConditionTrue); node.Spec.ProviderID != "elemento://here/"+name {
			t.Errorf("node %s has the provider ID %q", name, node.Spec.ProviderID)
		}
	}
}

func rsaAuthority(t *testing.T, generated *secret.Certificate) *authority {
	t.Helper()
	certificate, err := certs.DecodeCertPEM(generated.KeyPair.Cert)
	if err != nil {
		t.Fatal(err)
	}
	key, err := certs.DecodePrivateKeyPEM(generated.KeyPair.Key)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{certificate, key}
}
