package main

import (
	"context"
	"fmt"

	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"

	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
)

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
