package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	bootstrapv1 "sigs.k8s.io/cluster-api/api/bootstrap/kubeadm/v1beta2"

	"elemento.cloud/cluster-api-provider-elemento/daemon/rpc"
	"elemento.cloud/cluster-api-provider-elemento/e2e/life"
	"elemento.cloud/cluster-api-provider-elemento/e2e/world"
	fakehistory "elemento.cloud/cluster-api-provider-elemento/fakeatomos/history"
	"elemento.cloud/cluster-api-provider-elemento/soak/history"
)

// observer adds to the history of a run what stages are told by and nobody else
// writes down: the objects of Cluster API and ours, bootstrap configs without what is
// secret in them, Nodes, what the daemons' streams tell, and what was ordered.
type observer struct {
	dir           string
	objects, more *fakehistory.Writer
	stop          context.CancelFunc
	running       sync.WaitGroup

	mu     sync.Mutex
	failed error
}

// observe begins to observe a world, until end is called. Workload reaches the cluster
// whose Nodes are observed.
func observe(ctx context.Context, w *world.World, dir, namespace string, workload *rest.Config) (_ *observer, err error) {
	o := &observer{dir: dir}
	ctx, o.stop = context.WithCancel(context.WithoutCancel(ctx))
	defer func() {
		if err != nil {
			_ = o.end() // err says more
		}
	}()
	if o.objects, err = fakehistory.Open(filepath.Join(dir, history.Objects)); err != nil {
		return nil, err
	}
	if o.more, err = fakehistory.Open(filepath.Join(dir, "stages.jsonl")); err != nil {
		return nil, err
	}
	wait, err := history.Record(ctx, w.Config(), o.objects)
	if err != nil {
		return nil, err
	}
	o.running.Go(wait)
	management, err := dynamic.NewForConfig(w.Config())
	if err != nil {
		return nil, err
	}
	nodes, err := dynamic.NewForConfig(workload)
	if err != nil {
		return nil, err
	}
	if err := o.follow(ctx, management, namespace, bootstrapv1.GroupVersion.WithResource("kubeadmconfigs")); err != nil {
		return nil, err
	}
	if err := o.follow(ctx, nodes, metav1.NamespaceAll, corev1.SchemeGroupVersion.WithResource("nodes")); err != nil {
		return nil, err
	}
	for n := range w.Endpoints() {
		if err := o.stream(ctx, w, n); err != nil {
			return nil, err
		}
	}
	return o, nil
}

// end ends it, and returns what went wrong meanwhile.
func (o *observer) end() error {
	o.stop()
	o.running.Wait()
	for _, w := range []*fakehistory.Writer{o.objects, o.more} {
		if err := w.Close(); err != nil {
			o.fail(err)
		}
	}
	return o.failed
}

func (o *observer) fail(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.failed == nil {
		o.failed = err
	}
}

// follow writes down what becomes of objects from now on, as far as it is asked for.
func (o *observer) follow(ctx context.Context, c dynamic.Interface, namespace string, resource schema.GroupVersionResource) error {
	wait, err := life.Follow(ctx, c, namespace, map[schema.GroupVersionResource]life.See{resource: func(event watch.EventType, object *unstructured.Unstructured, at time.Time) error {
		o.more.Add(history.Event{
			Time: at, Kind: fakehistory.Object, Event: strings.ToLower(string(event)), Name: object.GetNamespace() + "/" + object.GetName(),
			UID: string(object.GetUID()), Detail: fakehistory.Detail(shown(object)),
		})
		return nil
	}})
	if err != nil {
		return err
	}
	o.running.Go(func() {
		if err := wait(); err != nil {
			o.fail(err)
		}
	})
	return nil
}

// shown is what is written down of an object: nothing that can be secret.
func shown(of *unstructured.Unstructured) map[string]any {
	to := map[string]any{"kind": of.GetKind()}
	for _, path := range [][]string{
		{"metadata", "name"}, {"metadata", "namespace"}, {"metadata", "uid"}, {"metadata", "ownerReferences"}, {"metadata", "deletionTimestamp"},
		{"spec", "providerID"}, {"status", "initialization"}, {"status", "conditions"},
	} {
		if value, has, _ := unstructured.NestedFieldNoCopy(of.Object, path...); has {
			_ = unstructured.SetNestedField(to, value, path...)
		}
	}
	return to
}

// stream writes down what a daemon tells, as our manager is told.
func (o *observer) stream(ctx context.Context, w *world.World, n int) error {
	conn, err := w.DialDaemon(n + 1)
	if err != nil {
		return err
	}
	endpoint := w.Endpoints()[n]
	stream, err := rpc.NewVMServiceClient(conn).WatchVMs(ctx, &rpc.WatchVMsRequest{ClientUid: w.ClientUID()}, grpc.WaitForReady(true))
	if err != nil {
		_ = conn.Close()
		return fmt.Errorf("watching daemon %s: %w", endpoint, err)
	}
	o.running.Go(func() {
		defer conn.Close()
		for {
			m, err := stream.Recv()
			if err != nil {
				if ctx.Err() == nil {
					o.fail(fmt.Errorf("watching daemon %s: %w", endpoint, err))
				}
				return
			}
			now := time.Now()
			for _, vm := range m.GetChange().GetChanged() {
				o.more.Add(history.Event{
					Time: now, Kind: fakehistory.RPC, Name: streamed, End: "harness", Peer: endpoint, Host: vm.GetHost(), VM: vm.GetName(), UID: vm.GetUid(),
					Code: "OK", Detail: fakehistory.Detail(history.Result{Power: vm.GetPowerState().String(), UID: vm.GetUid()}),
				})
			}
		}
	})
	return nil
}
