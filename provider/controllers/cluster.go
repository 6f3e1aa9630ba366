package controllers

import (
	"context"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apitypes "k8s.io/apimachinery/pkg/types"
	kerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/ptr"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/cluster-api/util"
	"sigs.k8s.io/cluster-api/util/annotations"
	"sigs.k8s.io/cluster-api/util/conditions"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"elemento.cloud/cluster-api-provider-elemento/daemon/rpc"
	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
	"elemento.cloud/cluster-api-provider-elemento/provider/fleet"
)

// +kubebuilder:rbac:groups=infrastructure.cluster.x-k8s.io,resources=elementoclusters,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups=infrastructure.cluster.x-k8s.io,resources=elementoclusters/status,verbs=get;patch
// +kubebuilder:rbac:groups=infrastructure.cluster.x-k8s.io,resources=elementomachines,verbs=get;list;watch
// +kubebuilder:rbac:groups=cluster.x-k8s.io,resources=clusters;machines,verbs=get;list;watch
// +kubebuilder:rbac:groups=infrastructure.cluster.x-k8s.io,resources=elementocleanups,verbs=get;list;watch;create
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get;patch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// ClusterReconciler settles a cluster's domains, network and endpoint, and keeps
// the endpoint's forward at a control-plane VM that runs.
type ClusterReconciler struct {
	Client      client.Client
	Fleet       *fleet.Fleet
	Identities  *Identities
	Events      events.EventRecorder
	WatchFilter string
	// UnreachableGrace is how long a host must not be reachable before a cluster that
	// is being deleted leaves what it has there to an ElementoCleanup.
	UnreachableGrace time.Duration
	Cleanups         *Cleanups

	store store[*infrav1.ElementoCluster]
	// reserving lets one endpoint be reserved at a time; reserved are those of
	// this process, which the cache may not show yet.
	reserving sync.Mutex
	reserved  map[apitypes.UID]*rpc.Endpoint
}

// clusterScope is one reconcile of an ElementoCluster.
type clusterScope struct {
	cluster *clusterv1.Cluster
	object  *infrav1.ElementoCluster
	stored  *infrav1.ElementoCluster
	member  *fleet.Member
	// domains of the cluster, and of the whole site; in order.
	domains, known []*rpc.Domain
	// again is when to look at what is wrong and keeps nothing else from being done;
	// zero if there is no such thing.
	again time.Duration
	gone  bool
}

// settled tells that machines may stand on the cluster: what comes to be wrong with it
// then does not keep the endpoint from following them. The status is not moved to another
// management cluster, the endpoint is.
func (s *clusterScope) settled() bool {
	return ptr.Deref(s.object.Status.Initialization.Provisioned, false) || s.object.Spec.EndpointHost != ""
}

// clusterName is that of the Cluster, which may be gone; empty if there never was one.
func (s *clusterScope) clusterName() string {
	if s.cluster != nil {
		return s.cluster.Name
	}
	return s.object.Labels[clusterv1.ClusterNameLabel]
}

// clusterConditions are the steps of a cluster, in order.
var clusterConditions = []initial{
	{infrav1.IdentityAvailableCondition, infrav1.NotObservedReason},
	{infrav1.DomainsAvailableCondition, infrav1.WaitingForIdentityReason},
	{infrav1.NetworkReadyCondition, infrav1.WaitingForIdentityReason},
	{infrav1.EndpointReadyCondition, infrav1.WaitingForIdentityReason},
}

// Reconcile takes one ElementoCluster as far as it gets.
func (r *ClusterReconciler) Reconcile(ctx context.Context, request ctrl.Request) (result ctrl.Result, reterr error) {
	defer func() { result, reterr = settle(ctx, request.Name, result, reterr) }()

	object := &infrav1.ElementoCluster{}
	if found, current, err := r.store.get(ctx, r.Client, request.NamespacedName, object); err != nil {
		return ctrl.Result{}, err
	} else if !found {
		r.Fleet.Leave(clusterUser(request.NamespacedName))
		return ctrl.Result{}, nil
	} else if !current {
		return ctrl.Result{RequeueAfter: conflictDelay}, nil
	}
	if annotations.IsExternallyManaged(object) {
		return ctrl.Result{}, nil
	}
	cluster, err := util.GetOwnerCluster(ctx, r.Client, object.ObjectMeta)
	if err != nil && !apierrors.IsNotFound(err) {
		return ctrl.Result{}, err
	}
	if cluster == nil && object.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, nil // its Cluster will claim it
	}
	s := &clusterScope{cluster: cluster, object: object, stored: object.DeepCopy()}
	before := conditions.Get(object, infrav1.ReadyCondition).DeepCopy() // it is changed in place
	deleting := !object.DeletionTimestamp.IsZero()
	defer func() {
		if s.gone {
			return
		}
		if err := r.store.save(ctx, r.Client, s.stored, object); err != nil {
			reterr = kerrors.NewAggregate([]error{reterr, err})
			return
		}
		if cluster != nil && s.stored.Status.Initialization.Provisioned == nil && object.Status.Initialization.Provisioned != nil {
			clusterProvision.Observe(time.Since(cluster.CreationTimestamp.Time).Seconds())
		}
		tell(ctx, r.Events, object, before)
	}()
	if isPaused(cluster, object) {
		return ctrl.Result{}, nil
	}
	defer func() { summarize(object, clusterConditions, deleting) }()

	if deleting {
		return run(ctx, s, r.awaitMachines, r.nothingMade, r.connect, r.removeForward, r.removeNetwork, r.release)
	}
	return run(ctx, s, r.claim, r.connect, r.checkDomains, r.lookAtHosts, r.settleNetwork, r.settleEndpoint, r.provisioned, r.pointForward, r.lookAgain)
}

// claim adds the finalizer before anything is made.
func (r *ClusterReconciler) claim(ctx context.Context, s *clusterScope) (*ctrl.Result, error) {
	if controllerutil.ContainsFinalizer(s.object, infrav1.ClusterFinalizer) {
		return nil, nil
	}
	return nil, r.persist(ctx, s, func(c *infrav1.ElementoCluster) {
		controllerutil.AddFinalizer(c, infrav1.ClusterFinalizer)
	})
}

// connect finds the daemons.
func (r *ClusterReconciler) connect(ctx context.Context, s *clusterScope) (*ctrl.Result, error) {
	deleting := !s.object.DeletionTimestamp.IsZero()
	spec := &s.object.Spec
	member, wrong, err := r.Identities.member(ctx, clusterUser(client.ObjectKeyFromObject(s.object)), spec.IdentityRef, spec.ClientUID, deleting)
	if err != nil {
		return nil, err
	}
	if wrong != nil {
		setProblem(s.object, infrav1.IdentityAvailableCondition, *wrong)
		if deleting {
			setTrue(s.object, infrav1.DeletingCondition, wrong.reason, "What was made on the hosts cannot be removed: "+wrong.message)
		}
		return stop(wrong.again), nil
	}
	s.member = member
	s.known, err = member.ListDomains(ctx)
	if err != nil {
		p := explain(err)
		setProblem(s.object, infrav1.IdentityAvailableCondition, p)
		if deleting {
			setTrue(s.object, infrav1.DeletingCondition, p.reason, "What was made on the hosts cannot be removed: "+p.message)
		}
		return stop(p.again), nil
	}
	setTrue(s.object, infrav1.IdentityAvailableCondition, infrav1.AvailableReason, "")
	if spec.ClientUID != "" {
		return nil, nil
	}
	// The daemons let it act for this client, and nothing is made before it is known
	// to whom it belongs.
	return nil, r.persist(ctx, s, func(c *infrav1.ElementoCluster) {
		c.Spec.ClientUID = member.ClientUID()
		if c.Spec.Network.Managed.CIDR != "" {
			recordDomains(c, domainNames(domainsOf(c, s.known))...)
		}
	})
}

// provisioned tells Cluster API that machines can be made.
func (r *ClusterReconciler) provisioned(_ context.Context, s *clusterScope) (*ctrl.Result, error) {
	s.object.Status.Initialization.Provisioned = new(true)
	return nil, nil
}

// lookAgain comes back to what was passed over.
func (r *ClusterReconciler) lookAgain(_ context.Context, s *clusterScope) (*ctrl.Result, error) {
	return stop(s.again), nil
}

// persist writes a change of the spec or the metadata before it takes effect.
func (r *ClusterReconciler) persist(ctx context.Context, s *clusterScope, change func(*infrav1.ElementoCluster)) error {
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
