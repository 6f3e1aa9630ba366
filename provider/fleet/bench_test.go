package fleet

import (
	"fmt"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"elemento.cloud/cluster-api-provider-elemento/daemon/rpc"
)

// The benchmarks take a site of 16 hosts with 1,000 VMs, before which two daemons
// stand.
const (
	benchHosts   = 16
	benchVMs     = 1000
	benchDaemons = 2
)

// benchMember has heard both daemons tell of all hosts, at a time.
func benchMember(at time.Time) *Member {
	m := &Member{fleet: New(logr.Discard()), clientUID: "client", synced: make(chan struct{}), merged: map[string]*merged{}}
	for range benchDaemons {
		m.daemons = append(m.daemons, &daemon{views: map[string]*view{}})
	}
	for _, d := range m.daemons {
		snapshot := &rpc.Snapshot{Interval: durationpb.New(time.Second)}
		for i := range benchHosts {
			o := &rpc.HostObservation{Host: benchHost(i), ObservedAt: timestamppb.New(at)}
			for n := i; n < benchVMs; n += benchHosts {
				o.Vms = append(o.Vms, benchVM(n))
			}
			snapshot.Hosts = append(snapshot.Hosts, o)
		}
		m.observe(d, &rpc.WatchVMsResponse{Event: &rpc.WatchVMsResponse_Snapshot{Snapshot: snapshot}})
	}
	m.fleet.changes.pending = nil
	return m
}

func benchHost(i int) *rpc.Host {
	return &rpc.Host{Id: fmt.Sprintf("host-%d", i), Domain: "d1", Health: rpc.HostHealth_HOST_HEALTH_READY}
}

func benchVM(n int) *rpc.VM {
	name := fmt.Sprintf("vm-%d", n)
	return &rpc.VM{
		Name: name, Host: fmt.Sprintf("host-%d", n%benchHosts), Domain: "d1", Uid: "uid-" + name, Address: "192.0.2.1",
		PowerState: rpc.PowerState_POWER_STATE_RUNNING, Slots: 2, MemoryMib: 4096, Created: timestamppb.New(time.Unix(int64(n), 0)),
		Volumes: []string{name + "-boot", name + "-seed"}, Networks: []string{"network"},
	}
}

// BenchmarkMergeAtRest takes in that both daemons have asked all hosts, in turn, and
// that nothing is new.
func BenchmarkMergeAtRest(b *testing.B) {
	at := time.Now()
	m := benchMember(at)
	b.ReportAllocs()
	for b.Loop() {
		for _, d := range m.daemons {
			at = at.Add(time.Second)
			fresh := map[string]*timestamppb.Timestamp{}
			for i := range benchHosts {
				fresh[fmt.Sprintf("host-%d", i)] = timestamppb.New(at)
			}
			m.observe(d, &rpc.WatchVMsResponse{Event: &rpc.WatchVMsResponse_Freshness{Freshness: &rpc.Freshness{ObservedAt: fresh}}})
		}
	}
	if n := len(m.fleet.changes.pending); n != 0 {
		b.Fatalf("%d changes were told", n)
	}
}

// BenchmarkMerge takes in that one VM in a hundred has changed, from both daemons, and
// finds out which.
func BenchmarkMerge(b *testing.B) {
	at := time.Now()
	m := benchMember(at)
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		changes := make([]*rpc.HostChange, benchHosts)
		for v := n % 100; v < benchVMs; v += 100 {
			vm := benchVM(v)
			vm.Address = fmt.Sprintf("192.0.2.%d", 2+n%200)
			i := v % benchHosts
			if changes[i] == nil {
				changes[i] = &rpc.HostChange{Host: benchHost(i)}
			}
			changes[i].Changed = append(changes[i].Changed, vm)
		}
		for _, d := range m.daemons {
			at = at.Add(time.Second)
			for _, c := range changes {
				if c == nil {
					continue
				}
				// Each daemon has messages of its own.
				c = proto.CloneOf(c)
				c.ObservedAt = timestamppb.New(at)
				m.observe(d, &rpc.WatchVMsResponse{Event: &rpc.WatchVMsResponse_Change{Change: c}})
			}
		}
		if told := len(m.fleet.changes.pending); told != benchVMs/100 {
			b.Fatalf("%d VMs have changed", told)
		}
		m.fleet.changes.pending = nil
	}
}
