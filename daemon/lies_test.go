package daemon_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/daemon/rpc"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos"
)

// Hosts that say what is not so, half of it, or nothing.

func TestVolumeThatAHostOnlySaysItHasDestroyedIsNotGone(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	p := s.daemon().provider()
	p.makes(t, "vm-1")
	id := s.fault(fakeatomos.Fault{Call: "POST storage/destroy", VM: "vm-1-boot", Effect: fakeatomos.Pretend})
	for range 3 {
		res, err := p.DeleteVM(within(t, soon), &rpc.DeleteVMRequest{ClientUid: owner, Host: "host-1", VmName: "vm-1"})
		if err != nil || res.Gone || !slices.Equal(res.Remaining, []string{"volume vm-1-boot"}) {
			t.Fatalf("got %v, %v; want the boot volume to remain", res, err)
		}
	}
	s.fake.RemoveFaults(id)
	p.deleteVM(t, "host-1", "vm-1", time.Time{})
	s.wantNothingLeft("network cluster")
}

func TestVMIsNotGoneWhileItsHostGivesNoList(t *testing.T) {
	t.Parallel()
	for _, effect := range []fakeatomos.Effect{fakeatomos.NoContent, fakeatomos.WrongJSON, fakeatomos.HalfReply} {
		t.Run(string(effect), func(t *testing.T) {
			t.Parallel()
			s := newSite(t, 1)
			p := s.daemon().provider()
			p.makes(t, "vm-1")
			before := s.fake.Inventory().Resources()
			stream, err := p.WatchVMs(within(t, 2*soon), &rpc.WatchVMsRequest{ClientUid: owner})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := stream.Recv(); err != nil {
				t.Fatal(err)
			}
			s.fault(fakeatomos.Fault{Call: "GET matcher/running", Effect: effect})
			_, err = p.GetVM(within(t, soon), &rpc.GetVMRequest{ClientUid: owner, Host: "host-1", VmName: "vm-1"})
			if got := reason(err); got != rpc.Reason_REASON_HOST_FAILED && got != rpc.Reason_REASON_HOST_UNREACHABLE {
				t.Errorf("got %v, want a host that fails", err)
			}
			if res, err := p.DeleteVM(within(t, soon), &rpc.DeleteVMRequest{ClientUid: owner, Host: "host-1", VmName: "vm-1"}); err == nil {
				t.Errorf("deleting: %v", res)
			}
			for unreachable := false; !unreachable; {
				res, err := stream.Recv()
				if err != nil {
					t.Fatal(err)
				}
				if removed := res.GetChange().GetRemoved(); len(removed) > 0 {
					t.Errorf("the stream says that %q are gone", removed)
				}
				unreachable = res.GetChange().GetHost().GetHealth() == rpc.HostHealth_HOST_HEALTH_UNREACHABLE
			}
			if after := s.fake.Inventory().Resources(); !slices.Equal(after, before) {
				t.Errorf("AtomOS held %q and now holds %q", before, after)
			}
		})
	}
}

func TestVolumesAreNotGoneBecauseAHostListsNone(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	p := s.daemon().provider()
	p.makes(t, "vm-1")
	// 204 is how an empty list is answered, so nothing tells this one from a true
	// one.
	s.fault(fakeatomos.Fault{Call: "POST storage/accessible", Effect: fakeatomos.NoContent})
	p.deleteVM(t, "host-1", "vm-1", time.Time{})
	s.wantNothingLeft("network cluster")
}

func TestStopThatHangsDoesNotKeepPowerFromBeingCutInTime(t *testing.T) {
	t.Parallel()
	for _, effect := range []fakeatomos.Effect{fakeatomos.Hang, fakeatomos.Pretend, fakeatomos.LoseRequest} {
		t.Run(string(effect), func(t *testing.T) {
			t.Parallel()
			s := newSite(t, 1)
			p := s.daemon().provider()
			p.makes(t, "vm-1")
			s.fault(fakeatomos.Fault{Call: "POST matcher/stop", Effect: effect})
			force := time.Now().Add(2 * time.Second)
			p.deleteVM(t, "host-1", "vm-1", force)
			if now := time.Now(); now.Before(force) || now.After(force.Add(soon/3)) { // the hung call itself has until soon
				t.Errorf("it was gone at %s, want soon after %s", now, force)
			}
			s.wantNothingLeft("network cluster")
		})
	}
}

func TestGuestThatNeverComesUpIsDeletedByCuttingItsPower(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	p := s.daemon().provider()
	s.fault(fakeatomos.Fault{VM: "vm-1", Effect: fakeatomos.HangBoot})
	p.makes(t, "vm-1")
	force := time.Now().Add(2 * time.Second)
	p.deleteVM(t, "host-1", "vm-1", force)
	if time.Now().Before(force) {
		t.Error("power was cut too early")
	}
	s.wantNothingLeft("network cluster")
}

func TestHostThatHangsWhenAskedForRoomIsPassedOver(t *testing.T) {
	t.Parallel()
	s := newSite(t, 2)
	p := s.daemon().provider()
	place := &rpc.PlaceVMRequest{ClientUid: owner, Domain: "d1", VmName: "vm-1", Spec: worker(), Role: rpc.Role_ROLE_WORKER}
	first, err := p.PlaceVM(within(t, soon), place)
	if err != nil {
		t.Fatal(err)
	}
	s.fault(fakeatomos.Fault{Call: "GET matcher/canallocate", Host: first.Host, Effect: fakeatomos.Hang})
	second, err := p.PlaceVM(within(t, 10*time.Second), place) // half of it for each host
	if err != nil || second.Host == first.Host {
		t.Errorf("got %v, %v; want the other host", second, err)
	}
}

func TestHostThatDoesNotTellItsHardwareIsNotTakenForOneWithoutAny(t *testing.T) {
	t.Parallel()
	for _, effect := range []fakeatomos.Effect{fakeatomos.NoContent, fakeatomos.WrongJSON, fakeatomos.MalformedReply} {
		t.Run(string(effect), func(t *testing.T) {
			t.Parallel()
			s := newSite(t, 1)
			s.fault(fakeatomos.Fault{Call: "GET matcher/statusjson", Effect: effect})
			_, err := s.daemon().provider().PlaceVM(within(t, soon), &rpc.PlaceVMRequest{ClientUid: owner, Domain: "d1", VmName: "vm-1", Spec: worker(), Role: rpc.Role_ROLE_WORKER})
			wantReason(t, err, rpc.Reason_REASON_HOST_UNREACHABLE, "d1")
		})
	}
}

func TestVMIsToldWhereItsUsageIsNot(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	p := s.daemon().provider()
	p.makes(t, "vm-1")
	s.fault(fakeatomos.Fault{Call: "GET matcher/vmusage", Effect: fakeatomos.Hang})
	began := time.Now()
	res, err := p.GetVM(within(t, soon), &rpc.GetVMRequest{ClientUid: owner, Host: "host-1", VmName: "vm-1"})
	if err != nil || res.Vm == nil || res.Usage != nil {
		t.Errorf("got %v, %v; want the VM without its usage", res, err)
	}
	if took := time.Since(began); took > soon/4 {
		t.Errorf("it took %s", took)
	}
}

func TestSlowHostMakesAndDeletesAVM(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	p := s.daemon().provider()
	s.host("host-1").SetSlow(700 * time.Millisecond)
	ensureUntilThere(t, ensure("host-1", "vm-1"), p)
	s.wantOneVM("vm-1")
	p.deleteVM(t, "host-1", "vm-1", time.Now().Add(time.Minute))
	s.wantNothingLeft("network cluster")
}

func TestClockThatJumpsChangesNothing(t *testing.T) {
	t.Parallel()
	for _, by := range []time.Duration{-24 * time.Hour, 24 * time.Hour} {
		t.Run(by.String(), func(t *testing.T) {
			t.Parallel()
			s := newSite(t, 1, func(o *fakeatomos.Options) { o.NoBootVolumeFence = true })
			callers := []*caller{s.daemon().provider(), s.daemon().provider()}
			s.fault(fakeatomos.Fault{Call: register, Times: 1, Effect: fakeatomos.LoseReply})
			made := ensureUntilThere(t, ensure("host-1", "vm-1"), callers...)
			s.host("host-1").ShiftClock(by)
			s.double("host-1", "vm-1") // older than the VM, by its host's clock, or much younger
			for _, c := range callers {
				if vm := ensureUntilThere(t, ensure("host-1", "vm-1"), c); vm.Uid != made.Uid {
					t.Errorf("VM %s is kept, want the one with the boot volume, %s", vm.Uid, made.Uid)
				}
			}
			s.wantOneVM("vm-1")
			callers[0].deleteVM(t, "host-1", "vm-1", time.Now().Add(2*time.Second))
			s.wantNothingLeft("network cluster")
		})
	}
}

func TestDoubleThatAHostOnlySaysItHasRemovedIsReportedAndTriedAgain(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	p := s.daemon().provider()
	p.makes(t, "vm-1")
	s.double("host-1", "vm-1")
	s.fault(fakeatomos.Fault{Call: "DELETE matcher/unregister", Times: 1, Effect: fakeatomos.Pretend})
	_, err := p.EnsureVM(within(t, soon), ensure("host-1", "vm-1"))
	wantReason(t, err, rpc.Reason_REASON_OUTCOME_UNKNOWN, "double", "vm-1", "host-1")
	if strings.Contains(s.logs.String(), "removed a double") {
		t.Error("the log says that it was removed")
	}
	ensureUntilThere(t, ensure("host-1", "vm-1"), p)
	if !strings.Contains(s.logs.String(), "removed a double") {
		t.Error("the log does not say that it was removed")
	}
	s.wantOneVM("vm-1")
}

func TestLimitThatComesWhileAVMIsMadeLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	p := s.daemon().provider()
	p.makes(t, "vm-1", "vm-2")
	before := s.fake.Inventory().Resources()
	s.host("host-1").SetCommunity(true)
	_, err := p.EnsureVM(within(t, soon), ensure("host-1", "vm-3"))
	wantReason(t, err, rpc.Reason_REASON_LICENSE_REQUIRED, "host-1", "license")
	p.deleteVM(t, "host-1", "vm-3", time.Time{}) // as who places it elsewhere does
	if after := s.fake.Inventory().Resources(); !slices.Equal(after, before) {
		t.Errorf("AtomOS held %q and now holds %q", before, after)
	}
}

func TestWhatIsAttachedAndDetachedIsSoWhenTheCallSaysSo(t *testing.T) {
	t.Parallel()
	calls := []string{
		"POST matcher/attach", "POST matcher/detach", "POST storage/create", "POST storage/destroy",
		"POST storage/accessible", "GET network/list", "POST network/create", "GET matcher/running",
	}
	befallen(t, calls, slices.Concat(losses, untruths), func(t *testing.T, s *site, f fakeatomos.Fault) {
		p := s.daemon().provider()
		p.makes(t, "vm-1")
		before := s.fake.Inventory().Resources()
		s.fault(f)
		volume := &rpc.AttachVolumeRequest{ClientUid: owner, Host: "host-1", VmName: "vm-1", Volume: &rpc.Volume{Name: "extra", SizeGib: 1}}
		again(t, "the volume is attached", func() error { _, err := p.AttachVolume(within(t, soon), volume); return err })
		network := &rpc.AttachNetworkRequest{ClientUid: owner, Host: "host-1", VmName: "vm-1", Network: nat("storage")}
		again(t, "the network is attached", func() error { _, err := p.AttachNetwork(within(t, soon), network); return err })

		vm := s.fake.Inventory().VM("vm-1")[0]
		if len(vm.Volumes) != 3 || len(vm.Networks) != 2 {
			t.Fatalf("the VM has volumes %q and networks %q, want one more each", vm.Volumes, vm.Networks)
		}
		if n := len(s.fake.Inventory().Hosts[0].Volumes); n != 3 {
			t.Errorf("%d volumes, want 3", n)
		}

		s.fake.RemoveFaults("")
		s.fault(f)
		again(t, "the volume is detached", func() error {
			_, err := p.DetachVolume(within(t, soon), &rpc.DetachVolumeRequest{ClientUid: owner, Host: "host-1", VmName: "vm-1", VolumeName: "extra"})
			return err
		})
		again(t, "the network is detached", func() error {
			_, err := p.DetachNetwork(within(t, soon), &rpc.DetachNetworkRequest{ClientUid: owner, Host: "host-1", VmName: "vm-1", NetworkName: "storage"})
			return err
		})
		if vm := s.fake.Inventory().VM("vm-1")[0]; len(vm.Volumes) != 2 || len(vm.Networks) != 1 {
			t.Errorf("the VM has volumes %q and networks %q, want those it began with", vm.Volumes, vm.Networks)
		}
		again(t, "the network is deleted", func() error {
			_, err := p.DeleteNetwork(within(t, soon), &rpc.DeleteNetworkRequest{ClientUid: owner, NetworkName: "storage", Domains: []string{"d1"}})
			return err
		})
		if after := s.fake.Inventory().Resources(); !slices.Equal(after, before) {
			t.Errorf("AtomOS held %q and now holds %q", before, after)
		}
	})
}

func TestDetachedVolumeIsNotGoneBecauseAHostListsNone(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	p := s.daemon().provider()
	p.makes(t, "vm-1")
	if _, err := p.AttachVolume(within(t, soon), &rpc.AttachVolumeRequest{ClientUid: owner, Host: "host-1", VmName: "vm-1", Volume: &rpc.Volume{Name: "extra", SizeGib: 1}}); err != nil {
		t.Fatal(err)
	}
	// The first destroy only says yes, and then a list is missing.
	s.fault(fakeatomos.Fault{Call: "POST storage/destroy", Times: 1, Effect: fakeatomos.Pretend})
	s.fault(fakeatomos.Fault{Call: "POST storage/accessible", Skip: 1, Times: 1, Effect: fakeatomos.NoContent})
	again(t, "the volume is detached", func() error {
		_, err := p.DetachVolume(within(t, soon), &rpc.DetachVolumeRequest{ClientUid: owner, Host: "host-1", VmName: "vm-1", VolumeName: "extra"})
		return err
	})
	if n := len(s.fake.Inventory().Hosts[0].Volumes); n != 2 {
		t.Errorf("%d volumes, want those that the VM began with", n)
	}
}

func TestForwardIsThereAndGoneWhenTheCallSaysSo(t *testing.T) {
	t.Parallel()
	calls := []string{"POST network/portforward", "DELETE network/portforward", "GET network/portforwards"}
	befallen(t, calls, untruths, func(t *testing.T, s *site, f fakeatomos.Fault) {
		p := s.daemon().provider()
		p.makes(t, "vm-1")
		s.fault(f)
		again(t, "the forward is there", func() error { return p.forward(t, "vm-1") })
		if n := s.forwards(); n != 1 {
			t.Fatalf("%d forwards, want 1", n)
		}
		s.fake.RemoveFaults("")
		s.fault(f)
		again(t, "the forward is gone", p.removeForward(t))
		if n := s.forwards(); n != 0 {
			t.Errorf("%d forwards, want none", n)
		}
	})
}

func TestAListWithoutItIsBelievedWhenItIsSoAgainAMomentLater(t *testing.T) {
	t.Parallel()
	const moment = 25 * time.Millisecond
	for what, call := range map[string]func(*caller, context.Context, int) error{
		"a network is to be made": func(p *caller, ctx context.Context, i int) error {
			_, err := p.EnsureNetwork(ctx, &rpc.EnsureNetworkRequest{ClientUid: owner, Network: nat(fmt.Sprint("cluster-", i)), Domains: []string{"d1"}})
			return err
		},
		"a network is gone": func(p *caller, ctx context.Context, _ int) error {
			_, err := p.DeleteNetwork(ctx, &rpc.DeleteNetworkRequest{ClientUid: owner, NetworkName: "cluster", Domains: []string{"d1"}})
			return err
		},
		"a forward is gone": func(p *caller, ctx context.Context, _ int) error {
			_, err := p.DeleteForward(ctx, &rpc.DeleteForwardRequest{ClientUid: owner, Endpoint: &rpc.Endpoint{Host: "host-1", Port: 6443}})
			return err
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			p := newSite(t, 1).daemon().provider()
			for i := range 5 { // one that is held up by others proves nothing
				began := time.Now()
				if err := call(p, within(t, soon), i); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(began); took < moment {
					t.Errorf("it was believed within %s, want %s at least", took, moment)
				}
			}
		})
	}
}

func TestNullIsNoListOfNetworksOrForwards(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	p := s.daemon().provider()
	p.makes(t, "vm-1")
	if err := p.forward(t, "vm-1"); err != nil {
		t.Fatal(err)
	}
	s.fault(fakeatomos.Fault{Call: "GET network/*", Effect: fakeatomos.Refuse, Status: http.StatusOK, Body: "null"})
	wantReason(t, p.removeForward(t)(), rpc.Reason_REASON_HOST_FAILED, "host-1", "forwards")
	deleted, err := p.DeleteNetwork(within(t, soon), &rpc.DeleteNetworkRequest{ClientUid: owner, NetworkName: "cluster", Domains: []string{"d1"}})
	if err != nil || !slices.Equal(deleted.RemainingHosts, []string{"host-1"}) {
		t.Errorf("DeleteNetwork: %v, %v", deleted, err)
	}
	made, err := p.EnsureNetwork(within(t, soon), &rpc.EnsureNetworkRequest{ClientUid: owner, Network: nat("another"), Domains: []string{"d1"}})
	if err != nil || !slices.Equal(made.MissingHosts, []string{"host-1"}) {
		t.Errorf("EnsureNetwork: %v, %v", made, err)
	}
	if h := s.fake.Inventory().Hosts[0]; len(h.Networks) != 1 || len(h.Forwards) != 1 {
		t.Errorf("there are %d networks and %d forwards, want one of each", len(h.Networks), len(h.Forwards))
	}
}

func TestForwardThatLandsLateIsNotLeft(t *testing.T) {
	t.Parallel()
	const pointing = "POST network/portforward"
	s := newSite(t, 1)
	p := s.daemon().provider()
	p.makes(t, "vm-1")
	s.fault(fakeatomos.Fault{Call: pointing, Times: 1, Effect: fakeatomos.DelayBefore, Delay: 3 * time.Second})
	abandon(t, "the request is under way", func() bool { return s.calls(pointing) == 1 }, func(ctx context.Context) error {
		_, err := p.EnsureForward(ctx, &rpc.EnsureForwardRequest{
			ClientUid: owner, Endpoint: &rpc.Endpoint{Host: "host-1", Port: 6443}, TargetHost: "host-1", TargetVmName: "vm-1", TargetPort: 6443,
		})
		return err
	})
	// Unless it has landed by now, and was removed, it is waited for.
	if err := p.removeForward(t)(); err != nil || s.calls("DELETE network/portforward") == 0 {
		wantReason(t, err, rpc.Reason_REASON_WRONG_STATE, "6443", "waiting")
	}
	again(t, "the forward is gone", p.removeForward(t))
	eventually(t, "the request has landed", func() bool { return s.done(pointing) == 1 })
	if n := s.forwards(); n != 0 {
		t.Errorf("%d forwards, want none", n)
	}
}
