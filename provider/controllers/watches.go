package controllers

import (
	"context"
	"reflect"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/workqueue"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/cluster-api/util"
	"sigs.k8s.io/cluster-api/util/predicates"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
	"elemento.cloud/cluster-api-provider-elemento/provider/fleet"
)

// Indexes by which ElementoMachines and ElementoCleanups are found in the cache.
const (
	vmNameIndex = "spec.vmName"
	hostIndex   = "spec.host"
)

// SetupIndexes must be called once before the manager starts.
func SetupIndexes(ctx context.Context, mgr manager.Manager) error {
	for index, of := range map[string]func(client.Object) string{
		vmNameIndex: func(o client.Object) string {
			if c, ok := o.(*infrav1.ElementoCleanup); ok {
				return c.Spec.VMName
			}
			return o.(*infrav1.ElementoMachine).Spec.VMName
		},
		hostIndex: func(o client.Object) string {
			if c, ok := o.(*infrav1.ElementoCleanup); ok {
				return c.Spec.Host
			}
			return o.(*infrav1.ElementoMachine).Spec.Host
		},
	} {
		for _, kind := range []client.Object{&infrav1.ElementoMachine{}, &infrav1.ElementoCleanup{}} {
			if err := mgr.GetFieldIndexer().IndexField(ctx, kind, index, func(o client.Object) []string {
				if value := of(o); value != "" {
					return []string{value}
				}
				return nil
			}); err != nil {
				return err
			}
		}
	}
	return nil
}

// ExpectsVM tells whether an ElementoMachine or ElementoCleanup is about the VM, from
// the cache.
func ExpectsVM(c client.Reader) func(ctx context.Context, vmName string) bool {
	return func(ctx context.Context, vmName string) bool {
		machines, cleanups := &infrav1.ElementoMachineList{}, &infrav1.ElementoCleanupList{}
		by := client.MatchingFields{vmNameIndex: vmName}
		if c.List(ctx, machines, by, client.UnsafeDisableDeepCopy) != nil || len(machines.Items) > 0 {
			return true
		}
		return c.List(ctx, cleanups, by, client.UnsafeDisableDeepCopy) != nil || len(cleanups.Items) > 0
	}
}

// SetupWithManager has the manager run the reconciler for clusters.
func (r *ClusterReconciler) SetupWithManager(ctx context.Context, mgr manager.Manager, options controller.Options) error {
	log := mgr.GetLogger().WithValues("controller", "elementocluster")
	kind := infrav1.GroupVersion.WithKind("ElementoCluster")
	return ctrl.NewControllerManagedBy(mgr).
		// Also what others manage: when it goes nobody acts for it any more.
		For(&infrav1.ElementoCluster{}, builder.WithPredicates(notStatusOnly())).
		WithOptions(options).
		WithEventFilter(predicates.ResourceHasFilterLabel(mgr.GetScheme(), log, r.WatchFilter)).
		Watches(&clusterv1.Cluster{},
			handler.EnqueueRequestsFromMapFunc(util.ClusterToInfrastructureMapFunc(ctx, kind, r.Client, &infrav1.ElementoCluster{})),
			builder.WithPredicates(notStatusOnly(), changed())).
		Watches(&infrav1.ElementoMachine{}, handler.EnqueueRequestsFromMapFunc(r.ofMachine), builder.WithPredicates(endpointConcern())).
		Watches(&clusterv1.Machine{}, handler.EnqueueRequestsFromMapFunc(r.ofMachine), builder.WithPredicates(ofControlPlane(), predicate.Or(nodeJoined(), leaving()))).
		WatchesRawSource(told(r.Fleet, r.concerned)).
		Complete(r)
}

// SetupWithManager has the manager run the reconciler for machines.
func (r *MachineReconciler) SetupWithManager(_ context.Context, mgr manager.Manager, options controller.Options) error {
	log := mgr.GetLogger().WithValues("controller", "elementomachine")
	kind := infrav1.GroupVersion.WithKind("ElementoMachine")
	ofCluster, err := util.ClusterToTypedObjectsMapper(r.Client, &infrav1.ElementoMachineList{}, mgr.GetScheme())
	if err != nil {
		return err
	}
	return ctrl.NewControllerManagedBy(mgr).
		For(&infrav1.ElementoMachine{}, builder.WithPredicates(notStatusOnly())).
		WithOptions(options).
		WithEventFilter(predicates.ResourceHasFilterLabel(mgr.GetScheme(), log, r.WatchFilter)).
		Watches(&clusterv1.Machine{}, handler.EnqueueRequestsFromMapFunc(util.MachineToInfrastructureMapFunc(kind)),
			builder.WithPredicates(changed(), predicate.Or(notStatusOnly(), nodeJoined()))).
		Watches(&clusterv1.Cluster{}, handler.EnqueueRequestsFromMapFunc(ofCluster),
			builder.WithPredicates(changed(), predicates.ClusterPausedTransitionsOrInfrastructureProvisioned(mgr.GetScheme(), log))).
		WatchesRawSource(told(r.Fleet, r.concerned)).
		Complete(r)
}

// SetupWithManager has the manager run the reconciler for cleanups.
func (r *CleanupReconciler) SetupWithManager(mgr manager.Manager, options controller.Options) error {
	log := mgr.GetLogger().WithValues("controller", "elementocleanup")
	return ctrl.NewControllerManagedBy(mgr).
		For(&infrav1.ElementoCleanup{}, builder.WithPredicates(notStatusOnly())).
		WithOptions(options).
		WithEventFilter(predicates.ResourceHasFilterLabel(mgr.GetScheme(), log, r.WatchFilter)).
		Watches(&infrav1.ElementoMachine{}, handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, o client.Object) []reconcile.Request {
			return r.of(ctx, client.MatchingFields{vmNameIndex: o.(*infrav1.ElementoMachine).Spec.VMName})
		}), builder.WithPredicates(gone())).
		Watches(&infrav1.ElementoCluster{}, handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, o client.Object) []reconcile.Request {
			return r.of(ctx, client.InNamespace(o.GetNamespace()))
		}), builder.WithPredicates(gone())).
		WatchesRawSource(told(r.Fleet, r.concerned)).
		Complete(r)
}

// concerned are the cleanups on a host whose health has changed, or about a VM that
// has.
func (r *CleanupReconciler) concerned(ctx context.Context, change fleet.Change) []reconcile.Request {
	switch {
	case change.VM != "":
		return r.of(ctx, client.MatchingFields{vmNameIndex: change.VM})
	case change.Host != "":
		return r.of(ctx, client.MatchingFields{hostIndex: change.Host})
	}
	return nil
}

// of are the cleanups that an option of a list finds.
func (r *CleanupReconciler) of(ctx context.Context, by client.ListOption) (requests []reconcile.Request) {
	cleanups := &infrav1.ElementoCleanupList{}
	if err := r.Client.List(ctx, cleanups, by, watched(r.WatchFilter), client.UnsafeDisableDeepCopy); err != nil {
		return nil // the manager is stopping
	}
	for _, c := range cleanups.Items {
		requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&c)})
	}
	return requests
}

// told is what the daemons' streams tell, as requests. The queue holds each
// request once.
func told(f *fleet.Fleet, concerned func(context.Context, fleet.Change) []reconcile.Request) source.Source {
	return source.Func(func(ctx context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
		f.Listen(func(change fleet.Change) {
			for _, request := range concerned(ctx, change) {
				queue.Add(request)
			}
		})
		return nil
	})
}

// watched finds what the watch filter lets through. It lets events through by the label
// of what they are about; streams tell of hosts and VMs, which have none, and another
// manager's machines may be on the same hosts.
func watched(filter string) client.ListOption {
	if filter == "" {
		return client.MatchingLabels{}
	}
	return client.MatchingLabels{clusterv1.WatchLabel: filter}
}

// concerned are the machines whose VM has changed, or whose host's health has.
func (r *MachineReconciler) concerned(ctx context.Context, change fleet.Change) []reconcile.Request {
	var by client.MatchingFields
	switch {
	case change.VM != "":
		by = client.MatchingFields{vmNameIndex: change.VM}
	case change.Host != "":
		by = client.MatchingFields{hostIndex: change.Host}
	default:
		return nil // the VMs are as they were
	}
	machines := &infrav1.ElementoMachineList{}
	if err := r.Client.List(ctx, machines, by, watched(r.WatchFilter), client.UnsafeDisableDeepCopy); err != nil {
		return nil // the manager is stopping
	}
	requests := make([]reconcile.Request, 0, len(machines.Items))
	for _, m := range machines.Items {
		requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&m)})
	}
	return requests
}

// concerned are the clusters whose control-plane VM has changed, or all of the
// client's when a host's health has, or a daemon has come or gone.
func (r *ClusterReconciler) concerned(ctx context.Context, change fleet.Change) []reconcile.Request {
	var requests []reconcile.Request
	if change.VM == "" {
		for _, user := range r.Fleet.Users(change.ClientUID) {
			if user.Kind == "ElementoCluster" {
				requests = append(requests, reconcile.Request{NamespacedName: user.NamespacedName})
			}
		}
		return requests
	}
	machines := &infrav1.ElementoMachineList{}
	if err := r.Client.List(ctx, machines, client.MatchingFields{vmNameIndex: change.VM}, client.HasLabels{clusterv1.MachineControlPlaneLabel}, watched(r.WatchFilter), client.UnsafeDisableDeepCopy); err != nil {
		return nil // the manager is stopping
	}
	for i := range machines.Items {
		requests = append(requests, r.ofMachine(ctx, &machines.Items[i])...)
	}
	return requests
}

// ofMachine is the ElementoCluster that a Machine or ElementoMachine belongs to.
func (r *ClusterReconciler) ofMachine(ctx context.Context, machine client.Object) []reconcile.Request {
	cluster, err := util.GetClusterFromMetadata(ctx, r.Client, metav1.ObjectMeta{Namespace: machine.GetNamespace(), Labels: machine.GetLabels()})
	if apierrors.IsNotFound(err) {
		left, err := bereaved(ctx, r.Client, machine.GetNamespace(), machine.GetLabels()[clusterv1.ClusterNameLabel])
		if err != nil || left == nil {
			return nil
		}
		return []reconcile.Request{{NamespacedName: client.ObjectKeyFromObject(left)}}
	}
	if err != nil || !cluster.Spec.InfrastructureRef.IsDefined() {
		return nil
	}
	return []reconcile.Request{{NamespacedName: client.ObjectKey{Namespace: cluster.Namespace, Name: cluster.Spec.InfrastructureRef.Name}}}
}

// changed drops resyncs: that of the reconciled object itself is enough.
func changed() predicate.Predicate { return predicate.ResourceVersionChangedPredicate{} }

// notStatusOnly drops updates that change nothing but a status, ours among
// them. A resync passes.
func notStatusOnly() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		return e.ObjectOld.GetResourceVersion() == e.ObjectNew.GetResourceVersion() ||
			e.ObjectOld.GetGeneration() != e.ObjectNew.GetGeneration() ||
			!reflect.DeepEqual(e.ObjectOld.GetLabels(), e.ObjectNew.GetLabels()) ||
			!reflect.DeepEqual(e.ObjectOld.GetAnnotations(), e.ObjectNew.GetAnnotations()) ||
			!reflect.DeepEqual(e.ObjectOld.GetOwnerReferences(), e.ObjectNew.GetOwnerReferences())
	}}
}

// nodeJoined passes the update of a Machine that gets or loses its node.
func nodeJoined() predicate.Predicate {
	return predicate.Funcs{
		CreateFunc: func(event.CreateEvent) bool { return false },
		DeleteFunc: func(event.DeleteEvent) bool { return false },
		UpdateFunc: func(e event.UpdateEvent) bool {
			before, ok := e.ObjectOld.(*clusterv1.Machine)
			after, ok2 := e.ObjectNew.(*clusterv1.Machine)
			return ok && ok2 && before.Status.NodeRef != after.Status.NodeRef
		},
	}
}

// gone passes the end of an object.
func gone() predicate.Predicate {
	return predicate.Funcs{
		CreateFunc: func(event.CreateEvent) bool { return false },
		UpdateFunc: func(event.UpdateEvent) bool { return false },
	}
}

// leaving passes the update with which a Machine begins to be deleted.
func leaving() predicate.Predicate {
	return predicate.Funcs{
		CreateFunc: func(event.CreateEvent) bool { return false },
		DeleteFunc: func(event.DeleteEvent) bool { return false },
		UpdateFunc: func(e event.UpdateEvent) bool {
			return e.ObjectOld.GetDeletionTimestamp().IsZero() && !e.ObjectNew.GetDeletionTimestamp().IsZero()
		},
	}
}

// ofControlPlane passes what is about control planes.
func ofControlPlane() predicate.Predicate {
	return predicate.NewPredicateFuncs(func(o client.Object) bool {
		_, is := o.GetLabels()[clusterv1.MachineControlPlaneLabel]
		return is
	})
}

// endpointConcern passes what a cluster's endpoint or deletion depends on: a
// control-plane machine that is placed or is on its way out, and any that is
// gone.
func endpointConcern() predicate.Predicate {
	return predicate.Funcs{
		CreateFunc: func(event.CreateEvent) bool { return false },
		UpdateFunc: func(e event.UpdateEvent) bool {
			_, controlPlane := e.ObjectNew.GetLabels()[clusterv1.MachineControlPlaneLabel]
			return controlPlane && e.ObjectOld.GetGeneration() != e.ObjectNew.GetGeneration()
		},
	}
}
