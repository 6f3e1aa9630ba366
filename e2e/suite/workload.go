package suite

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
)

// What suites ask of a cluster that is there, and when it has come true. All of it
// is for where the management plane may be away: an error says that it may be asked
// again, and asking twice is asking once.

// Networks is how many clusters have a network of their own; see [Site.Network].
const Networks = 16

// Network are the values for the template that put a cluster into the n-th network
// of 256 addresses, from 0 to [Networks] - 1, of the range that guests here may
// have. Its last address is for a virtual IP, where the flavor has one.
func (s *Site) Network(n int) map[string]string { return network(s.World.GuestNetwork(), n) }

func network(guests string, n int) map[string]string {
	address := netip.MustParsePrefix(guests).Addr().As4()
	address[2] += byte(n)
	cidr := netip.PrefixFrom(netip.AddrFrom4(address), 24)
	address[3] = 254
	return map[string]string{
		"ELEMENTO_NETWORK_CIDR":       cidr.String(),
		"CONTROL_PLANE_ENDPOINT_HOST": netip.AddrFrom4(address).String(),
	}
}

// Has holds when the cluster has so many workers and its control planes, all Ready
// and none being deleted.
func (c *Cluster) Has(workers int) func(context.Context) error {
	return func(ctx context.Context) error {
		machines, err := c.ListMachines(ctx, c.Site.Admin)
		if err != nil {
			return err
		}
		if missing := machines.Missing(c.ControlPlanes, workers); missing != "" {
			return errors.New(missing)
		}
		return nil
	}
}

// workers is the name of what the shipped templates make workers of: of the
// MachineDeployment, its template and its health check.
func (c *Cluster) workers() client.ObjectKey {
	return client.ObjectKey{Namespace: c.Key.Namespace, Name: c.Key.Name + "-md-0"}
}

// Deployment is the MachineDeployment of the cluster's workers.
func (c *Cluster) Deployment(ctx context.Context) (*clusterv1.MachineDeployment, error) {
	md := &clusterv1.MachineDeployment{}
	return md, c.Site.Admin.Get(ctx, c.workers(), md)
}

// ChangeHealthCheck changes the health check of the cluster's workers.
func (c *Cluster) ChangeHealthCheck(ctx context.Context, edit func(*clusterv1.MachineHealthCheckSpec)) error {
	check := &clusterv1.MachineHealthCheck{}
	if err := c.Site.Admin.Get(ctx, c.workers(), check); err != nil {
		return err
	}
	patch := client.MergeFrom(check.DeepCopy())
	edit(&check.Spec)
	return c.Site.Admin.Patch(ctx, check, patch)
}

// change changes the MachineDeployment of the cluster's workers.
func (c *Cluster) change(ctx context.Context, edit func(*clusterv1.MachineDeploymentSpec)) error {
	md, err := c.Deployment(ctx)
	if err != nil {
		return err
	}
	patch := client.MergeFrom(md.DeepCopy())
	edit(&md.Spec)
	return c.Site.Admin.Patch(ctx, md, patch)
}

// Scale asks for so many workers.
func (c *Cluster) Scale(ctx context.Context, workers int) error {
	return c.change(ctx, func(md *clusterv1.MachineDeploymentSpec) { md.Replicas = ptr.To(int32(workers)) })
}

// Roll asks for all workers anew, each with so much more memory than the cluster
// was made with; with none they are as then.
func (c *Cluster) Roll(ctx context.Context, memoryMiB int64) error {
	name := c.workers()
	if memoryMiB > 0 {
		var err error
		if name, err = c.larger(ctx, memoryMiB); err != nil {
			return err
		}
	}
	return c.change(ctx, func(md *clusterv1.MachineDeploymentSpec) { md.Template.Spec.InfrastructureRef.Name = name.Name })
}

// larger makes a template like that of the workers, with so much more memory.
func (c *Cluster) larger(ctx context.Context, memoryMiB int64) (client.ObjectKey, error) {
	template := &infrav1.ElementoMachineTemplate{}
	if err := c.Site.Admin.Get(ctx, c.workers(), template); err != nil {
		return client.ObjectKey{}, err
	}
	next := &infrav1.ElementoMachineTemplate{
		ObjectMeta: metav1.ObjectMeta{Namespace: template.Namespace, Name: fmt.Sprintf("%s-%d-more", template.Name, memoryMiB), Labels: template.Labels},
		Spec:       *template.Spec.DeepCopy(),
	}
	next.Spec.Template.Spec.MemoryMiB += memoryMiB
	if err := c.Site.Admin.Create(ctx, next); err != nil && !apierrors.IsAlreadyExists(err) {
		return client.ObjectKey{}, err
	}
	return client.ObjectKeyFromObject(next), nil
}

// AskDeletion asks for the end of the cluster. What it was made from goes with it,
// but for what it may share with others: classes and their templates, for which
// there is [Cluster.Delete].
func (c *Cluster) AskDeletion(ctx context.Context) error {
	return client.IgnoreNotFound(c.Site.Admin.Delete(ctx, &clusterv1.Cluster{ObjectMeta: metav1.ObjectMeta{Namespace: c.Key.Namespace, Name: c.Key.Name}}))
}

// Gone holds when the cluster is.
func (c *Cluster) Gone(ctx context.Context) error {
	err := c.Site.Admin.Get(ctx, c.Key, &clusterv1.Cluster{})
	if err == nil {
		return fmt.Errorf("Cluster %s is still there", c.Key.Name)
	}
	return client.IgnoreNotFound(err)
}
