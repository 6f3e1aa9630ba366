package config_test

import (
	"context"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
)

func TestATenantOpensNoPortOfItsChoice(t *testing.T) {
	t.Parallel()
	ns := tenant(t)
	clastix := as(t, "someone", "clastix")
	manager := as(t, "system:serviceaccount:elemento-system:elemento-manager", "system:serviceaccounts", "system:serviceaccounts:elemento-system")
	cluster := func() *infrav1.ElementoCluster {
		c := &infrav1.ElementoCluster{}
		c.Namespace, c.GenerateName = ns, "x-"
		c.Spec.Network.Name, c.Spec.EndpointMode = "lan", infrav1.EndpointModeForward
		return c
	}
	given := func() *infrav1.ElementoCluster {
		c := cluster()
		c.Spec.EndpointHost, c.Spec.ControlPlaneEndpoint = "host-1", infrav1.APIEndpoint{Host: "192.0.2.1", Port: 22}
		return c
	}
	// The server learns of a policy a little after it is stored.
	if err := wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, 20*time.Second, true, func(ctx context.Context) (bool, error) {
		err := clastix.Create(ctx, given(), client.DryRunAll)
		return apierrors.IsForbidden(err), ignoreForbidden(err)
	}); err != nil {
		t.Fatalf("a tenant may name the host of its endpoint: %v", err)
	}

	mine := cluster()
	if err := clastix.Create(t.Context(), mine); err != nil {
		t.Fatal(err)
	}
	endpoint := client.RawPatch(types.MergePatchType, []byte(`{"spec":{"endpointHost":"host-1","controlPlaneEndpoint":{"host":"192.0.2.1","port":22}}}`))
	if err := clastix.Patch(t.Context(), mine.DeepCopy(), endpoint); !apierrors.IsForbidden(err) {
		t.Errorf("a tenant names it later: %v", err)
	}
	if err := manager.Patch(t.Context(), mine, endpoint); err != nil {
		t.Errorf("the manager cannot write down what a daemon has chosen: %v", err)
	}
	if err := clastix.Patch(t.Context(), mine, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"a":"b"}},"spec":{"domains":["d1"]}}`))); err != nil {
		t.Errorf("a tenant cannot change the rest: %v", err)
	}
	if err := admin.Create(t.Context(), given()); err != nil {
		t.Errorf("clusterctl's user cannot move it: %v", err)
	}
}

func ignoreForbidden(err error) error {
	if apierrors.IsForbidden(err) {
		return nil
	}
	return err
}
