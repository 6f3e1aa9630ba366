package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemento.cloud/cluster-api-provider-elemento/e2e/suite"
	"elemento.cloud/cluster-api-provider-elemento/e2e/world"
	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
)

// cluster is what the Machines belong to. It has no control plane: nothing of a
// guest is looked at but that it boots, so that its Machines have bootstrap data
// of our own and never a Node.
type cluster struct {
	site *suite.Site
	key  client.ObjectKey
}

func newCluster(site *suite.Site, namespace string) *cluster {
	return &cluster{site: site, key: client.ObjectKey{Namespace: namespace, Name: "iterations"}}
}

// create makes it, and waits until its Machines may have VMs.
func (c *cluster) create(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, deadlines[create])
	defer cancel()
	meta := metav1.ObjectMeta{Namespace: c.key.Namespace, Name: c.key.Name}
	objects := []client.Object{
		&infrav1.ElementoCluster{ObjectMeta: meta, Spec: infrav1.ElementoClusterSpec{
			Network:              infrav1.ClusterNetwork{Managed: infrav1.ManagedNetwork{CIDR: c.site.World.GuestNetwork(), Mode: infrav1.NetworkModeBridged}},
			EndpointMode:         infrav1.EndpointModeExternal,
			ControlPlaneEndpoint: infrav1.APIEndpoint{Host: "192.0.2.1", Port: 6443}, // nobody asks it
		}},
		&clusterv1.Cluster{ObjectMeta: meta, Spec: clusterv1.ClusterSpec{
			InfrastructureRef: clusterv1.ContractVersionedObjectReference{APIGroup: infrav1.GroupVersion.Group, Kind: "ElementoCluster", Name: c.key.Name},
		}},
	}
	for _, o := range objects {
		if err := c.site.Admin.Create(ctx, o); err != nil {
			return err
		}
	}
	return until(ctx, func(ctx context.Context) error {
		var cluster clusterv1.Cluster
		if err := c.site.Admin.Get(ctx, c.key, &cluster); err != nil {
			return err
		}
		if !ptr.Deref(cluster.Status.Initialization.InfrastructureProvisioned, false) {
			return fmt.Errorf("the infrastructure of Cluster %s is not provisioned", c.key.Name)
		}
		return nil
	})
}

// delete deletes it, and waits until it is gone.
func (c *cluster) delete(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, deadlines[remove])
	defer cancel()
	object := &clusterv1.Cluster{ObjectMeta: metav1.ObjectMeta{Namespace: c.key.Namespace, Name: c.key.Name}}
	if err := client.IgnoreNotFound(c.site.Admin.Delete(ctx, object)); err != nil {
		return err
	}
	return until(ctx, func(ctx context.Context) error {
		return gone(ctx, c.site.Admin, c.key, &clusterv1.Cluster{}, &infrav1.ElementoCluster{})
	})
}

// gone is nil when none of the objects is there.
func gone(ctx context.Context, c client.Client, key client.ObjectKey, objects ...client.Object) error {
	for _, o := range objects {
		switch err := c.Get(ctx, key, o); {
		case err == nil:
			return fmt.Errorf("%T %s is still there", o, key.Name)
		case !apierrors.IsNotFound(err):
			return err
		}
	}
	return nil
}

// userData is that of a machine which does nothing.
const userData = "#cloud-config\nruncmd: []\n"

// machine applies a Machine, with bootstrap data and an ElementoMachine.
func (c *cluster) machine(ctx context.Context, name string) error {
	labels := map[string]string{clusterv1.ClusterNameLabel: c.key.Name}
	meta := metav1.ObjectMeta{Namespace: c.key.Namespace, Name: name, Labels: labels}
	data := metav1.ObjectMeta{Namespace: c.key.Namespace, Name: name + "-bootstrap", Labels: labels}
	for _, o := range []client.Object{
		&corev1.Secret{ObjectMeta: data, Type: clusterv1.ClusterSecretType, Data: map[string][]byte{"value": []byte(userData), "format": []byte("cloud-config")}},
		&infrav1.ElementoMachine{ObjectMeta: meta, Spec: infrav1.ElementoMachineSpec{
			Slots: 1, Overprovision: 10, MemoryMiB: 512, Image: world.ImageName(c.site.KubernetesVersion), BootVolume: infrav1.BootVolume{SizeGiB: 10},
		}},
		&clusterv1.Machine{ObjectMeta: meta, Spec: clusterv1.MachineSpec{
			ClusterName:       c.key.Name,
			Bootstrap:         clusterv1.Bootstrap{DataSecretName: &data.Name},
			InfrastructureRef: clusterv1.ContractVersionedObjectReference{APIGroup: infrav1.GroupVersion.Group, Kind: "ElementoMachine", Name: name},
			Deletion:          clusterv1.MachineDeletionSpec{NodeDeletionTimeoutSeconds: ptr.To[int32](1)}, // there is none
		}},
	} {
		if err := c.site.Admin.Create(ctx, o); err != nil {
			return err
		}
	}
	return nil
}

// get returns the ElementoMachine.
func (c *cluster) get(ctx context.Context, name string) (*infrav1.ElementoMachine, error) {
	object := &infrav1.ElementoMachine{}
	return object, c.site.Admin.Get(ctx, client.ObjectKey{Namespace: c.key.Namespace, Name: name}, object)
}

// setPaused has our manager leave an ElementoMachine alone, or not any more, and
// waits until it says so: it would power a VM on that it finds off.
func (c *cluster) setPaused(ctx context.Context, name string, paused bool) error {
	value := "null"
	want := metav1.ConditionFalse
	if paused {
		value, want = `""`, metav1.ConditionTrue
	}
	object := &infrav1.ElementoMachine{ObjectMeta: metav1.ObjectMeta{Namespace: c.key.Namespace, Name: name}}
	patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:%s}}}`, clusterv1.PausedAnnotation, value)
	if err := c.site.Admin.Patch(ctx, object, client.RawPatch("application/merge-patch+json", []byte(patch))); err != nil {
		return err
	}
	return until(ctx, func(ctx context.Context) error {
		object, err := c.get(ctx, name)
		if err != nil {
			return err
		}
		for _, condition := range object.Status.Conditions {
			if condition.Type == infrav1.PausedCondition && condition.Status == want {
				return nil
			}
		}
		return fmt.Errorf("ElementoMachine %s does not say that paused is %s", name, want)
	})
}

// deleteMachine deletes a Machine, and waits until nothing of it is there: neither
// objects, nor anything that is named after its VM on any host.
func (c *cluster) deleteMachine(ctx context.Context, name, vm string) error {
	key := client.ObjectKey{Namespace: c.key.Namespace, Name: name}
	meta := metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}
	if err := client.IgnoreNotFound(c.site.Admin.Delete(ctx, &clusterv1.Machine{ObjectMeta: meta})); err != nil {
		return err
	}
	if err := until(ctx, func(ctx context.Context) error {
		return gone(ctx, c.site.Admin, key, &clusterv1.Machine{}, &infrav1.ElementoMachine{})
	}); err != nil {
		return err
	}
	// It has said so; nothing may be left, and that is not waited for.
	if left, err := c.left(ctx, vm); err != nil || len(left) > 0 {
		return &lost{fmt.Errorf("the Machine is gone; on AtomOS there is %q (%w)", left, err)}
	}
	meta.Name += "-bootstrap"
	return client.IgnoreNotFound(c.site.Admin.Delete(ctx, &corev1.Secret{ObjectMeta: meta}))
}

// left is what a host holds of a VM.
func (c *cluster) left(ctx context.Context, vm string) (left []string, err error) {
	if vm == "" {
		return nil, nil
	}
	all, err := c.site.Fake.Inventory(ctx)
	for _, h := range all.Hosts {
		for _, v := range h.VMs {
			if v.Name == vm {
				left = append(left, "VM "+v.Name+" on "+h.Name)
			}
		}
		for _, v := range h.Volumes {
			if strings.HasPrefix(v.Name, vm+"-") {
				left = append(left, "volume "+v.Name+" on "+h.Name)
			}
		}
	}
	return left, err
}

// sight is the VM as its host knows it, whatever it tells by C4 meanwhile.
type sight struct {
	running           bool
	booted            time.Time // zero until the guest is up
	volumes, networks int
}

func (c *cluster) see(ctx context.Context, vm string) (sight, error) {
	all, err := c.site.Fake.Inventory(ctx)
	if err != nil {
		return sight{}, err
	}
	switch found := all.VM(vm); len(found) {
	case 1:
		v := found[0]
		return sight{running: !v.RunningSince.IsZero(), booted: v.BootedAt, volumes: len(v.Volumes), networks: len(v.Networks)}, nil
	default:
		return sight{}, &lost{fmt.Errorf("there are %d VMs %s", len(found), vm)}
	}
}
