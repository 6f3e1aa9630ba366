package main

import (
	"context"
	"errors"
	"fmt"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/utils/ptr"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemento.cloud/cluster-api-provider-elemento/e2e/life"
	"elemento.cloud/cluster-api-provider-elemento/e2e/suite"
	"elemento.cloud/cluster-api-provider-elemento/e2e/world"
	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
)

// machines are those of a cluster without a control plane: they have bootstrap data of
// our own and never a Node.
type machines struct {
	site *suite.Site
	key  client.ObjectKey
	// network is that of the cluster on the hosts.
	network string

	lives  *life.Recorder
	cancel context.CancelFunc
	wait   func() error
}

func (b *bench) newMachines(ctx context.Context) *machines {
	GinkgoHelper()
	m := &machines{site: b.site, key: client.ObjectKey{Namespace: b.site.Namespace(ctx, "layers"), Name: "layers"}}
	c, err := dynamic.NewForConfig(b.site.World.Config())
	Expect(err).NotTo(HaveOccurred())
	watching, cancel := context.WithCancel(context.WithoutCancel(ctx))
	m.cancel = cancel
	m.lives, m.wait, err = life.Watch(watching, c, m.key.Namespace)
	if err != nil {
		cancel()
	}
	Expect(err).NotTo(HaveOccurred())
	return m
}

// create makes the cluster, and waits until its Machines may have VMs.
func (m *machines) create(ctx context.Context) {
	GinkgoHelper()
	meta := metav1.ObjectMeta{Namespace: m.key.Namespace, Name: m.key.Name}
	infrastructure := &infrav1.ElementoCluster{ObjectMeta: meta, Spec: infrav1.ElementoClusterSpec{
		Network:              infrav1.ClusterNetwork{Managed: infrav1.ManagedNetwork{CIDR: m.site.World.GuestNetwork(), Mode: infrav1.NetworkModeBridged}},
		EndpointMode:         infrav1.EndpointModeExternal,
		ControlPlaneEndpoint: infrav1.APIEndpoint{Host: "192.0.2.1", Port: 6443}, // nobody asks it
	}}
	Expect(m.site.Admin.Create(ctx, infrastructure)).To(Succeed())
	Expect(m.site.Admin.Create(ctx, &clusterv1.Cluster{ObjectMeta: meta, Spec: clusterv1.ClusterSpec{
		InfrastructureRef: clusterv1.ContractVersionedObjectReference{APIGroup: infrav1.GroupVersion.Group, Kind: "ElementoCluster", Name: m.key.Name},
	}})).To(Succeed())
	Eventually(func(g Gomega) {
		cluster := &clusterv1.Cluster{}
		g.Expect(m.site.Admin.Get(ctx, m.key, cluster)).To(Succeed())
		g.Expect(ptr.Deref(cluster.Status.Initialization.InfrastructureProvisioned, false)).To(BeTrue(), "the infrastructure is not provisioned")
	}, suite.Long, suite.Often).WithContext(ctx).Should(Succeed())
	Expect(m.site.Admin.Get(ctx, m.key, infrastructure)).To(Succeed())
	m.network = infrastructure.Spec.Network.Name
}

// end deletes the cluster with what is left of its Machines, and waits until it is gone.
func (m *machines) end(ctx context.Context) error {
	m.cancel()
	in := client.InNamespace(m.key.Namespace)
	left := &clusterv1.MachineList{}
	errs := []error{m.wait(), m.site.Admin.List(ctx, left, in)}
	for _, machine := range left.Items {
		// Cluster API deletes none that it is to leave alone.
		patch := client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"metadata":{"annotations":{%q:null}}}`, clusterv1.PausedAnnotation))
		errs = append(errs, client.IgnoreNotFound(m.site.Admin.Patch(ctx, &machine, patch)))
	}
	cluster := &clusterv1.Cluster{ObjectMeta: metav1.ObjectMeta{Namespace: m.key.Namespace, Name: m.key.Name}}
	errs = append(errs, client.IgnoreNotFound(m.site.Admin.Delete(ctx, cluster)))
	Eventually(func() error {
		return m.site.Admin.Get(ctx, m.key, &infrav1.ElementoCluster{})
	}, suite.Long, suite.Often).WithContext(ctx).Should(MatchError(apierrors.IsNotFound, "IsNotFound"), "the cluster is still there")
	return errors.Join(append(errs, m.site.Admin.DeleteAllOf(ctx, &corev1.Secret{}, in))...)
}

// objects are a Machine, its bootstrap data and its ElementoMachine.
func (m *machines) objects(name string) (*clusterv1.Machine, *corev1.Secret, *infrav1.ElementoMachine) {
	labels := map[string]string{clusterv1.ClusterNameLabel: m.key.Name}
	meta := metav1.ObjectMeta{Namespace: m.key.Namespace, Name: name, Labels: labels}
	data := metav1.ObjectMeta{Namespace: m.key.Namespace, Name: name + "-bootstrap", Labels: labels}
	return &clusterv1.Machine{ObjectMeta: meta, Spec: clusterv1.MachineSpec{
			ClusterName:       m.key.Name,
			Bootstrap:         clusterv1.Bootstrap{DataSecretName: &data.Name},
			InfrastructureRef: clusterv1.ContractVersionedObjectReference{APIGroup: infrav1.GroupVersion.Group, Kind: "ElementoMachine", Name: name},
			Deletion:          clusterv1.MachineDeletionSpec{NodeDeletionTimeoutSeconds: ptr.To[int32](1)}, // there is none
		}},
		&corev1.Secret{ObjectMeta: data, Type: clusterv1.ClusterSecretType, Data: map[string][]byte{"value": []byte(userData), "format": []byte("cloud-config")}},
		&infrav1.ElementoMachine{ObjectMeta: meta, Spec: infrav1.ElementoMachineSpec{
			Slots: vmSlots, Overprovision: vmShared, MemoryMiB: vmMemoryMiB, Image: world.ImageName(m.site.KubernetesVersion),
			BootVolume: infrav1.BootVolume{SizeGiB: vmDiskGiB},
		}}
}

// reached waits until the watch has shown that an ElementoMachine has come to a stage.
func (m *machines) reached(ctx context.Context, name string, stage life.Stage) error {
	if err := m.lives.Await(ctx, name, stage); err != nil {
		return fmt.Errorf("ElementoMachine %s: waiting for %q: %w", name, stage, err)
	}
	return nil
}

// throughManager makes VMs by ElementoMachines, whose Machines Cluster API leaves alone.
type throughManager struct{ *machines }

func (t *throughManager) make(ctx context.Context, name string) error {
	machine, data, vm := t.objects(name)
	machine.Annotations = map[string]string{clusterv1.PausedAnnotation: ""}
	if err := t.site.Admin.Create(ctx, machine); err != nil {
		return err
	}
	vm.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(machine, clusterv1.GroupVersion.WithKind("Machine"))}
	for _, o := range []client.Object{data, vm} {
		if err := t.site.Admin.Create(ctx, o); err != nil {
			return err
		}
	}
	return t.reached(ctx, name, life.Provisioned)
}

func (t *throughManager) remove(ctx context.Context, name string) error {
	_, _, vm := t.objects(name)
	if err := t.site.Admin.Delete(ctx, vm); err != nil {
		return err
	}
	return t.reached(ctx, name, life.Gone)
}

// throughClusterAPI makes VMs by Machines.
type throughClusterAPI struct{ *machines }

func (t *throughClusterAPI) make(ctx context.Context, name string) error {
	machine, data, vm := t.objects(name)
	for _, o := range []client.Object{data, vm, machine} {
		if err := t.site.Admin.Create(ctx, o); err != nil {
			return err
		}
	}
	return t.reached(ctx, name, life.Provisioned)
}

func (t *throughClusterAPI) remove(ctx context.Context, name string) error {
	machine, _, _ := t.objects(name)
	if err := t.site.Admin.Delete(ctx, machine); err != nil {
		return err
	}
	return t.reached(ctx, name, life.Gone)
}
