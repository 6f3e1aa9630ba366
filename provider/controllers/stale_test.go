package controllers

import (
	"errors"
	"fmt"
	"net/http"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	kerrors "k8s.io/apimachinery/pkg/util/errors"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	ctrl "sigs.k8s.io/controller-runtime"

	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
)

func TestOnlyAnOldCacheIsNoError(t *testing.T) {
	t.Parallel()
	machines := infrav1.GroupVersion.WithResource("elementomachines").GroupResource()
	conflict := apierrors.NewConflict(machines, "m", errors.New("it has changed"))
	gone := apierrors.NewNotFound(machines, "m")
	for name, c := range map[string]struct {
		err   error
		quiet bool
	}{
		"a conflict":                            {conflict, true},
		"the reconciled object is gone":         {gone, true},
		"that, wrapped":                         {fmt.Errorf("writing: %w", gone), true},
		"both":                                  {kerrors.NewAggregate([]error{conflict, gone}), true},
		"another object is gone":                {apierrors.NewNotFound(machines, "another"), false},
		"an object of another group":            {apierrors.NewNotFound(clusterv1.GroupVersion.WithResource("machines").GroupResource(), "m"), false},
		"a Secret":                              {apierrors.NewNotFound(corev1.Resource("secrets"), "m"), false},
		"a conflict, and something else":        {kerrors.NewAggregate([]error{conflict, errors.New("no")}), false},
		"a server that does not know the kind":  {apierrors.NewGenericServerResponse(http.StatusNotFound, "PATCH", machines, "m", "404 page not found", 0, true), false},
		"a list of what the server has not got": {apierrors.NewGenericServerResponse(http.StatusNotFound, "GET", machines, "", "404 page not found", 0, true), false},
	} {
		result, err := settle(t.Context(), "m", ctrl.Result{}, c.err)
		if quiet := err == nil && result.RequeueAfter > 0; quiet != c.quiet {
			t.Errorf("%s: error %v, again in %s; want it quiet: %v", name, err, result.RequeueAfter, c.quiet)
		}
	}
}
