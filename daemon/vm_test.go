package daemon_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"elemento.cloud/cluster-api-provider-elemento/c4"
	"elemento.cloud/cluster-api-provider-elemento/daemon/rpc"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos/guest"
)

func timestampOrNil(at time.Time) *timestamppb.Timestamp {
	if at.IsZero() {
		return nil
	}
	return timestamppb.New(at)
}

func TestVMIsMadeOnceHoweverOftenItIsAskedFor(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	p := s.daemon().provider()
	var uid string
	for range 3 {
		res, err := p.EnsureVM(within(t, soon), ensure("host-1", "vm-1"))
		if err != nil {
			t.Fatal(err)
		}
		if uid == "" {
			uid = res.Vm.Uid
		}
		if res.Vm.Uid != uid || res.Vm.PowerState != rpc.PowerState_POWER_STATE_RUNNING || res.Vm.Address == "" {
			t.Errorf("got %v, want VM %s running with an address", res.Vm, uid)
		}
		if want := []string{"vm-1-boot", "vm-1-seed"}; !slices.Equal(res.Vm.Volumes, want) {
			t.Errorf("volumes %q, want %q", res.Vm.Volumes, want)
		}
		if want := []string{"cluster"}; !slices.Equal(res.Vm.Networks, want) {
			t.Errorf("networks %q, want %q", res.Vm.Networks, want)
		}
	}
	if n := s.calls("POST matcher/register"); n != 1 {
		t.Errorf("%d registers, want 1", n)
	}
}

func TestVMIsMadeInFewCalls(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	p := s.daemon().provider()
	p.makes(t, "vm-1")
	before := s.calls("")
	p.makes(t, "vm-2")
	if n := s.calls("") - before; n > 10 {
		t.Errorf("%d C4 calls for a VM whose network is there, want at most 10", n)
	}
}

// calls counts the C4 calls that arrived at all hosts, of one name or of all.
func (s *site) calls(call string) (n int64) {
	for _, counts := range s.fake.Calls() {
		for name, c := range counts {
			if call == "" || name == call {
				n += c
			}
		}
	}
	return n
}

func TestVMWithDataVolumesIsGoneWithThem(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	p := s.daemon().provider()
	req := ensure("host-1", "vm-1")
	req.Spec.DataVolumes = []*rpc.Volume{{Name: "etcd", SizeGib: 2, Format: "raw"}, {Name: "logs", SizeGib: 1}}
	res, err := p.EnsureVM(within(t, soon), req)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"vm-1-boot", "vm-1-data-etcd", "vm-1-data-logs", "vm-1-seed"}; !slices.Equal(res.Vm.Volumes, want) {
		t.Errorf("volumes %q, want %q", res.Vm.Volumes, want)
	}
	p.deleteVM(t, "host-1", "vm-1", time.Time{})
	s.wantNothingLeft("network cluster")
}

func TestDeletionOfAVMThatStopsAtOnceTakesOneCall(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	p := s.daemon().provider()
	// A call does not wait for long, so on a busy machine it may take a second.
	eventually(t, "a deletion takes one call", func() bool {
		p.makes(t, "vm-1")
		before := s.calls("POST matcher/stop")
		calls := p.deleteVM(t, "host-1", "vm-1", time.Now().Add(time.Hour))
		if n := s.calls("POST matcher/stop") - before; n != 1 {
			t.Errorf("%d stops, want 1: the guest is to shut down by itself", n)
		}
		s.wantNothingLeft("network cluster")
		return calls == 1
	})
}

func TestDeletionWaitsForTheGuestAndThenCutsPower(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1, func(o *fakeatomos.Options) { o.StopTime = time.Hour })
	p := s.daemon().provider()
	p.makes(t, "vm-1")
	force := time.Now().Add(6 * time.Second)
	res, err := p.DeleteVM(within(t, soon), &rpc.DeleteVMRequest{ClientUid: owner, Host: "host-1", VmName: "vm-1", ForceAfter: timestamppb.New(force)})
	if err != nil {
		t.Fatal(err)
	}
	if res.Gone || !slices.Equal(res.Remaining, []string{"VM is shutting down"}) {
		t.Fatalf("got %v, want the VM to be shutting down", res)
	}
	p.deleteVM(t, "host-1", "vm-1", force)
	if time.Now().Before(force) {
		t.Error("power was cut too early")
	}
	if n := s.calls("POST matcher/stop"); n != 1 {
		t.Errorf("%d stops, want 1", n)
	}
	s.wantNothingLeft("network cluster")
}

func TestDeletionOfWhatNeverWasSaysGone(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	p := s.daemon().provider()
	if calls := p.deleteVM(t, "host-1", "vm-1", time.Time{}); calls != 1 {
		t.Errorf("took %d calls, want 1", calls)
	}
	if n := s.calls("GET matcher/running"); n != 2 {
		t.Errorf("the host was asked %d times, want 2: once may be a mistake", n)
	}
}

func TestVMOfAnotherClientIsNeverTouched(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	d := s.daemon()
	theirs := ensure("host-1", "vm-1")
	theirs.ClientUid = another
	before, err := d.other().EnsureVM(within(t, soon), theirs)
	if err != nil {
		t.Fatal(err)
	}
	// Nothing but its owner protects what no VM uses.
	if _, err := d.other().EnsureNetwork(within(t, soon), &rpc.EnsureNetworkRequest{ClientUid: another, Network: nat("idle"), Domains: []string{"d1"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.atomos("host-1").CreateVolume(within(t, soon), c4.VolumeRequest{CreatorID: another, Name: "vm-1-boot", Alg: "no", Format: "raw", Bus: "virtio", Size: 1}); err != nil {
		t.Fatal(err)
	}
	p := d.provider()
	_, err = p.GetVM(within(t, soon), &rpc.GetVMRequest{ClientUid: owner, Host: "host-1", VmName: "vm-1"})
	wantReason(t, err, rpc.Reason_REASON_VM_NOT_FOUND, "vm-1", "host-1")
	_, err = p.SetVMPower(within(t, soon), &rpc.SetVMPowerRequest{ClientUid: owner, Host: "host-1", VmName: "vm-1", Action: rpc.PowerAction_POWER_ACTION_OFF})
	wantReason(t, err, rpc.Reason_REASON_VM_NOT_FOUND)
	resources := s.fake.Inventory().Resources()
	p.deleteVM(t, "host-1", "vm-1", time.Time{})
	for _, network := range []string{"cluster", "idle"} {
		if _, err = p.DeleteNetwork(within(t, soon), &rpc.DeleteNetworkRequest{ClientUid: owner, NetworkName: network, Domains: []string{"d1"}}); err != nil {
			t.Fatal(err)
		}
	}
	if after := s.fake.Inventory().Resources(); !slices.Equal(after, resources) {
		t.Errorf("AtomOS held %q and now holds %q", resources, after)
	}
	if mine, err := p.EnsureVM(within(t, soon), ensure("host-1", "vm-1")); err != nil || mine.Vm.Uid == before.Vm.Uid {
		t.Errorf("got %v, %v: want a VM of its own beside the other's", mine, err)
	}
}

func TestPowerIsSwitchedAndSwitchingTwiceIsFine(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	p := s.daemon().provider()
	p.makes(t, "vm-1")
	for _, step := range []struct {
		action rpc.PowerAction
		want   rpc.PowerState
	}{
		{rpc.PowerAction_POWER_ACTION_ON, rpc.PowerState_POWER_STATE_RUNNING},
		{rpc.PowerAction_POWER_ACTION_REBOOT, rpc.PowerState_POWER_STATE_RUNNING},
		{rpc.PowerAction_POWER_ACTION_OFF, rpc.PowerState_POWER_STATE_OFF},
		{rpc.PowerAction_POWER_ACTION_OFF, rpc.PowerState_POWER_STATE_OFF},
		{rpc.PowerAction_POWER_ACTION_ON, rpc.PowerState_POWER_STATE_RUNNING},
	} {
		res, err := p.SetVMPower(within(t, soon), &rpc.SetVMPowerRequest{ClientUid: owner, Host: "host-1", VmName: "vm-1", Action: step.action})
		if err != nil {
			t.Fatalf("%s: %v", step.action, err)
		}
		if res.Vm.PowerState != step.want {
			t.Errorf("%s led to %s", step.action, res.Vm.PowerState)
		}
	}
}

func TestVolumesAndNetworksComeAndGoWhileTheVMRuns(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	p := s.daemon().provider()
	p.makes(t, "vm-1")
	get := func() *rpc.VM {
		res, err := p.GetVM(within(t, soon), &rpc.GetVMRequest{ClientUid: owner, Host: "host-1", VmName: "vm-1"})
		if err != nil {
			t.Fatal(err)
		}
		if res.Usage == nil {
			t.Error("usage is unset, though the host can tell it")
		}
		return res.Vm
	}
	for range 2 { // the second time changes nothing
		if _, err := p.AttachVolume(within(t, soon), &rpc.AttachVolumeRequest{ClientUid: owner, Host: "host-1", VmName: "vm-1", Volume: &rpc.Volume{Name: "extra", SizeGib: 1}}); err != nil {
			t.Fatal(err)
		}
		if _, err := p.AttachNetwork(within(t, soon), &rpc.AttachNetworkRequest{ClientUid: owner, Host: "host-1", VmName: "vm-1", Network: &rpc.NetworkSpec{Name: "storage", Cidr: "127.89.0.0/24", Mode: rpc.NetworkMode_NETWORK_MODE_NAT}}); err != nil {
			t.Fatal(err)
		}
	}
	vm := get()
	if !slices.Contains(vm.Volumes, "vm-1-data-extra") || !slices.Contains(vm.Networks, "storage") {
		t.Errorf("the VM has volumes %q and networks %q, want the extra volume and the storage network among them", vm.Volumes, vm.Networks)
	}
	for range 2 {
		if _, err := p.DetachVolume(within(t, soon), &rpc.DetachVolumeRequest{ClientUid: owner, Host: "host-1", VmName: "vm-1", VolumeName: "extra"}); err != nil {
			t.Fatal(err)
		}
		if _, err := p.DetachNetwork(within(t, soon), &rpc.DetachNetworkRequest{ClientUid: owner, Host: "host-1", VmName: "vm-1", NetworkName: "storage"}); err != nil {
			t.Fatal(err)
		}
	}
	if vm := get(); len(vm.Volumes) != 2 || len(vm.Networks) != 1 {
		t.Errorf("the VM has volumes %q and networks %q, want those it began with", vm.Volumes, vm.Networks)
	}
	for _, r := range s.fake.Inventory().Resources() {
		if strings.Contains(r, "extra") {
			t.Errorf("the detached volume is still there: %s", r)
		}
	}
}

func TestUsageIsUnsetWhereTheHostCannotTell(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1, func(o *fakeatomos.Options) { o.Hosts[0].PublishedOnly = true })
	p := s.daemon().provider()
	p.makes(t, "vm-1")
	res, err := p.GetVM(within(t, soon), &rpc.GetVMRequest{ClientUid: owner, Host: "host-1", VmName: "vm-1"})
	if err != nil || res.Usage != nil {
		t.Errorf("got usage %v, error %v; want neither", res.GetUsage(), err)
	}
	_, err = p.AttachVolume(within(t, soon), &rpc.AttachVolumeRequest{ClientUid: owner, Host: "host-1", VmName: "vm-1", Volume: &rpc.Volume{Name: "extra", SizeGib: 1}})
	wantReason(t, err, rpc.Reason_REASON_UNSUPPORTED)
}

func TestManyVMsAtOnceShareOneManagedNetwork(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	p := s.daemon().provider()
	var wg sync.WaitGroup
	for i := range 10 {
		wg.Go(func() {
			if _, err := p.EnsureVM(within(t, soon), ensure("host-1", fmt.Sprintf("vm-%d", i))); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := s.calls("POST network/create"); n != 1 {
		t.Errorf("the network was made %d times", n)
	}
}

func TestNewVolumesThatAreInvisibleForAWhileAreWaitedFor(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1, func(o *fakeatomos.Options) { o.VolumeDelay = 300 * time.Millisecond })
	p := s.daemon().provider()
	p.makes(t, "vm-1")
	p.deleteVM(t, "host-1", "vm-1", time.Time{})
	s.wantNothingLeft("network cluster")
}

func TestGuestGetsItsSeed(t *testing.T) {
	t.Parallel()
	guests := &seedReader{seen: make(chan guest.VM, 1)}
	s := newSite(t, 1, func(o *fakeatomos.Options) { o.Guests = guests })
	if _, err := s.daemon().provider().EnsureVM(within(t, soon), ensure("host-1", "vm-1")); err != nil {
		t.Fatal(err)
	}
	vm := <-guests.seen
	if want := "instance-id: vm-1\nlocal-hostname: vm-1\nprovider_id: elemento://d1/vm-1\n"; string(vm.MetaData) != want {
		t.Errorf("meta-data %q, want %q", vm.MetaData, want)
	}
	if !strings.Contains(string(vm.UserData), secret) {
		t.Error("the user-data did not arrive")
	}
}

// seedReader is the software of guests that only read their seed.
type seedReader struct{ seen chan guest.VM }

func (r *seedReader) Boot(_ context.Context, vm guest.VM) error { r.seen <- vm; return nil }
func (r *seedReader) Shutdown(context.Context, string) bool     { return true }
func (r *seedReader) PowerOff(string)                           {}
func (r *seedReader) Remove(string)                             {}
func (r *seedReader) Usage(string) (int64, int64)               { return 0, 0 }

func TestVMOfALivingMachineIsNeverTouched(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	p := s.daemon().provider()
	make := func(name string) *rpc.VM {
		req := ensure("host-1", name)
		req.Spec.DataVolumes = []*rpc.Volume{{Name: "x", SizeGib: 1}}
		res, err := p.EnsureVM(within(t, soon), req)
		if err != nil {
			t.Fatal(err)
		}
		return res.Vm
	}
	var living []*rpc.VM
	for _, name := range []string{"vm-data-x", "vm-boot", "vm-seed", "vm-2", "v"} {
		living = append(living, make(name))
	}
	if _, err := p.EnsureForward(within(t, soon), &rpc.EnsureForwardRequest{ClientUid: owner, Endpoint: &rpc.Endpoint{Host: "host-1", Port: 6443}, TargetHost: "host-1", TargetVmName: "vm-2", TargetPort: 6443}); err != nil {
		t.Fatal(err)
	}
	before := s.fake.Inventory().Resources()
	for _, force := range []time.Time{{}, time.Now().Add(time.Minute)} {
		make("vm")
		p.deleteVM(t, "host-1", "vm", force)
		p.deleteVM(t, "host-1", "vm", force)
		if after := s.fake.Inventory().Resources(); !slices.Equal(after, before) {
			t.Fatalf("AtomOS holds %q, want %q", after, before)
		}
	}
	for _, vm := range living {
		res, err := p.GetVM(within(t, soon), &rpc.GetVMRequest{ClientUid: owner, Host: "host-1", VmName: vm.Name})
		if err != nil || res.Vm.Uid != vm.Uid || res.Vm.PowerState != vm.PowerState || !slices.Equal(res.Vm.Volumes, vm.Volumes) {
			t.Errorf("got %v, %v; want %v as it was", res, err, vm)
		}
	}
}
