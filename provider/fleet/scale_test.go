package fleet_test

import (
	"fmt"
	"testing"

	"google.golang.org/protobuf/proto"

	"elemento.cloud/cluster-api-provider-elemento/daemon/rpc"
)

func TestASnapshotOfVeryManyVMsIsTakenIn(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	m := s.member()
	observation := seen(rpc.HostHealth_HOST_HEALTH_READY, 1)
	const vms = 20000
	for i := range vms {
		name := fmt.Sprintf("production-cluster-workers-%05d-0123abcd", i)
		observation.Vms = append(observation.Vms, &rpc.VM{
			Name: name, Host: "host-1", Domain: "rack-1", Uid: "11111111-1111-4111-8111-111111111111", Address: "10.20.30.40",
			Volumes: []string{name + "-boot", name + "-seed"}, Networks: []string{"production-cluster-0123abcd"},
		})
	}
	if size := proto.Size(observation); size < 4<<20 {
		t.Fatalf("%d bytes say nothing: gRPC takes as much by default", size)
	}
	s.daemons[0].tell(observation)
	s.eventually("the fleet knows all VMs", func() bool { return len(s.fleet.VMs(m.ClientUID())) == vms })
}
