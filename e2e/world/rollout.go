package world

import (
	"context"
	"errors"
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemento.cloud/cluster-api-provider-elemento/e2e/image"
)

// elementoLease is the Lease that the one of our managers holds that acts.
const elementoLease = "controller-leader-election-elemento"

// Lease is the name of the Lease that the one of our managers holds that acts.
func (w *World) Lease() client.ObjectKey {
	return client.ObjectKey{Namespace: identityNamespace, Name: elementoLease}
}

// PrepareManager builds our manager once more from the same tree, as another version,
// which it says when it starts, and puts it onto kind's node as an image, whose name it
// returns.
func (w *World) PrepareManager(ctx context.Context, version string) (string, error) {
	_, container, err := w.elementoManager(ctx)
	if err != nil {
		return "", err
	}
	target := w.state.path("bin", "manager-"+version)
	if err := w.build(ctx, "provider/cmd/manager", target, "-ldflags=-X main.release="+version); err != nil {
		return "", err
	}
	name, _, _ := strings.Cut(container.Image, ":")
	name += ":" + version
	return name, w.kind.load(image.Program(name, target))
}

// RollManager has the Deployment of our manager run another image, one of
// [World.PrepareManager] or the one from before, and returns the latter when the pods are
// new and ready. The one that acted may still be about to end.
func (w *World) RollManager(ctx context.Context, image string) (before string, err error) {
	d, container, err := w.elementoManager(ctx)
	if err != nil {
		return "", err
	}
	patch := client.StrategicMergeFrom(d.DeepCopy())
	before, container.Image = container.Image, image
	if err := w.client.Patch(ctx, d, patch); err != nil {
		return before, fmt.Errorf("rolling our manager to %s: %w", image, err)
	}
	return before, w.available(ctx, client.ObjectKeyFromObject(d))
}

// elementoManager is the Deployment of our manager, and the container in it.
func (w *World) elementoManager(ctx context.Context) (*appsv1.Deployment, *corev1.Container, error) {
	m := w.managers[ElementoProvider]
	if w.kind == nil || m == nil {
		return nil, nil, errors.New("our manager is a Deployment on kind only")
	}
	d := &appsv1.Deployment{}
	if err := w.client.Get(ctx, m.deployment, d); err != nil {
		return nil, nil, fmt.Errorf("looking for our manager: %w", err)
	}
	container, err := managerIn(d)
	return d, container, err
}
