package suite

import (
	"context"

	"sigs.k8s.io/cluster-api/test/framework"
)

// proxy is upstream's, but for the logs of guests: C4 shows no console, and
// simulated guests have no logs.
type proxy struct{ framework.ClusterProxy }

// CollectWorkloadClusterLogs collects none.
func (proxy) CollectWorkloadClusterLogs(context.Context, string, string, string) {}
