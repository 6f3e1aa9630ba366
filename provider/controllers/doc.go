// Package controllers makes what the Elemento kinds describe: it reads Cluster
// API's objects and ours, acts through the daemons, and writes what it sees into
// statuses.
//
// Each reconcile is a row of steps. A step either goes on to the next, or stops
// the row after it has set the condition that says what is waited for. Waiting
// is never an error: what is waited for wakes the reconcile by an event, and a
// time to look again is given beside it. What must survive is written to a spec
// before it takes effect, and the written object is used from there on.
package controllers

import (
	"context"
	"errors"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kerrors "k8s.io/apimachinery/pkg/util/errors"
	ctrl "sigs.k8s.io/controller-runtime"

	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
)

// stop ends a row of steps; look again after a while if it is not zero.
func stop(after time.Duration) *ctrl.Result { return &ctrl.Result{RequeueAfter: after} }

// run takes steps on a scope until one stops or fails.
func run[Scope any](ctx context.Context, s Scope, steps ...func(context.Context, Scope) (*ctrl.Result, error)) (ctrl.Result, error) {
	for _, step := range steps {
		if result, err := step(ctx, s); err != nil || result != nil {
			if result == nil {
				result = &ctrl.Result{}
			}
			return *result, err
		}
	}
	return ctrl.Result{}, nil
}

// conflictDelay is how long to wait for the cache when it turned out to be old.
const conflictDelay = 20 * time.Millisecond

// settle turns errors that are nobody's fault into another look at the object of that
// name, which is one of our kinds: our cache is old, and the newer object is on its way;
// or the manager is stopping.
func settle(ctx context.Context, name string, result ctrl.Result, err error) (ctrl.Result, error) {
	if err != nil && (stale(name, err) || errors.Is(ctx.Err(), context.Canceled)) {
		return ctrl.Result{RequeueAfter: conflictDelay}, nil
	}
	return result, err
}

// stale tells that every error in err is a conflict, or says that the reconciled object is
// gone.
func stale(name string, err error) bool {
	var many kerrors.Aggregate
	if errors.As(err, &many) {
		for _, err := range many.Errors() {
			if !stale(name, err) {
				return false
			}
		}
		return len(many.Errors()) > 0
	}
	return apierrors.IsConflict(err) || isGone(name, err)
}

// isGone tells that err says of an object of one of our kinds that it is not there. A
// server that does not know the kind, or the path, says NotFound too.
func isGone(name string, err error) bool {
	var status apierrors.APIStatus
	if !apierrors.IsNotFound(err) || !errors.As(err, &status) {
		return false
	}
	about := status.Status().Details
	return about != nil && about.Group == infrav1.GroupVersion.Group && about.Name == name &&
		!apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse)
}
