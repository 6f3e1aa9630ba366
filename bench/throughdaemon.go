package main

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"elemento.cloud/cluster-api-provider-elemento/daemon/rpc"
	"elemento.cloud/cluster-api-provider-elemento/e2e/poll"
)

const (
	// aCall is how long a call to a daemon may take, and looking how long to wait until
	// it is looked again.
	aCall   = 30 * time.Second
	looking = 25 * time.Millisecond
	// toStop is the time that guests are given to shut down.
	toStop = time.Minute
)

// throughDaemon makes VMs by a daemon, as our manager does.
type throughDaemon struct {
	placing   rpc.DomainServiceClient
	vms       rpc.VMServiceClient
	clientUID string
	// domains are those that VMs are placed in, by turns.
	domains []string
	spec    *rpc.VMSpec

	mu   sync.Mutex
	next int
	// on are the hosts of VMs.
	on map[string]string
}

func newThroughDaemon(conn *grpc.ClientConn, clientUID string, domains []string, spec *rpc.VMSpec) *throughDaemon {
	return &throughDaemon{
		placing: rpc.NewDomainServiceClient(conn), vms: rpc.NewVMServiceClient(conn), clientUID: clientUID,
		domains: domains, spec: spec, on: map[string]string{},
	}
}

// specOf is that of the VMs, in a network that is there.
func specOf(image, network string) *rpc.VMSpec {
	return &rpc.VMSpec{
		Slots: vmSlots, MaxOverprovision: vmShared, MemoryMib: vmMemoryMiB, Image: image,
		BootVolume: &rpc.Volume{SizeGib: vmDiskGiB}, Networks: []*rpc.NetworkSpec{{Name: network}},
	}
}

func (d *throughDaemon) domain() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.next++
	return d.domains[d.next%len(d.domains)]
}

func (d *throughDaemon) make(ctx context.Context, name string) error {
	call, cancel := context.WithTimeout(ctx, aCall)
	defer cancel()
	placed, err := d.placing.PlaceVM(call, &rpc.PlaceVMRequest{
		ClientUid: d.clientUID, Domain: d.domain(), VmName: name, Spec: d.spec, Role: rpc.Role_ROLE_WORKER,
	})
	if err != nil {
		return err
	}
	host := placed.GetHost()
	d.mu.Lock()
	d.on[name] = host
	d.mu.Unlock()
	call, cancel = context.WithTimeout(ctx, aCall)
	defer cancel()
	made, err := d.vms.EnsureVM(call, &rpc.EnsureVMRequest{
		ClientUid: d.clientUID, Host: host, VmName: name, Spec: d.spec, UserData: []byte(userData),
		MetaData: map[string]string{"instance-id": name, "local-hostname": name},
	})
	if err != nil || made.GetVm().GetPowerState() == rpc.PowerState_POWER_STATE_RUNNING {
		return err
	}
	return poll.Until(ctx, looking, func(ctx context.Context) (bool, error) {
		ctx, cancel := context.WithTimeout(ctx, aCall)
		defer cancel()
		got, err := d.vms.GetVM(ctx, &rpc.GetVMRequest{ClientUid: d.clientUID, Host: host, VmName: name})
		return err != nil || got.GetVm().GetPowerState() == rpc.PowerState_POWER_STATE_RUNNING, err
	})
}

func (d *throughDaemon) remove(ctx context.Context, name string) error {
	d.mu.Lock()
	host := d.on[name]
	delete(d.on, name)
	d.mu.Unlock()
	force := timestamppb.New(time.Now().Add(toStop))
	return poll.Until(ctx, looking, func(ctx context.Context) (bool, error) {
		ctx, cancel := context.WithTimeout(ctx, aCall)
		defer cancel()
		res, err := d.vms.DeleteVM(ctx, &rpc.DeleteVMRequest{ClientUid: d.clientUID, Host: host, VmName: name, ForceAfter: force})
		return err != nil || res.GetGone(), err
	})
}
