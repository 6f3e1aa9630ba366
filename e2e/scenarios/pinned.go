package main

import (
	"context"
	"errors"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// pinned makes a second MachineDeployment of one worker for a failure domain, of
// the templates of the first.
func (s *stage) pinned(ctx context.Context, domain string) error {
	md, err := s.Cluster.Deployment(ctx)
	if err != nil {
		return err
	}
	second := &clusterv1.MachineDeployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: md.Namespace, Name: s.pinnedName()},
		Spec:       *md.Spec.DeepCopy(),
	}
	second.Spec.Replicas = ptr.To[int32](1)
	second.Spec.Selector = metav1.LabelSelector{}
	second.Spec.Template.Labels = nil
	second.Spec.Template.Spec.FailureDomain = domain
	return s.Admin.Create(ctx, second)
}

func (s *stage) pinnedName() string { return s.Cluster.Key.Name + "-pinned" }

// pinnedReady holds when the worker that is pinned is Ready.
func (s *stage) pinnedReady() check {
	return func(ctx context.Context) error {
		md := &clusterv1.MachineDeployment{}
		if err := s.Admin.Get(ctx, client.ObjectKey{Namespace: s.Cluster.Key.Namespace, Name: s.pinnedName()}, md); err != nil {
			return err
		}
		if n := ptr.Deref(md.Status.ReadyReplicas, 0); n != 1 {
			return fmt.Errorf("%d pinned workers are Ready", n)
		}
		return nil
	}
}

// unpin takes the pinned worker away.
func (s *stage) unpin(ctx context.Context) error {
	md := &clusterv1.MachineDeployment{ObjectMeta: metav1.ObjectMeta{Namespace: s.Cluster.Key.Namespace, Name: s.pinnedName()}}
	if err := s.Admin.Delete(ctx, md); err != nil {
		return err
	}
	s.converges(ctx, "the pinned worker is gone", func(ctx context.Context) error {
		machines := &clusterv1.MachineList{}
		if err := s.Admin.List(ctx, machines, client.InNamespace(md.Namespace), client.MatchingLabels{clusterv1.MachineDeploymentNameLabel: md.Name}); err != nil {
			return err
		}
		if len(machines.Items) > 0 {
			return errors.New("it is still there")
		}
		return nil
	})
	return nil
}
