package life

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"
)

// See is told of an event and when it came.
type See = func(watch.EventType, *unstructured.Unstructured, time.Time) error

// Follow shows all events of these resources in a namespace, or in all of them where it is
// empty, from now on. It returns once all watches stand; they
// end with ctx, and wait returns what went wrong with them.
func Follow(ctx context.Context, c dynamic.Interface, namespace string, resources map[schema.GroupVersionResource]See) (wait func() error, err error) {
	group, ctx := errgroup.WithContext(ctx)
	for resource, see := range resources {
		client := c.Resource(resource).Namespace(namespace)
		list, err := client.List(ctx, metav1.ListOptions{Limit: 1})
		if err != nil {
			return nil, fmt.Errorf("watching %s: %w", resource.Resource, err)
		}
		watcher, err := watchtools.NewRetryWatcherWithContext(ctx, list.GetResourceVersion(), &cache.ListWatch{
			WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
				return client.Watch(ctx, o)
			},
		})
		if err != nil {
			return nil, fmt.Errorf("watching %s: %w", resource.Resource, err)
		}
		group.Go(func() error {
			defer watcher.Stop()
			for event := range watcher.ResultChan() {
				at := time.Now()
				object, ok := event.Object.(*unstructured.Unstructured)
				if !ok {
					return fmt.Errorf("watching %s: %w", resource.Resource, apierrors.FromObject(event.Object))
				}
				if event.Type == watch.Bookmark {
					continue
				}
				if err := see(event.Type, object, at); err != nil {
					return err
				}
			}
			if ctx.Err() == nil {
				return fmt.Errorf("watching %s: the watch ended", resource.Resource)
			}
			return nil
		})
	}
	return group.Wait, nil
}
