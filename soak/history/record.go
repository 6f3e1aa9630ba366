package history

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	controlplanev1 "sigs.k8s.io/cluster-api/api/controlplane/kubeadm/v1beta2"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"

	"elemento.cloud/cluster-api-provider-elemento/fakeatomos/history"
	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
)

// recorded are the kinds whose objects are written down. None of them holds a
// secret.
var recorded = []schema.GroupVersionResource{
	clusterv1.GroupVersion.WithResource("clusters"),
	clusterv1.GroupVersion.WithResource("machines"),
	clusterv1.GroupVersion.WithResource("machinesets"),
	clusterv1.GroupVersion.WithResource("machinedeployments"),
	controlplanev1.GroupVersion.WithResource("kubeadmcontrolplanes"),
	infrav1.GroupVersion.WithResource("elementoclusters"),
	infrav1.GroupVersion.WithResource("elementomachines"),
	infrav1.GroupVersion.WithResource("elementocleanups"),
}

// Record writes down every change of the objects of Cluster API and ours, in all
// namespaces, until ctx ends. It returns once it knows all that are there. While
// the API server is away it knows nothing, and tells afterwards what has become of
// the objects. The returned function waits for the end. It writes too from when
// to when objects are recorded, which tells something where there are none.
func Record(ctx context.Context, config *rest.Config, to *history.Writer) (wait func(), err error) {
	config = rest.CopyConfig(config)
	config.QPS = -1
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("recording objects: %w", err)
	}
	factory := dynamicinformer.NewDynamicSharedInformerFactory(client, 0)
	var told []cache.InformerSynced
	for _, resource := range recorded {
		informer := factory.ForResource(resource).Informer()
		if err := informer.SetTransform(strip); err != nil {
			return nil, fmt.Errorf("recording %s: %w", resource.Resource, err)
		}
		registration, err := informer.AddEventHandler(handler(to))
		if err != nil {
			return nil, fmt.Errorf("recording %s: %w", resource.Resource, err)
		}
		told = append(told, registration.HasSynced)
	}
	factory.Start(ctx.Done())
	if !cache.WaitForCacheSync(ctx.Done(), told...) {
		factory.Shutdown()
		return nil, fmt.Errorf("recording objects: %w", context.Cause(ctx))
	}
	to.Add(Event{Kind: history.Object, Event: "recorded", Name: "all that are there"})
	return func() {
		factory.Shutdown()
		to.Add(Event{Kind: history.Object, Event: "unrecorded", Name: "what happens from now on"})
	}, nil
}

func handler(to *history.Writer) cache.ResourceEventHandler {
	write := func(event string, object any) {
		if unknown, is := object.(cache.DeletedFinalStateUnknown); is {
			object = unknown.Obj // its end was not seen, only that it is gone
		}
		if o, is := object.(*unstructured.Unstructured); is {
			to.Add(objectEvent(event, o, time.Now()))
		}
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc: func(o any) { write("added", o) },
		UpdateFunc: func(before, o any) {
			b, _ := before.(*unstructured.Unstructured)
			if n, is := o.(*unstructured.Unstructured); is && b != nil && b.GetResourceVersion() == n.GetResourceVersion() {
				return // seen again after a relist
			}
			write("modified", o)
		},
		DeleteFunc: func(o any) { write("deleted", o) },
	}
}

// objectEvent is what is written of an object.
func objectEvent(event string, o *unstructured.Unstructured, at time.Time) Event {
	e := Event{
		Time: at, Kind: history.Object, Event: event, Name: o.GetNamespace() + "/" + o.GetName(), UID: string(o.GetUID()),
		Detail: history.Detail(o.Object),
	}
	e.VM, _, _ = unstructured.NestedString(o.Object, "spec", "vmName")
	e.Host, _, _ = unstructured.NestedString(o.Object, "spec", "host")
	return e
}

// lastApplied repeats an object in an annotation of its own.
const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

// strip takes away what nobody judges: who manages which field, what Cluster API
// tells a second time for old clients, and when each condition changed, which the
// history tells better.
func strip(object any) (any, error) {
	o, is := object.(*unstructured.Unstructured)
	if !is {
		return object, nil
	}
	o.SetManagedFields(nil)
	unstructured.RemoveNestedField(o.Object, "metadata", "annotations", lastApplied)
	unstructured.RemoveNestedField(o.Object, "status", "deprecated")
	status, _ := o.Object["status"].(map[string]any)
	conditions, _ := status["conditions"].([]any)
	for _, c := range conditions {
		if condition, is := c.(map[string]any); is {
			delete(condition, "lastTransitionTime")
			delete(condition, "observedGeneration")
			if condition["message"] == "" {
				delete(condition, "message")
			}
		}
	}
	return object, nil
}
