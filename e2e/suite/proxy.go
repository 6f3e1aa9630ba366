package suite

import (
	"context"
	"errors"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	kerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/cluster-api/test/framework"
)

// proxy is upstream's, but for the logs of guests: C4 shows no console, and
// simulated guests have no logs.
type proxy struct{ framework.ClusterProxy }

// CollectWorkloadClusterLogs collects none.
func (proxy) CollectWorkloadClusterLogs(context.Context, string, string, string) {}

// CreateOrUpdate reads each object and writes it, as upstream's does, and does so
// again where a controller wrote in between: guests here boot faster than upstream
// looks, and it does not reckon with controllers that are at work.
func (p proxy) CreateOrUpdate(ctx context.Context, resources []byte, options ...framework.CreateOrUpdateOption) error {
	return retry.OnError(wait.Backoff{Duration: 10 * time.Millisecond, Factor: 2, Steps: 10}, isConflict, func() error {
		return p.ClusterProxy.CreateOrUpdate(ctx, resources, options...)
	})
}

// isConflict tells whether nothing but conflicts went wrong.
func isConflict(err error) bool {
	var several kerrors.Aggregate
	if errors.As(err, &several) {
		return !slices.ContainsFunc(several.Errors(), func(err error) bool { return !isConflict(err) })
	}
	return apierrors.IsConflict(err)
}
