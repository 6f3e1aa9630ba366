package controllers_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"elemento.cloud/cluster-api-provider-elemento/provider/controllers"
)

func TestAManagerStopsWhileWorkArrives(t *testing.T) {
	t.Parallel()
	for range 20 {
		defaults := controllers.Defaults()
		defaults.SkipNameValidation = new(true)
		mgr := must(ctrl.NewManager(rest.CopyConfig(api), ctrl.Options{
			Controller: defaults, Logger: logr.Discard(), GracefulShutdownTimeout: new(soon),
			Metrics: metricsserver.Options{BindAddress: "0"},
		}))
		var arriving sync.WaitGroup
		busy := make(chan struct{}, 1)
		c := must(controller.New("busy", mgr, controller.Options{
			MaxConcurrentReconciles: 20,
			Reconciler: reconcile.Func(func(context.Context, reconcile.Request) (reconcile.Result, error) {
				select {
				case busy <- struct{}{}:
				default:
				}
				return reconcile.Result{}, nil
			}),
		}))
		must(0, c.Watch(source.Func(func(ctx context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
			for range 4 {
				arriving.Go(func() {
					turn := time.NewTicker(20 * time.Microsecond)
					defer turn.Stop()
					for {
						select {
						case <-ctx.Done():
							return
						case <-turn.C:
							queue.Add(reconcile.Request{NamespacedName: types.NamespacedName{Name: fmt.Sprint(rand.Int())}})
						}
					}
				})
			}
			return nil
		})))
		ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
		ended := make(chan error, 1)
		go func() { ended <- mgr.Start(ctx) }()
		<-busy
		cancel()
		err := <-ended
		arriving.Wait()
		if err != nil {
			t.Fatal(err)
		}
	}
}
