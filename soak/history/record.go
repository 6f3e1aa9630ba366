package history

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
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

const (
	// listed is how long a list may take, and again the pause before the next try:
	// short, because validators are blind meanwhile. Informers wait for a minute.
	listed = 30 * time.Second
	again  = 250 * time.Millisecond
	// watched is for how long objects are watched until they are listed again, so
	// that a connection that has died without a word is found out.
	watched = 5 * time.Minute
)

// Record writes down every change of the objects of Cluster API and ours, in all
// namespaces, until ctx ends. It returns once it knows all that are there. While
// the API server is away it knows nothing, and tells afterwards what has become of
// the objects. The returned function waits for the end. It writes too from when to
// when objects are recorded, which tells something where there are none.
func Record(ctx context.Context, config *rest.Config, to *history.Writer) (wait func(), err error) {
	config = rest.CopyConfig(config)
	config.QPS = -1
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("recording objects: %w", err)
	}
	r := &recorder{to: to, blind: len(recorded), all: make(chan struct{})}
	var following sync.WaitGroup
	for _, resource := range recorded {
		k := &kind{recorder: r, resource: client.Resource(resource), name: resource.Resource, known: map[types.UID]*unstructured.Unstructured{}}
		following.Go(func() { k.follow(ctx) })
	}
	wait = func() {
		following.Wait()
		r.end()
	}
	select {
	case <-r.all:
		return wait, nil
	case <-ctx.Done():
		wait()
		return nil, fmt.Errorf("recording objects: %w", errors.Join(context.Cause(ctx), r.last))
	}
}

// recorder writes down the objects of several kinds.
type recorder struct {
	to *history.Writer

	mu sync.Mutex
	// blind is how many kinds it does not see just now.
	blind int
	// last is what went wrong last.
	last error
	// all is closed when it has seen all kinds for the first time.
	all  chan struct{}
	once sync.Once
}

// sees is told that a kind is seen again, or no longer.
func (r *recorder) sees(is bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	was := r.blind
	if r.blind++; is {
		r.blind -= 2
	}
	switch {
	case r.blind == 0:
		r.to.Add(Event{Kind: history.Object, Event: "recorded", Name: "all that are there"})
		r.once.Do(func() { close(r.all) })
	case was == 0:
		r.unrecorded()
	}
}

func (r *recorder) unrecorded() {
	r.to.Add(Event{Kind: history.Object, Event: "unrecorded", Name: "what happens from now on"})
}

func (r *recorder) failed(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last = err
}

func (r *recorder) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.blind == 0 {
		r.unrecorded()
	}
}

// kind is one of the kinds.
type kind struct {
	*recorder
	resource dynamic.ResourceInterface
	name     string
	// known are those of its objects that are there; lost is since when it has not
	// been seen.
	known map[types.UID]*unstructured.Unstructured
	lost  time.Time
}

// follow lists and watches the objects until ctx ends.
func (k *kind) follow(ctx context.Context) {
	for ctx.Err() == nil {
		version, err := k.list(ctx)
		if err != nil {
			k.failed(fmt.Errorf("%s: %w", k.name, err))
			pause(ctx, again)
			continue
		}
		k.sees(true)
		k.watch(ctx, version)
		if ctx.Err() == nil {
			k.lost = time.Now()
			k.sees(false)
		}
	}
}

func pause(ctx context.Context, span time.Duration) {
	timer := time.NewTimer(span)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// list tells what has changed since the objects were seen last, and returns the
// version of the list.
func (k *kind) list(ctx context.Context) (version string, err error) {
	ctx, cancel := context.WithTimeout(ctx, listed)
	defer cancel()
	list, err := k.resource.List(ctx, metav1.ListOptions{})
	if err != nil {
		return "", err
	}
	there := map[types.UID]bool{}
	for i := range list.Items {
		there[list.Items[i].GetUID()] = true
		k.changed(&list.Items[i])
	}
	for uid, o := range k.known {
		if there[uid] {
			continue
		}
		// Its end was not seen, only that it is gone: somebody has asked for it
		// since it was.
		if o.GetDeletionTimestamp() == nil {
			o.SetDeletionTimestamp(ptr.To(metav1.NewTime(k.lost)))
		}
		k.deleted(o)
	}
	return list.GetResourceVersion(), nil
}

// watch tells what changes, until the API server ends it.
func (k *kind) watch(ctx context.Context, version string) {
	w, err := k.resource.Watch(ctx, metav1.ListOptions{ResourceVersion: version, TimeoutSeconds: ptr.To(int64(watched.Seconds()))})
	if err != nil {
		k.failed(fmt.Errorf("%s: %w", k.name, err))
		pause(ctx, again)
		return
	}
	defer w.Stop()
	for e := range w.ResultChan() {
		o, is := e.Object.(*unstructured.Unstructured)
		switch {
		case !is || e.Type == watch.Error:
			return
		case e.Type == watch.Deleted:
			k.deleted(o)
		default:
			k.changed(o)
		}
	}
}

// changed tells of an object as it is, if that is news.
func (k *kind) changed(o *unstructured.Unstructured) {
	event := "added"
	if was := k.known[o.GetUID()]; was != nil {
		if was.GetResourceVersion() == o.GetResourceVersion() {
			return
		}
		event = "modified"
	}
	strip(o)
	k.known[o.GetUID()] = o
	k.to.Add(objectEvent(event, o, time.Now()))
}

func (k *kind) deleted(o *unstructured.Unstructured) {
	delete(k.known, o.GetUID())
	strip(o)
	k.to.Add(objectEvent("deleted", o, time.Now()))
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
func strip(o *unstructured.Unstructured) {
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
}
