package main

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
)

// larger makes a template like that of the workers, with so much more memory, and
// returns the names of both.
func (s *stage) larger(ctx context.Context, memoryMiB int64) (old, larger string, err error) {
	md, err := s.Cluster.deployment(ctx)
	if err != nil {
		return "", "", err
	}
	old = md.Spec.Template.Spec.InfrastructureRef.Name
	template := &infrav1.ElementoMachineTemplate{}
	if err := s.Admin.Get(ctx, client.ObjectKey{Namespace: md.Namespace, Name: old}, template); err != nil {
		return "", "", err
	}
	next := &infrav1.ElementoMachineTemplate{
		ObjectMeta: metav1.ObjectMeta{Namespace: md.Namespace, Name: old + "-larger", Labels: template.Labels},
		Spec:       *template.Spec.DeepCopy(),
	}
	next.Spec.Template.Spec.MemoryMiB += memoryMiB
	if err := s.Admin.Create(ctx, next); err != nil && !apierrors.IsAlreadyExists(err) {
		return "", "", err
	}
	return old, next.Name, nil
}

// useTemplate has the workers made of a template.
func (s *stage) useTemplate(ctx context.Context, name string) error {
	md, err := s.Cluster.deployment(ctx)
	if err != nil {
		return err
	}
	patch := client.MergeFrom(md.DeepCopy())
	md.Spec.Template.Spec.InfrastructureRef.Name = name
	return s.Admin.Patch(ctx, md, patch)
}

// allHave holds when all workers are to have so much memory, and their hosts say
// that they have what they are to.
func (s *stage) allHave(memoryMiB int64) check {
	return func(ctx context.Context) error {
		objects, err := s.Cluster.vms(ctx)
		if err != nil {
			return err
		}
		for _, o := range objects {
			if _, controlPlane := o.Labels[clusterv1.MachineControlPlaneLabel]; controlPlane {
				continue
			}
			if o.Spec.MemoryMiB != memoryMiB {
				return fmt.Errorf("ElementoMachine %s has %d MiB, want %d", o.Name, o.Spec.MemoryMiB, memoryMiB)
			}
			if err := s.saysTrue(vm{object: o}, infrav1.VMMatchesSpecCondition)(ctx); err != nil {
				return err
			}
		}
		return nil
	}
}
