package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/cluster-api/cmd/clusterctl/client/yamlprocessor"
	utilyaml "sigs.k8s.io/cluster-api/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemento.cloud/cluster-api-provider-elemento/c4"
	"elemento.cloud/cluster-api-provider-elemento/daemon/rpc"
	"elemento.cloud/cluster-api-provider-elemento/e2e/binaries"
	"elemento.cloud/cluster-api-provider-elemento/e2e/world"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos"
	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
	"elemento.cloud/cluster-api-provider-elemento/soak/history"
)

// act is a step of a workload.
type act struct {
	name string
	do   func(context.Context, *stage) error
}

var (
	repeatedCreation = act{"creation again and again", createRepeatedly}
	pretendedRemoval = act{"a removal that is none", pretendToRemove}
	wholeLife        = act{"a whole life", live}
	lostRegister     = act{"a lost reply", loseRegister}
	crash            = act{"a crash", crashWorker}
	quorumLoss       = act{"a lost quorum", loseQuorum}
	deletion         = act{"the deletion of the cluster", deleteCluster}
)

// cluster makes a workload cluster of so many control planes and workers.
func cluster(controlPlanes, workers int) act {
	return act{"a cluster", func(ctx context.Context, s *stage) error { return makeCluster(ctx, s, controlPlanes, workers) }}
}

// key is the one workload cluster.
var key = client.ObjectKey{Namespace: "default", Name: "mutant"}

// createRepeatedly asks for a VM again, as one does who has lost the reply.
func createRepeatedly(ctx context.Context, s *stage) error {
	const vm = "repeated-vm"
	for range 3 {
		if err := ensure(ctx, s, vm); err != nil {
			return err
		}
	}
	return remove(ctx, s, vm)
}

// live makes a VM, looks at it, and removes it.
func live(ctx context.Context, s *stage) error {
	const vm = "whole-life"
	if err := errors.Join(ensure(ctx, s, vm), look(ctx, s, vm)); err != nil {
		return err
	}
	if err := remove(ctx, s, vm); err != nil {
		return err
	}
	if err := look(ctx, s, vm); codeOf(err) != rpc.Reason_REASON_VM_NOT_FOUND.String() {
		return fmt.Errorf("VM %s was removed, and a look at it ends: %w", vm, err)
	}
	return nil
}

// pretendToRemove has the next VM's host say that it is removed, and do nothing.
func pretendToRemove(ctx context.Context, s *stage) error {
	_, err := s.Fake().AddFault(ctx, fakeatomos.Fault{Name: "pretended removal", Call: "DELETE matcher/unregister", Times: 1, Effect: fakeatomos.Pretend})
	return err
}

func ensure(ctx context.Context, s *stage, vm string) error {
	_, err := call(ctx, s, "EnsureVM", s.vms.EnsureVM, &rpc.EnsureVMRequest{
		ClientUid: s.ClientUID(), Host: s.Hosts()[0].ID, VmName: vm, UserData: []byte("#cloud-config\n"),
		Spec: &rpc.VMSpec{
			Slots: 1, MaxOverprovision: 1, MemoryMib: 1024, Image: world.ImageName(world.KubernetesVersion),
			BootVolume: &rpc.Volume{SizeGib: 1}, DataVolumes: []*rpc.Volume{{Name: "one", SizeGib: 1}},
		},
	}, func(r *rpc.EnsureVMResponse) history.Result { return resultOf(r.GetVm()) })
	return err
}

func look(ctx context.Context, s *stage, vm string) error {
	_, err := call(ctx, s, "GetVM", s.vms.GetVM, &rpc.GetVMRequest{ClientUid: s.ClientUID(), Host: s.Hosts()[0].ID, VmName: vm},
		func(r *rpc.GetVMResponse) history.Result { return resultOf(r.GetVm()) })
	return err
}

func resultOf(vm *rpc.VM) history.Result {
	return history.Result{UID: vm.GetUid(), Power: vm.GetPowerState().String()}
}

// remove asks for a deletion until the VM is said to be gone.
func remove(ctx context.Context, s *stage, vm string) error {
	return eventually(ctx, "VM "+vm+" is gone", func(ctx context.Context) (bool, error) {
		response, err := call(ctx, s, "DeleteVM", s.vms.DeleteVM, &rpc.DeleteVMRequest{ClientUid: s.ClientUID(), Host: s.Hosts()[0].ID, VmName: vm},
			func(r *rpc.DeleteVMResponse) history.Result { return history.Result{Gone: r.GetGone()} })
		return response.GetGone(), err
	})
}

// loseRegister cuts a host off that is about to make a VM, so that the reply is
// lost, and lets it come back when the VM is there.
func loseRegister(ctx context.Context, s *stage) error {
	id, err := s.Fake().AddFault(ctx, fakeatomos.Fault{Name: "slow register", Call: "POST matcher/register", Times: 1, Effect: fakeatomos.DelayBefore, Delay: 3 * time.Second})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	s.background = append(s.background, func() { cancel(); <-done })
	go func() {
		defer close(done)
		if err := s.cutOff(ctx, id); err != nil && ctx.Err() == nil {
			fmt.Fprintln(os.Stderr, "cutting a host off:", err)
		}
	}()
	return nil
}

func (s *stage) cutOff(ctx context.Context, fault string) error {
	if err := eventually(ctx, "a host is asked for a VM", func(ctx context.Context) (bool, error) {
		faults, err := s.Fake().Faults(ctx)
		for _, f := range faults {
			if f.ID == fault {
				return false, err
			}
		}
		return true, err
	}); err != nil {
		return err
	}
	machines := &infrav1.ElementoMachineList{}
	if err := s.admin.List(ctx, machines); err != nil {
		return err
	}
	for _, m := range machines.Items {
		host, vm := m.Spec.Host, m.Spec.VMName
		if host == "" {
			continue
		}
		if err := s.Fake().Isolate(ctx, host); err != nil {
			return err
		}
		// A while longer, for who would look elsewhere meanwhile.
		until := time.Now().Add(8 * time.Second)
		return errors.Join(eventually(ctx, "the VM is there", func(ctx context.Context) (bool, error) {
			inventory, err := s.Fake().Inventory(ctx)
			return len(inventory.VM(vm)) > 0 && time.Now().After(until), err
		}), s.Fake().Reconnect(context.WithoutCancel(ctx), host))
	}
	return errors.New("no machine has a host")
}

func makeCluster(ctx context.Context, s *stage, controlPlanes, workers int) error {
	repository, err := binaries.Repository(ctx)
	if err != nil {
		return err
	}
	template, err := os.ReadFile(filepath.Join(repository, "provider", "templates", "cluster-template.yaml"))
	if err != nil {
		return err
	}
	values := map[string]string{
		"CLUSTER_NAME": key.Name, "NAMESPACE": key.Namespace, "KUBERNETES_VERSION": world.KubernetesVersion,
		"CONTROL_PLANE_MACHINE_COUNT": strconv.Itoa(controlPlanes), "WORKER_MACHINE_COUNT": strconv.Itoa(workers),
		"ELEMENTO_NETWORK_CIDR": s.GuestNetwork(),
	}
	manifest, err := yamlprocessor.NewSimpleProcessor().Process(template, func(name string) (string, error) {
		if value, is := values[name]; is {
			return value, nil
		}
		return "", fmt.Errorf("the template has a variable %s", name)
	})
	if err != nil {
		return err
	}
	objects, err := utilyaml.ToUnstructured(manifest)
	if err != nil {
		return err
	}
	for i := range objects {
		if err := s.admin.Create(ctx, &objects[i]); err != nil {
			return fmt.Errorf("making the cluster: %w", err)
		}
	}
	return s.ready(ctx, controlPlanes+workers)
}

// ready waits until so many Machines are.
func (s *stage) ready(ctx context.Context, n int) error {
	return eventually(ctx, fmt.Sprintf("%d Machines are Ready", n), func(ctx context.Context) (bool, error) {
		machines := &clusterv1.MachineList{}
		err := s.admin.List(ctx, machines, client.InNamespace(key.Namespace))
		ready := 0
		for i := range machines.Items {
			for _, c := range machines.Items[i].Status.Conditions {
				if c.Type == clusterv1.ReadyCondition && c.Status == metav1.ConditionTrue {
					ready++
				}
			}
		}
		return ready == n && len(machines.Items) == n, err
	})
}

// machines are the cluster's.
func (s *stage) machines(ctx context.Context) ([]infrav1.ElementoMachine, error) {
	list := &infrav1.ElementoMachineList{}
	err := s.admin.List(ctx, list, client.InNamespace(key.Namespace))
	return list.Items, err
}

// crashWorker takes a worker's power and waits until it has it again.
func crashWorker(ctx context.Context, s *stage) error {
	machines, err := s.machines(ctx)
	if err != nil {
		return err
	}
	for _, m := range machines {
		if _, controls := m.Labels[clusterv1.MachineControlPlaneLabel]; controls {
			continue
		}
		if err := s.Fake().CrashVM(ctx, m.Spec.Host, m.Spec.VMName); err != nil {
			return err
		}
		if err := eventually(ctx, "the worker runs again", func(ctx context.Context) (bool, error) {
			inventory, err := s.Fake().Inventory(ctx)
			vms := inventory.VM(m.Spec.VMName)
			return len(vms) == 1 && vms[0].State == c4.Running, err
		}); err != nil {
			return err
		}
		return s.ready(ctx, len(machines))
	}
	return errors.New("there is no worker")
}

// outage is for how long hosts are without power.
const outage = 10 * time.Second

// loseQuorum takes the power of all hosts but that of the cluster's endpoint, for a
// while.
func loseQuorum(ctx context.Context, s *stage) error {
	infrastructure := &infrav1.ElementoCluster{}
	if err := s.admin.Get(ctx, key, infrastructure); err != nil {
		return err
	}
	machines, err := s.machines(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, up := range []bool{false, true} {
		for _, host := range s.Hosts() {
			switch {
			case host.ID == infrastructure.Spec.EndpointHost:
			case up:
				errs = append(errs, s.Fake().Up(ctx, host.ID))
			default:
				errs = append(errs, s.Fake().Down(ctx, host.ID))
			}
		}
		if err := errors.Join(errs...); err != nil {
			return err
		}
		if !up {
			over := time.Now().Add(outage)
			if err := eventually(ctx, "the outage is over", func(context.Context) (bool, error) { return time.Now().After(over), nil }); err != nil {
				return err
			}
		}
	}
	return s.ready(ctx, len(machines))
}

// deleteCluster deletes the cluster and waits until it is gone.
func deleteCluster(ctx context.Context, s *stage) error {
	if err := s.admin.Delete(ctx, &clusterv1.Cluster{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}}); err != nil {
		return err
	}
	return eventually(ctx, "the cluster is gone", func(ctx context.Context) (bool, error) {
		err := s.admin.Get(ctx, key, &clusterv1.Cluster{})
		return apierrors.IsNotFound(err), client.IgnoreNotFound(err)
	})
}
