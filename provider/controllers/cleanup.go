package controllers

import (
	"context"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	kerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/cluster-api/util/conditions"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"elemento.cloud/cluster-api-provider-elemento/daemon/rpc"
	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
	"elemento.cloud/cluster-api-provider-elemento/provider/fleet"
)

// +kubebuilder:rbac:groups=infrastructure.cluster.x-k8s.io,resources=elementocleanups,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=infrastructure.cluster.x-k8s.io,resources=elementocleanups/status,verbs=get;patch
// +kubebuilder:rbac:groups=infrastructure.cluster.x-k8s.io,resources=elementomachines;elementoclusters,verbs=get;list;watch
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get;patch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// CleanupReconciler works off what was left on a host that could not be asked, once
// it can: it proves the VM, network or forward gone, and then the cleanup goes.
type CleanupReconciler struct {
	Client client.Client
	// Live reads from the API server itself: whether what is about to be removed
	// belongs to somebody must not be an old answer.
	Live        client.Reader
	Fleet       *fleet.Fleet
	Identities  *Identities
	Cleanups    *Cleanups
	Events      events.EventRecorder
	WatchFilter string

	store store[*infrav1.ElementoCleanup]
}

// cleanupScope is one reconcile of an ElementoCleanup.
type cleanupScope struct {
	object, stored *infrav1.ElementoCleanup
	member         *fleet.Member
	gone           bool
}

// cleanupConditions are the steps of a cleanup, in order.
var cleanupConditions = []initial{
	{infrav1.IdentityAvailableCondition, infrav1.NotObservedReason},
	{infrav1.HostAvailableCondition, infrav1.WaitingForIdentityReason},
	{infrav1.RemovedCondition, infrav1.WaitingForHostReason},
}

func cleanupUser(key client.ObjectKey) fleet.User {
	return fleet.User{Kind: "ElementoCleanup", NamespacedName: key}
}

// Reconcile takes one ElementoCleanup as far as it gets. One that somebody deletes
// is worked off all the same.
func (r *CleanupReconciler) Reconcile(ctx context.Context, request ctrl.Request) (result ctrl.Result, reterr error) {
	defer func() { result, reterr = settle(ctx, request.Name, result, reterr) }()

	object := &infrav1.ElementoCleanup{}
	if found, current, err := r.store.get(ctx, r.Client, request.NamespacedName, object); err != nil {
		return ctrl.Result{}, err
	} else if !found || isMovedAway(object) {
		r.Fleet.Leave(cleanupUser(request.NamespacedName))
		return ctrl.Result{}, nil
	} else if !current {
		return ctrl.Result{RequeueAfter: conflictDelay}, nil
	}
	s := &cleanupScope{object: object, stored: object.DeepCopy()}
	before := conditions.Get(object, infrav1.ReadyCondition).DeepCopy() // it is changed in place
	defer func() {
		if s.gone {
			return
		}
		if err := r.store.save(ctx, r.Client, s.stored, object); err != nil {
			reterr = kerrors.NewAggregate([]error{reterr, err})
			return
		}
		tell(ctx, r.Events, object, before)
	}()
	if isPaused(nil, object) {
		return ctrl.Result{}, nil
	}
	defer func() { summarize(object, cleanupConditions, false) }()

	return run(ctx, s, r.claim, r.connect, r.awaitHost, r.awaitOwner, r.remove, r.finish)
}

// claim sees to it that the cleanup and its identity stay until it is done.
func (r *CleanupReconciler) claim(ctx context.Context, s *cleanupScope) (*ctrl.Result, error) {
	if s.object.DeletionTimestamp.IsZero() && !controllerutil.ContainsFinalizer(s.object, infrav1.CleanupFinalizer) {
		stored, err := r.store.persist(ctx, r.Client, s.object, func(c *infrav1.ElementoCleanup) {
			controllerutil.AddFinalizer(c, infrav1.CleanupFinalizer)
		})
		if err != nil {
			return nil, err
		}
		s.object.ObjectMeta, s.stored = stored.ObjectMeta, stored
	}
	return nil, r.Cleanups.hold(ctx, s.object)
}

// connect finds the daemons, if they act for the client that owns what is left.
func (r *CleanupReconciler) connect(ctx context.Context, s *cleanupScope) (*ctrl.Result, error) {
	spec := &s.object.Spec
	member, wrong, err := r.Identities.member(ctx, cleanupUser(client.ObjectKeyFromObject(s.object)), spec.IdentityRef, spec.ClientUID, true)
	if err != nil {
		return nil, err
	}
	if wrong != nil {
		setProblem(s.object, infrav1.IdentityAvailableCondition, *wrong)
		return stop(wrong.again), nil
	}
	s.member = member
	setTrue(s.object, infrav1.IdentityAvailableCondition, infrav1.AvailableReason, "")
	return nil, nil
}

// awaitHost waits until the host answers.
func (r *CleanupReconciler) awaitHost(ctx context.Context, s *cleanupScope) (*ctrl.Result, error) {
	host := s.object.Spec.Host
	s.member.Sync(ctx)
	if !s.member.Connected() {
		setUnknown(s.object, infrav1.HostAvailableCondition, infrav1.DaemonUnreachableReason, "No daemon of the identity is heard")
		return stop(identityAgain), nil
	}
	if isSilent(s.member, host) {
		setUnknown(s.object, infrav1.HostAvailableCondition, infrav1.HostUnreachableReason, "Host "+host+" does not answer")
		return stop(30 * time.Second), nil // its return wakes us
	}
	setTrue(s.object, infrav1.HostAvailableCondition, infrav1.AvailableReason, "")
	return nil, nil
}

// awaitOwner stops what would remove something that belongs to somebody.
func (r *CleanupReconciler) awaitOwner(ctx context.Context, s *cleanupScope) (*ctrl.Result, error) {
	owner, err := r.owner(ctx, s.object)
	if err != nil {
		return nil, err
	}
	if owner != "" {
		setFalse(s.object, infrav1.RemovedCondition, infrav1.OwnerLivesReason, "It belongs to "+owner+", with which it will go")
		return stop(30 * time.Second), nil // that going wakes us
	}
	return nil, nil
}

// owner is the object that what a cleanup is about belongs to, as the API server
// has it now; empty if there is none.
func (r *CleanupReconciler) owner(ctx context.Context, c *infrav1.ElementoCleanup) (string, error) {
	if c.Spec.VMName != "" {
		machines := &infrav1.ElementoMachineList{}
		if err := r.Live.List(ctx, machines, client.InNamespace(c.Namespace)); err != nil {
			return "", err
		}
		// Elsewhere there is none of that name, which holds a UID; look all the same.
		elsewhere := &infrav1.ElementoMachineList{}
		if err := r.Client.List(ctx, elsewhere, client.MatchingFields{vmNameIndex: c.Spec.VMName}); err != nil {
			return "", err
		}
		for _, m := range append(machines.Items, elsewhere.Items...) {
			if m.Spec.VMName == c.Spec.VMName && m.Spec.Host == c.Spec.Host {
				return "ElementoMachine " + client.ObjectKeyFromObject(&m).String(), nil
			}
		}
		return "", nil
	}
	clusters := &infrav1.ElementoClusterList{}
	if err := r.Live.List(ctx, clusters, client.InNamespace(c.Namespace)); err != nil {
		return "", err
	}
	elsewhere := &infrav1.ElementoClusterList{}
	if err := r.Client.List(ctx, elsewhere); err != nil {
		return "", err
	}
	for _, e := range append(clusters.Items, elsewhere.Items...) {
		forward := c.Spec.ForwardPort != 0 && e.Spec.EndpointHost == c.Spec.Host && e.Spec.ControlPlaneEndpoint.Port == c.Spec.ForwardPort
		network := c.Spec.NetworkName != "" && e.Spec.Network.Name == c.Spec.NetworkName && (e.Namespace == c.Namespace || e.Spec.ClientUID == c.Spec.ClientUID)
		if forward || network {
			return "ElementoCluster " + client.ObjectKeyFromObject(&e).String(), nil
		}
	}
	return "", nil
}

// remove takes away what is left and goes on when the host has shown that it is
// gone.
func (r *CleanupReconciler) remove(ctx context.Context, s *cleanupScope) (*ctrl.Result, error) {
	remaining, err := r.takeAway(ctx, s)
	if err != nil && !fromDaemon(err) {
		return nil, err
	}
	if err != nil {
		p := explain(err)
		setProblem(s.object, infrav1.RemovedCondition, p)
		return stop(later(conditions.GetLastTransitionTime(s.object, infrav1.RemovedCondition).Time, p.again)), nil
	}
	if len(remaining) > 0 {
		setFalse(s.object, infrav1.RemovedCondition, infrav1.RemovingReason, "Still there: "+strings.Join(remaining, ", "))
		return stop(later(conditions.GetLastTransitionTime(s.object, infrav1.RemovedCondition).Time, time.Second)), nil
	}
	return nil, nil
}

// takeAway takes the next step and says what remains.
func (r *CleanupReconciler) takeAway(ctx context.Context, s *cleanupScope) (remaining []string, err error) {
	spec := &s.object.Spec
	switch {
	case spec.VMName != "":
		gone, remaining, err := s.member.DeleteVM(ctx, &rpc.DeleteVMRequest{Host: spec.Host, VmName: spec.VMName}) // nobody needs its guest any more
		if err == nil && !gone && len(remaining) == 0 {
			remaining = []string{"VM " + spec.VMName}
		}
		return remaining, err
	case spec.NetworkName != "":
		domain := s.member.Look(spec.Host, "").Host.GetDomain()
		left, err := s.member.DeleteNetwork(ctx, spec.NetworkName, []string{domain})
		if why, is := left[spec.Host]; is {
			remaining = []string{because("network "+spec.NetworkName, why)}
		}
		return remaining, err
	}
	// The cluster has no VM but those that other cleanups are about.
	cluster, err := leftVMs(ctx, r.Live, s.object.Namespace, spec.Owner.ClusterName)
	if err != nil {
		return nil, err
	}
	return nil, s.member.DeleteForward(ctx, &rpc.DeleteForwardRequest{
		Endpoint: &rpc.Endpoint{Host: spec.Host, Port: uint32(spec.ForwardPort)}, ClusterVms: &rpc.ClusterVMs{Names: cluster},
	})
}

// finish lets the identity and the cleanup go. If it ends half way, all is proven
// once more.
func (r *CleanupReconciler) finish(ctx context.Context, s *cleanupScope) (*ctrl.Result, error) {
	r.Cleanups.mu.Lock()
	defer r.Cleanups.mu.Unlock()
	if err := r.Cleanups.letGo(ctx, s.object); err != nil {
		return nil, err
	}
	if !s.object.DeletionTimestamp.IsZero() {
		if err := r.store.release(ctx, r.Client, s.object, infrav1.CleanupFinalizer); err != nil {
			return nil, err
		}
		r.done(s)
		return nil, nil
	}
	stored, err := r.store.persist(ctx, r.Client, s.object, func(c *infrav1.ElementoCleanup) {
		controllerutil.RemoveFinalizer(c, infrav1.CleanupFinalizer)
	})
	if err != nil {
		return nil, err
	}
	r.done(s)
	return nil, client.IgnoreNotFound(r.Client.Delete(ctx, stored, client.Preconditions{UID: &stored.UID}))
}

// done says so, and that nobody acts for the cleanup any more.
func (r *CleanupReconciler) done(s *cleanupScope) {
	s.gone = true
	r.Events.Eventf(s.object, nil, corev1.EventTypeNormal, "CleanedUp", "Remove", "Nothing is left on host %s", s.object.Spec.Host)
	r.Fleet.Leave(cleanupUser(client.ObjectKeyFromObject(s.object)))
}
