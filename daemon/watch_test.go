package daemon_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"elemento.cloud/cluster-api-provider-elemento/c4"
	"elemento.cloud/cluster-api-provider-elemento/daemon"
	"elemento.cloud/cluster-api-provider-elemento/daemon/rpc"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos"
)

// viewer is what the reader of a stream knows.
type viewer struct {
	t      *testing.T
	stream rpc.VMService_WatchVMsClient
	epoch  string
	hosts  map[string]*rpc.Host
	vms    map[string]*rpc.VM // by host/name
	fresh  map[string]time.Time
	n      map[string]int // messages by kind
}

func watch(t *testing.T, c *caller) *viewer {
	t.Helper()
	stream, err := c.WatchVMs(within(t, 2*soon), &rpc.WatchVMsRequest{ClientUid: owner})
	if err != nil {
		t.Fatal(err)
	}
	v := &viewer{t: t, stream: stream, hosts: map[string]*rpc.Host{}, vms: map[string]*rpc.VM{}, fresh: map[string]time.Time{}, n: map[string]int{}}
	if v.next(); v.n["snapshot"] != 1 {
		t.Fatalf("the stream began with %v, want a snapshot", v.n)
	}
	return v
}

// next takes in one message.
func (v *viewer) next() {
	v.t.Helper()
	msg, err := v.stream.Recv()
	if err != nil {
		v.t.Fatal(err)
	}
	if v.epoch != "" && msg.Epoch != v.epoch {
		v.t.Errorf("epoch %s after %s", msg.Epoch, v.epoch)
	}
	v.epoch = msg.Epoch
	switch e := msg.Event.(type) {
	case *rpc.WatchVMsResponse_Snapshot:
		v.n["snapshot"]++
		clear(v.vms)
		for _, h := range e.Snapshot.Hosts {
			v.hosts[h.Host.Id] = h.Host
			for _, vm := range h.Vms {
				v.vms[h.Host.Id+"/"+vm.Name] = vm
			}
		}
	case *rpc.WatchVMsResponse_Change:
		v.n["change"]++
		v.hosts[e.Change.Host.Id] = e.Change.Host
		for _, vm := range e.Change.Changed {
			v.vms[e.Change.Host.Id+"/"+vm.Name] = vm
		}
		for _, name := range e.Change.Removed {
			if v.vms[e.Change.Host.Id+"/"+name] == nil {
				v.t.Errorf("%s was removed and had not been told of", name)
			}
			delete(v.vms, e.Change.Host.Id+"/"+name)
		}
	case *rpc.WatchVMsResponse_Freshness:
		v.n["freshness"]++
		for host, at := range e.Freshness.ObservedAt {
			if at := at.AsTime(); !at.After(v.fresh[host]) {
				v.t.Errorf("host %s was observed at %s, and before at %s", host, at, v.fresh[host])
			} else {
				v.fresh[host] = at
			}
		}
	}
}

// until takes in messages until what is true.
func (v *viewer) until(what string, is func() bool) {
	v.t.Helper()
	deadline := time.Now().Add(soon)
	for !is() {
		if time.Now().After(deadline) {
			v.t.Fatalf("not so in time: %s; the reader knows %v", what, slices.Sorted(maps.Keys(v.vms)))
		}
		v.next()
	}
}

func TestStreamTellsWhatBecomesOfAVM(t *testing.T) {
	t.Parallel()
	s := newSite(t, 2, func(o *fakeatomos.Options) { o.BootTime = 300 * time.Millisecond; o.StopTime = 300 * time.Millisecond })
	s.config.Interval = daemon.Duration{Duration: time.Hour} // what follows is not from the interval
	d := s.daemon()
	p := d.provider()
	v := watch(t, p)
	if len(v.hosts) != 2 || len(v.vms) != 0 || v.hosts["host-1"].Health != rpc.HostHealth_HOST_HEALTH_READY || v.hosts["host-1"].Threads != 32 {
		t.Fatalf("the snapshot has hosts %v and VMs %v", v.hosts, v.vms)
	}
	p.makes(t, "vm-1")
	v.until("the VM is there", func() bool { return v.vms["host-1/vm-1"] != nil })
	v.until("the VM runs with an address", func() bool {
		vm := v.vms["host-1/vm-1"]
		return vm.PowerState == rpc.PowerState_POWER_STATE_RUNNING && vm.Address != ""
	})
	p.deleteVM(t, "host-1", "vm-1", time.Now().Add(time.Minute))
	v.until("the VM is gone", func() bool { return v.vms["host-1/vm-1"] == nil })
}

func TestNetworksAreToldByNameOnceTheHostTellsTheirNames(t *testing.T) {
	t.Parallel()
	for _, effect := range []fakeatomos.Effect{fakeatomos.LoseRequest, fakeatomos.Hang} {
		t.Run(string(effect), func(t *testing.T) {
			t.Parallel()
			s := newSite(t, 1)
			s.daemon().provider().makes(t, "vm-1", "vm-2")
			s.fault(fakeatomos.Fault{Call: "GET network/list", Effect: effect})
			v := watch(t, s.daemon().provider())
			networks := func() []string { return v.vms["host-1/vm-1"].GetNetworks() }
			v.until("the VM is there", func() bool { return v.vms["host-1/vm-1"] != nil })
			if len(networks()) != 0 {
				t.Errorf("the VM is on %q, before anybody could know", networks())
			}
			uid := s.fake.Inventory().VM("vm-2")[0].UID
			if err := s.atomos("host-1").Unregister(within(t, soon), c4.VMRef{ClientUID: owner, VMUID: uid}); err != nil {
				t.Fatal(err)
			}
			v.until("another VM is gone", func() bool { return v.vms["host-1/vm-2"] == nil })
			if len(networks()) != 0 {
				t.Errorf("the VM is on %q, before anybody could know", networks())
			}
			s.fake.RemoveFaults("")
			v.until("the network has its name", func() bool { return slices.Equal(networks(), []string{"cluster"}) })
		})
	}
}

func TestStreamTellsOfWhatOthersDo(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	p := s.daemon().provider()
	v := watch(t, p)
	if _, err := s.daemon().provider().EnsureVM(within(t, soon), ensure("host-1", "vm-1")); err != nil {
		t.Fatal(err)
	}
	v.until("the other daemon's VM is there", func() bool { return v.vms["host-1/vm-1"] != nil })
	vm := v.vms["host-1/vm-1"]
	if err := s.atomos("host-1").Stop(within(t, soon), c4.VMRef{ClientUID: owner, VMUID: vm.Uid}); err != nil {
		t.Fatal(err)
	}
	v.until("the VM is off", func() bool { return v.vms["host-1/vm-1"].PowerState == rpc.PowerState_POWER_STATE_OFF })
}

func TestStreamTellsThatAHostGoesAndComesBack(t *testing.T) {
	t.Parallel()
	s := newSite(t, 2)
	p := s.daemon().provider()
	p.makes(t, "vm-1")
	v := watch(t, p)
	host := s.host("host-1")
	healthy := func(want rpc.HostHealth) func() bool {
		return func() bool { return v.hosts["host-1"].Health == want }
	}
	host.Down()
	v.until("the host is unreachable", healthy(rpc.HostHealth_HOST_HEALTH_UNREACHABLE))
	if v.vms["host-1/vm-1"] == nil {
		t.Error("the VM of a host that does not answer was told to be removed")
	}
	if err := host.Up(); err != nil {
		t.Fatal(err)
	}
	v.until("the host is back", healthy(rpc.HostHealth_HOST_HEALTH_READY))
	host.SetMaintenance(true)
	v.until("the host is in maintenance", healthy(rpc.HostHealth_HOST_HEALTH_MAINTENANCE))
	if v.vms["host-1/vm-1"] == nil {
		t.Error("the VM is gone from the stream")
	}
}

func TestSnapshotWithAHostThatWasNeverThereIsComplete(t *testing.T) {
	t.Parallel()
	s := newSite(t, 2)
	s.host("host-2").Down()
	p := s.daemon().provider()
	v := watch(t, p)
	if v.hosts["host-1"].Health != rpc.HostHealth_HOST_HEALTH_READY || v.hosts["host-2"].Health != rpc.HostHealth_HOST_HEALTH_UNREACHABLE {
		t.Errorf("hosts %v", v.hosts)
	}
	if err := s.host("host-2").Up(); err != nil {
		t.Fatal(err)
	}
	v.until("the host comes", func() bool { return v.hosts["host-2"].Health == rpc.HostHealth_HOST_HEALTH_READY })
}

func TestStreamAtRestIsQuietButFresh(t *testing.T) {
	t.Parallel()
	s := newSite(t, 2)
	v := watch(t, s.daemon().provider())
	for v.n["freshness"] < 5 {
		v.next()
	}
	if v.n["change"] > 0 || len(v.fresh) != 2 {
		t.Errorf("%d changes, fresh %v; want none, and both hosts", v.n["change"], v.fresh)
	}
}

func TestSlowReaderGetsTheStateAndNotAQueue(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	s.config.Interval = daemon.Duration{Duration: time.Hour} // the daemon looks when it is told to
	// A connection that holds little, and far more than that to tell while
	// nobody reads.
	p := s.daemon().as(must(s.authority.Client("provider")), grpc.WithStaticStreamWindowSize(64<<10), grpc.WithStaticConnWindowSize(1<<20))
	v := watch(t, p)
	host := s.atomos("host-1")
	const vms, rounds = 60, 40
	for i := range vms {
		pledge := c4.Pledge{CPU: c4.CPUPledge{Slots: 1, MaxOverprovision: 10}, Mem: c4.MemPledge{Capacity: 128}, Misc: c4.MiscPledge{}}
		if _, err := host.Register(within(t, soon), c4.RegisterRequest{ClientUID: owner, Name: fmt.Sprintf("vm-%d", i), Pledge: pledge}); err != nil {
			t.Fatal(err)
		}
	}
	all, _, _, err := host.VMs(within(t, soon), owner, nil)
	if err != nil {
		t.Fatal(err)
	}
	for round := range rounds {
		for _, vm := range all {
			turn := host.Stop
			if round%2 == 1 {
				turn = host.Start
			}
			if err := turn(within(t, soon), c4.VMRef{ClientUID: owner, VMUID: vm.UID}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := p.ListVMs(within(t, soon), &rpc.ListVMsRequest{ClientUid: owner}); err != nil { // has the daemon look
			t.Fatal(err)
		}
	}
	if err := host.Stop(within(t, soon), c4.VMRef{ClientUID: owner, VMUID: all[0].UID}); err != nil {
		t.Fatal(err)
	}
	if _, err := p.ListVMs(within(t, soon), &rpc.ListVMsRequest{ClientUid: owner}); err != nil {
		t.Fatal(err)
	}
	v.until("the reader knows the last state", func() bool {
		off := 0
		for _, vm := range v.vms {
			if vm.PowerState == rpc.PowerState_POWER_STATE_OFF {
				off++
			}
		}
		return len(v.vms) == vms && off == 1 && v.vms["host-1/"+all[0].Name].PowerState == rpc.PowerState_POWER_STATE_OFF
	})
	if v.n["change"] >= rounds {
		t.Errorf("the reader was told %d changes: as many as there were", v.n["change"])
	}
}

func TestCallsAtRestDoNotGrowWithVMs(t *testing.T) {
	t.Parallel()
	count := func(vms int) (calls int64, took time.Duration) {
		s := newSite(t, 2)
		p := s.daemon().provider()
		for i := range vms {
			if _, err := p.EnsureVM(within(t, soon), ensure(fmt.Sprintf("host-%d", 1+i%2), fmt.Sprintf("vm-%d", i))); err != nil {
				t.Fatal(err)
			}
		}
		v := watch(t, p)
		for v.n["freshness"] < 3 {
			v.next()
		}
		before, began := s.calls(""), time.Now()
		for v.n["freshness"] < 13 {
			v.next()
		}
		return s.calls("") - before, time.Since(began)
	}
	few, tookFew := count(1)
	many, tookMany := count(30)
	// Two calls a host and interval: its VMs and itself.
	for _, c := range []struct {
		calls int64
		took  time.Duration
	}{{few, tookFew}, {many, tookMany}} {
		if most := int64(4*(c.took/(100*time.Millisecond)) + 8); c.calls > most {
			t.Errorf("%d calls in %s, want at most %d", c.calls, c.took, most)
		}
	}
}

func TestNobodyIsAskedWhenNobodyWatches(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	p := s.daemon().provider()
	ctx, cancel := context.WithCancel(within(t, soon))
	stream, err := p.WatchVMs(ctx, &rpc.WatchVMsRequest{ClientUid: owner})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	cancel()
	eventually(t, "the calls end", func() bool {
		before := s.calls("")
		time.Sleep(350 * time.Millisecond) // intervals
		return s.calls("") == before
	})
}

func TestDrainEndsStreamsAndLetsCallsFinish(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	s.config.DrainTimeout = daemon.Duration{Duration: 2 * soon} // what comes before is not from the timeout
	d := s.daemon()
	p := d.provider()
	health, err := grpc_health_v1.NewHealthClient(p.conn).Watch(within(t, soon), &grpc_health_v1.HealthCheckRequest{})
	if err == nil {
		_, err = health.Recv()
	}
	if err != nil {
		t.Fatal(err)
	}
	v := watch(t, p)
	s.fault(fakeatomos.Fault{Call: register, Times: 1, Effect: fakeatomos.DelayBefore, Delay: time.Second})
	made := make(chan error, 1)
	go func() {
		_, err := p.EnsureVM(within(t, soon), ensure("host-1", "vm-1"))
		made <- err
	}()
	eventually(t, "the call is under way", func() bool { return s.calls(register) > 0 })
	began := time.Now()
	d.stop()
	for err = nil; err == nil; {
		_, err = v.stream.Recv()
	}
	wantReason(t, err, rpc.Reason_REASON_DRAINING)
	if res, err := health.Recv(); err != nil || res.Status != grpc_health_v1.HealthCheckResponse_NOT_SERVING {
		t.Errorf("health %v, %v; want not serving", res, err)
	}
	if err := <-made; err != nil {
		t.Errorf("the call that was under way: %v", err)
	}
	if err := <-d.done; err != nil {
		t.Error(err)
	}
	d.done <- nil
	if took := time.Since(began); took > soon {
		t.Errorf("took %s", took)
	}
	if err := listVMs(t, d.provider(), owner); status.Code(err) != codes.Unavailable {
		t.Errorf("after its end the daemon says %v", err)
	}
}

func TestDaemonThatIsEndedAtOnceEnds(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	for range 10 {
		d := s.daemon()
		d.stop()
		if err := <-d.done; err != nil {
			t.Error(err)
		}
		d.done <- nil
	}
}
