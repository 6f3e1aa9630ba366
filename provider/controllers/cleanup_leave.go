package controllers

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	clusterctlv1 "sigs.k8s.io/cluster-api/cmd/clusterctl/api/v1alpha3"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
	"elemento.cloud/cluster-api-provider-elemento/provider/fleet"
)

// LeftBehindReason is that of the event which says that an ElementoCleanup takes
// something over.
const LeftBehindReason = "LeftBehind"

// Cleanups makes ElementoCleanups and keeps their identities.
type Cleanups struct {
	Client client.Client
	// Live reads from the API server itself.
	Live client.Reader

	// mu lets one at a time begin or end to keep an identity: of two that end at
	// once each would see the other and leave the identity to it.
	mu sync.Mutex
}

// leave writes down what is left. When it returns without a problem, the record
// is stored and its identity kept; doing it twice is doing it once.
func (c *Cleanups) leave(ctx context.Context, cleanup *infrav1.ElementoCleanup) (*problem, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := c.Client.Create(ctx, cleanup)
	if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return &problem{
			reason: infrav1.WaitingForHostDeletionReason, again: identityAgain,
			message: fmt.Sprintf("Host %s cannot be asked, and namespace %s is being deleted, so that no ElementoCleanup can be made; bring the host back, or remove the finalizer and then by hand what the host has", cleanup.Spec.Host, cleanup.Namespace),
		}, nil
	}
	if apierrors.IsAlreadyExists(err) { // maybe with another identity
		err = c.Live.Get(ctx, client.ObjectKeyFromObject(cleanup), cleanup)
		if apierrors.IsNotFound(err) { // it was done in between, and is to be made again
			err = apierrors.NewConflict(infrav1.GroupVersion.WithResource("elementocleanups").GroupResource(), cleanup.Name, err)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("making ElementoCleanup %s: %w", client.ObjectKeyFromObject(cleanup), err)
	}
	return nil, c.hold(ctx, cleanup)
}

// movedForCleanup is the value of the label by which clusterctl moves a Secret, if
// it has the label from us.
const movedForCleanup = "elementocleanup"

// hold keeps the Secret that a cleanup names, and has clusterctl move it along. One
// that is gone, or about to be without us, cannot be kept.
func (c *Cleanups) hold(ctx context.Context, cleanup *infrav1.ElementoCleanup) error {
	return c.editIdentity(ctx, cleanup, func(secret *corev1.Secret) bool {
		if !secret.DeletionTimestamp.IsZero() || isMovedAway(secret) {
			return false
		}
		_, moves := secret.Labels[clusterctlv1.ClusterctlMoveLabel]
		if !moves {
			metav1.SetMetaDataLabel(&secret.ObjectMeta, clusterctlv1.ClusterctlMoveLabel, movedForCleanup)
		}
		return controllerutil.AddFinalizer(secret, infrav1.IdentityFinalizer) || !moves
	})
}

// letGo ends that, if no other cleanup names the Secret. The caller holds mu until
// the cleanup's own finalizer is gone.
func (c *Cleanups) letGo(ctx context.Context, cleanup *infrav1.ElementoCleanup) error {
	all := &infrav1.ElementoCleanupList{}
	if err := c.Live.List(ctx, all, client.InNamespace(cleanup.Namespace)); err != nil {
		return err
	}
	for _, other := range all.Items {
		if other.Spec.IdentityRef == cleanup.Spec.IdentityRef && other.UID != cleanup.UID {
			return nil
		}
	}
	return c.editIdentity(ctx, cleanup, func(secret *corev1.Secret) bool {
		ours := secret.Labels[clusterctlv1.ClusterctlMoveLabel] == movedForCleanup
		if ours {
			delete(secret.Labels, clusterctlv1.ClusterctlMoveLabel)
		}
		return controllerutil.RemoveFinalizer(secret, infrav1.IdentityFinalizer) || ours
	})
}

// editIdentity changes the metadata of the Secret that a cleanup names, if it
// names one and change says that there is something to change.
func (c *Cleanups) editIdentity(ctx context.Context, cleanup *infrav1.ElementoCleanup, change func(*corev1.Secret) bool) error {
	name := cleanup.Spec.IdentityRef.Name
	if name == "" {
		return nil // the manager's own, which goes with the manager
	}
	secret := &corev1.Secret{}
	if err := c.Live.Get(ctx, client.ObjectKey{Namespace: cleanup.Namespace, Name: name}, secret); err != nil {
		return client.IgnoreNotFound(err)
	}
	changed := secret.DeepCopy()
	if !change(changed) {
		return nil
	}
	err := c.Client.Patch(ctx, changed, client.MergeFromWithOptions(secret, client.MergeFromWithOptimisticLock{}))
	return client.IgnoreNotFound(err)
}

// isMovedAway tells that clusterctl has made the object on another management
// cluster, and is about to delete this one.
func isMovedAway(object client.Object) bool {
	_, moved := object.GetAnnotations()[clusterctlv1.DeleteForMoveAnnotation]
	return moved
}

// newCleanup completes a cleanup: its name says what it is about, and for nothing
// is there more than one.
func newCleanup(owner client.Object, cluster *infrav1.ElementoCluster, member *fleet.Member, spec infrav1.ElementoCleanupSpec) *infrav1.ElementoCleanup {
	spec.IdentityRef, spec.ClientUID = cluster.Spec.IdentityRef, member.ClientUID()
	spec.Domain = cmp.Or(member.Look(spec.Host, "").Host.GetDomain(), spec.Domain)
	spec.Owner.Name, spec.Owner.ClusterName = owner.GetName(), owner.GetLabels()[clusterv1.ClusterNameLabel]
	labels := maps.Clone(owner.GetLabels())
	maps.DeleteFunc(labels, func(key, _ string) bool {
		return !slices.Contains([]string{clusterv1.ClusterNameLabel, clusterv1.WatchLabel}, key)
	})
	stem := cmp.Or(spec.VMName, "network")
	if spec.ForwardPort != 0 {
		stem = fmt.Sprintf("port-%d", spec.ForwardPort)
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %q %d", spec.ClientUID, spec.Host, spec.VMName, spec.NetworkName, spec.ForwardPort))
	return &infrav1.ElementoCleanup{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: owner.GetNamespace(), Name: fmt.Sprintf("%s-%x", stem, sum[:5]),
			Labels: labels, Finalizers: []string{infrav1.CleanupFinalizer},
		},
		Spec: spec,
	}
}

// leftVM is about the VM that may be on the machine's host.
func leftVM(m *infrav1.ElementoMachine, cluster *infrav1.ElementoCluster, member *fleet.Member, why string) *infrav1.ElementoCleanup {
	return newCleanup(m, cluster, member, infrav1.ElementoCleanupSpec{
		Host: m.Spec.Host, Domain: m.Spec.Domain, VMName: m.Spec.VMName,
		Owner: infrav1.CleanupOwner{Kind: "ElementoMachine"}, Message: why,
	})
}

// leftVMs are the VMs of a cluster that cleanups are about.
func leftVMs(ctx context.Context, c client.Reader, namespace, cluster string) (names []string, err error) {
	cleanups := &infrav1.ElementoCleanupList{}
	err = c.List(ctx, cleanups, client.InNamespace(namespace))
	for _, c := range cleanups.Items {
		if c.Spec.VMName != "" && c.Spec.Owner.ClusterName == cluster {
			names = append(names, c.Spec.VMName)
		}
	}
	return names, err
}

// leftForward is about the cluster's forward.
func leftForward(c *infrav1.ElementoCluster, member *fleet.Member) *infrav1.ElementoCleanup {
	return newCleanup(c, c, member, infrav1.ElementoCleanupSpec{
		Host: c.Spec.EndpointHost, ForwardPort: c.Spec.ControlPlaneEndpoint.Port,
		Owner: infrav1.CleanupOwner{Kind: "ElementoCluster"}, Message: "The cluster was deleted while the host did not answer",
	})
}

// leftNetworks are about the cluster's managed network, one for each host.
func leftNetworks(c *infrav1.ElementoCluster, member *fleet.Member, hosts []string) (cleanups []*infrav1.ElementoCleanup) {
	for _, host := range hosts {
		cleanups = append(cleanups, newCleanup(c, c, member, infrav1.ElementoCleanupSpec{
			Host: host, NetworkName: c.Spec.Network.Name,
			Owner: infrav1.CleanupOwner{Kind: "ElementoCluster"}, Message: "The cluster was deleted while the host did not answer",
		}))
	}
	return cleanups
}
