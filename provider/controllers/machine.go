package controllers

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	kerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/ptr"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/cluster-api/util"
	"sigs.k8s.io/cluster-api/util/conditions"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemento.cloud/cluster-api-provider-elemento/daemon/rpc"
	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
	"elemento.cloud/cluster-api-provider-elemento/provider/fleet"
)

// +kubebuilder:rbac:groups=infrastructure.cluster.x-k8s.io,resources=elementomachines,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups=infrastructure.cluster.x-k8s.io,resources=elementomachines/status,verbs=get;patch
// +kubebuilder:rbac:groups=infrastructure.cluster.x-k8s.io,resources=elementoclusters,verbs=get;list;watch
// +kubebuilder:rbac:groups=cluster.x-k8s.io,resources=clusters,verbs=get;list;watch
// +kubebuilder:rbac:groups=cluster.x-k8s.io,resources=machines,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups=infrastructure.cluster.x-k8s.io,resources=elementocleanups,verbs=list;create
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get;patch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// MachineReconciler makes a Machine's VM, keeps it running, and proves it gone.
type MachineReconciler struct {
	Client client.Client
	// Live reads from the API server itself what must not be old: bootstrap data,
	// and the machine for which a VM is about to be made.
	Live        client.Reader
	Fleet       *fleet.Fleet
	Identities  *Identities
	Events      events.EventRecorder
	WatchFilter string
	// StopTimeout is how long a guest may take to shut down before its power is cut.
	StopTimeout time.Duration
	// UnreachableGrace is how long a host must not be reachable before a machine that
	// is being deleted leaves its VM to an ElementoCleanup and goes.
	UnreachableGrace time.Duration
	// FencingGrace is how long a host must not be reachable before a machine whose VM
	// was never seen there is placed on another one.
	FencingGrace time.Duration
	Cleanups     *Cleanups

	store   store[*infrav1.ElementoMachine]
	domains domainChoices
	full    fullHosts
}

// machineScope is one reconcile of an ElementoMachine.
type machineScope struct {
	// machine is nil when its object is gone before ours.
	machine        *clusterv1.Machine
	cluster        *clusterv1.Cluster
	infrastructure *infrav1.ElementoCluster
	object, stored *infrav1.ElementoMachine

	member *fleet.Member
	// vm is what the host has; nil if it has none.
	vm        *rpc.VM
	bootstrap []byte
	// gone tells that the object is released, left that a cleanup took over.
	gone, left bool
}

// machineConditions are the steps of a machine, in order.
var machineConditions = []initial{
	{infrav1.IdentityAvailableCondition, infrav1.NotObservedReason},
	{infrav1.BootstrapDataAvailableCondition, infrav1.NotObservedReason},
	{infrav1.HostAssignedCondition, infrav1.WaitingForBootstrapDataReason},
	{infrav1.VMProvisionedCondition, infrav1.WaitingForHostReason},
	{infrav1.VMRunningCondition, infrav1.WaitingForVMReason},
	{infrav1.AddressAvailableCondition, infrav1.WaitingForVMReason},
}

// Reconcile takes one ElementoMachine as far as it gets.
func (r *MachineReconciler) Reconcile(ctx context.Context, request ctrl.Request) (result ctrl.Result, reterr error) {
	defer func() { result, reterr = settle(ctx, request.Name, result, reterr) }()

	object := &infrav1.ElementoMachine{}
	if found, current, err := r.store.get(ctx, r.Client, request.NamespacedName, object); err != nil || !found {
		return ctrl.Result{}, err
	} else if !current {
		return ctrl.Result{RequeueAfter: conflictDelay}, nil
	}
	s := &machineScope{object: object, stored: object.DeepCopy()}
	if err := r.relatives(ctx, s); err != nil {
		return ctrl.Result{}, err
	}
	deleting := !object.DeletionTimestamp.IsZero()
	if s.machine == nil && !deleting {
		return ctrl.Result{}, nil // its Machine will claim it
	}
	before := conditions.Get(object, infrav1.ReadyCondition).DeepCopy() // it is changed in place
	defer func() {
		if s.gone {
			return
		}
		if err := r.store.save(ctx, r.Client, s.stored, object); err != nil {
			reterr = kerrors.NewAggregate([]error{reterr, err})
			return
		}
		observeWay(s.machine, s.stored, object)
		tell(ctx, r.Events, object, before)
	}()
	if isPaused(s.cluster, object) {
		return ctrl.Result{}, nil
	}
	defer func() { summarize(object, machineConditions, deleting) }()

	if deleting {
		return run(ctx, s, r.nothingMade, r.connect, r.lookAtHost, r.remove, r.release)
	}
	return run(ctx, s,
		r.awaitInfrastructure, r.connect, r.takeCharge, r.rememberNode, r.recordDomain,
		r.lookAtHost, r.observe, r.fence,
		r.awaitBootstrapData, r.place, r.confirm, r.create,
		r.withdraw, r.describe)
}

// relatives finds the objects that the machine belongs to. They may be gone
// when it is being deleted.
func (r *MachineReconciler) relatives(ctx context.Context, s *machineScope) (err error) {
	s.machine, err = util.GetOwnerMachine(ctx, r.Client, s.object.ObjectMeta)
	if err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	name, ok := s.object.Labels[clusterv1.ClusterNameLabel]
	if s.machine != nil {
		name, ok = s.machine.Spec.ClusterName, true
	}
	if !ok {
		return nil
	}
	s.cluster, err = util.GetClusterByName(ctx, r.Client, s.object.Namespace, name)
	if apierrors.IsNotFound(err) && !s.object.DeletionTimestamp.IsZero() {
		s.infrastructure, err = bereaved(ctx, r.Client, s.object.Namespace, name)
		return err
	}
	if err != nil {
		return client.IgnoreNotFound(err)
	}
	if !s.cluster.Spec.InfrastructureRef.IsDefined() {
		return nil
	}
	infrastructure := &infrav1.ElementoCluster{}
	if err := r.Client.Get(ctx, client.ObjectKey{Namespace: s.object.Namespace, Name: s.cluster.Spec.InfrastructureRef.Name}, infrastructure); err != nil {
		return client.IgnoreNotFound(err)
	}
	s.infrastructure = infrastructure
	return nil
}

// bereaved is the infrastructure of a Cluster that is gone, by its label; nil if there
// is none. It waits for its machines, and they need the identity that it names.
func bereaved(ctx context.Context, c client.Reader, namespace, cluster string) (*infrav1.ElementoCluster, error) {
	left := &infrav1.ElementoClusterList{}
	if err := c.List(ctx, left, client.InNamespace(namespace), client.MatchingLabels{clusterv1.ClusterNameLabel: cluster}); err != nil || len(left.Items) != 1 {
		return nil, err
	}
	return &left.Items[0], nil
}

// awaitInfrastructure waits until the cluster's domains, network and endpoint
// are settled.
func (r *MachineReconciler) awaitInfrastructure(_ context.Context, s *machineScope) (*ctrl.Result, error) {
	if s.infrastructure != nil && ptr.Deref(s.cluster.Status.Initialization.InfrastructureProvisioned, false) {
		return nil, nil
	}
	setFalse(s.object, infrav1.BootstrapDataAvailableCondition, infrav1.WaitingForClusterInfrastructureReason, "The ElementoCluster is not provisioned")
	return stop(0), nil
}

// connect finds the daemons.
func (r *MachineReconciler) connect(ctx context.Context, s *machineScope) (*ctrl.Result, error) {
	deleting := !s.object.DeletionTimestamp.IsZero()
	wrong := &problem{
		reason: infrav1.IdentityNotFoundReason, again: identityAgain,
		message: "The ElementoCluster, which names the identity, does not exist",
	}
	if s.infrastructure != nil {
		var err error
		spec := &s.infrastructure.Spec
		if s.member, wrong, err = r.Identities.member(ctx, clusterUser(client.ObjectKeyFromObject(s.infrastructure)), spec.IdentityRef, spec.ClientUID, deleting); err != nil {
			return nil, err
		}
	}
	if wrong != nil {
		setFalse(s.object, infrav1.IdentityAvailableCondition, wrong.reason, wrong.message)
		if deleting {
			setTrue(s.object, infrav1.DeletingCondition, wrong.reason, "The VM cannot be removed: "+wrong.message)
		}
		return stop(wrong.again), nil
	}
	setTrue(s.object, infrav1.IdentityAvailableCondition, infrav1.AvailableReason, "")
	return nil, nil
}

// awaitBootstrapData reads what the VM starts with, if there is no VM yet.
func (r *MachineReconciler) awaitBootstrapData(ctx context.Context, s *machineScope) (*ctrl.Result, error) {
	if s.vm != nil {
		setTrue(s.object, infrav1.BootstrapDataAvailableCondition, infrav1.AvailableReason, "")
		return nil, nil
	}
	name := s.machine.Spec.Bootstrap.DataSecretName
	if name == nil {
		setFalse(s.object, infrav1.BootstrapDataAvailableCondition, infrav1.WaitingForBootstrapDataReason, "The bootstrap provider has not written the data yet")
		return stop(0), nil
	}
	secret := &corev1.Secret{}
	if err := r.Live.Get(ctx, client.ObjectKey{Namespace: s.object.Namespace, Name: *name}, secret); err != nil && !apierrors.IsNotFound(err) {
		return nil, err
	}
	if s.bootstrap = secret.Data["value"]; len(s.bootstrap) == 0 {
		setFalse(s.object, infrav1.BootstrapDataAvailableCondition, infrav1.WaitingForBootstrapDataReason, "Secret "+*name+", which the Machine names, does not exist or has no key \"value\"")
		return stop(5 * time.Second), nil
	}
	setTrue(s.object, infrav1.BootstrapDataAvailableCondition, infrav1.AvailableReason, "")
	return nil, nil
}

// persist writes a change of the spec or the metadata before it takes effect.
func (r *MachineReconciler) persist(ctx context.Context, s *machineScope, change func(*infrav1.ElementoMachine)) error {
	stored, err := r.store.persist(ctx, r.Client, s.object, change)
	if err != nil {
		return err
	}
	before := s.object.Generation
	s.object.ObjectMeta, s.object.Spec = stored.ObjectMeta, stored.Spec
	s.stored = stored
	stillSo(s.object, before)
	return nil
}

// event tells people of something about the machine.
func (r *MachineReconciler) event(s *machineScope, kind, reason, action, format string, args ...any) {
	var related runtime.Object
	if s.machine != nil {
		related = s.machine
	}
	r.Events.Eventf(s.object, related, kind, reason, action, format, args...)
}
