package daemon_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"elemento.cloud/cluster-api-provider-elemento/c4"
	"elemento.cloud/cluster-api-provider-elemento/daemon/rpc"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos"
)

const register = "POST matcher/register"

// The effects of faults after which nobody knows what has become of a call: what was
// done and not told, or told and not so.
var (
	losses   = []fakeatomos.Effect{fakeatomos.LoseReply, fakeatomos.MalformedReply}
	untruths = []fakeatomos.Effect{fakeatomos.Pretend, fakeatomos.NoContent, fakeatomos.WrongJSON, fakeatomos.HalfReply, fakeatomos.LoseRequest}
)

// befallen runs a test for each of the calls with each of the effects, on a site of
// one host.
func befallen(t *testing.T, calls []string, effects []fakeatomos.Effect, test func(*testing.T, *site, fakeatomos.Fault)) {
	t.Helper()
	for _, call := range calls {
		for _, effect := range effects {
			// A volume that was promised and does not come is waited for, 2 minutes;
			// one that may come late too.
			if strings.HasPrefix(call, "POST storage/c") && (effect == fakeatomos.Pretend || effect == fakeatomos.LoseRequest) {
				continue
			}
			t.Run(fmt.Sprintf("%s %s", effect, call), func(t *testing.T) {
				t.Parallel()
				test(t, newSite(t, 1), fakeatomos.Fault{Call: call, Times: 1, Effect: effect})
			})
		}
	}
}

// wantOneVM fails the test unless AtomOS settles on one VM of that name with
// one boot volume and one seed.
func (s *site) wantOneVM(name string) {
	s.t.Helper()
	var vms, volumes int
	one := func() bool {
		inv := s.fake.Inventory()
		vms, volumes = len(inv.VM(name)), 0
		for _, h := range inv.Hosts {
			volumes += len(h.Volumes)
		}
		return vms == 1 && volumes == 2
	}
	eventually(s.t, "one VM, one boot volume, one seed", one)
	time.Sleep(50 * time.Millisecond) // and it stays so
	if !one() {
		s.t.Fatalf("there are %d VMs and %d volumes, want 1 and 2", vms, volumes)
	}
}

func TestReplyOfRegisterLostTwiceWithTwoDaemonsMakesOneVM(t *testing.T) {
	t.Parallel()
	for _, fence := range []bool{true, false} {
		t.Run(fmt.Sprintf("fence=%t", fence), func(t *testing.T) {
			t.Parallel()
			s := newSite(t, 1, func(o *fakeatomos.Options) { o.NoBootVolumeFence = !fence })
			s.fault(fakeatomos.Fault{Call: register, Times: 2, Effect: fakeatomos.LoseReply})
			ensureUntilThere(t, ensure("host-1", "vm-1"), s.daemon().provider(), s.daemon().provider())
			s.wantOneVM("vm-1")
		})
	}
}

func TestNoFaultOfACallKeepsAVMFromBeingMadeOnce(t *testing.T) {
	t.Parallel()
	calls := []string{
		register, "GET matcher/running", "POST storage/accessible", "POST storage/cloudinit/create",
		"POST storage/cloudinit/metadata", "GET network/list", "POST network/create",
	}
	befallen(t, calls, slices.Concat(losses, untruths), func(t *testing.T, s *site, f fakeatomos.Fault) {
		s.fault(f)
		ensureUntilThere(t, ensure("host-1", "vm-1"), s.daemon().provider())
		s.wantOneVM("vm-1")
	})
}

func TestNoFaultOfACallHasADeletionLeaveAnything(t *testing.T) {
	t.Parallel()
	calls := []string{
		"DELETE matcher/unregister", "GET matcher/running", "POST matcher/stop", "POST storage/accessible",
		"POST storage/destroy", "GET network/portforwards", "DELETE network/portforward",
	}
	befallen(t, calls, slices.Concat(losses, untruths), func(t *testing.T, s *site, f fakeatomos.Fault) {
		p := s.daemon().provider()
		p.makes(t, "vm-1")
		if err := p.forward(t, "vm-1"); err != nil {
			t.Fatal(err)
		}
		f.Times = 2
		s.fault(f)
		p.deleteVM(t, "host-1", "vm-1", time.Now().Add(2*time.Second))
		again(t, "the forward is gone", p.removeForward(t)) // as with its cluster
		s.wantNothingLeft("network cluster")
	})
}

func TestRegisterThatLandsAfterItsCallerGaveUpMakesOneVM(t *testing.T) {
	t.Parallel()
	for _, fence := range []bool{true, false} {
		for _, forgotten := range []bool{true, false} {
			t.Run(fmt.Sprintf("fence=%t,forgotten=%t", fence, forgotten), func(t *testing.T) {
				t.Parallel()
				s := newSite(t, 1, func(o *fakeatomos.Options) { o.NoBootVolumeFence = !fence })
				p := s.daemon().provider()
				s.fault(fakeatomos.Fault{Call: register, Times: 1, Effect: fakeatomos.DelayBefore, Delay: 3 * time.Second})
				abandon(t, "the first register arrives", func() bool { return s.calls(register) == 1 }, func(ctx context.Context) error {
					_, err := p.EnsureVM(ctx, ensure("host-1", "vm-1"))
					return err
				})
				if forgotten {
					p = s.daemon().provider() // it knows nothing of the first
				} else if _, err := p.EnsureVM(within(t, soon), ensure("host-1", "vm-1")); err != nil { // or it has landed by now
					wantReason(t, err, rpc.Reason_REASON_WRONG_STATE, "vm-1", "host-1", "waiting")
				}
				ensureUntilThere(t, ensure("host-1", "vm-1"), p)
				if n := s.calls(register); !forgotten && n != 1 {
					t.Errorf("%d registers, want only the first, which was to land", n)
				}
				eventually(t, "all registers have landed", func() bool { return int64(s.done(register)) == s.calls(register) })
				s.wantOneVM("vm-1")
			})
		}
	}
}

func TestTwoDaemonsThatMakeTheSameVMAtOnceMakeOne(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	callers := []*caller{s.daemon().provider(), s.daemon().provider()}
	var wg sync.WaitGroup
	for _, c := range callers {
		wg.Go(func() { ensureUntilThere(t, ensure("host-1", "vm-1"), c) })
	}
	wg.Wait()
	s.wantOneVM("vm-1")
}

// double registers one more VM of that name, as a request would that was lost
// and lands on a host that does not keep volumes exclusive.
func (s *site) double(host, name string) (uid string) {
	s.t.Helper()
	pledge := c4.Pledge{CPU: c4.CPUPledge{Slots: 1, MaxOverprovision: 10}, Mem: c4.MemPledge{Capacity: 512}}
	uid, err := s.atomos(host).Register(within(s.t, soon), c4.RegisterRequest{ClientUID: owner, Name: name, Pledge: pledge})
	if err != nil {
		s.t.Fatal(err)
	}
	return uid
}

func TestDoublesAreSettledInFavorOfTheOneWithTheBootVolume(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	p := s.daemon().provider()
	s.double("host-1", "vm-1") // the older one
	// Until the name has a boot volume the oldest is as good as any.
	if res, err := p.EnsureVM(within(t, soon), ensure("host-1", "vm-1")); err != nil || len(res.Vm.Volumes) != 0 {
		t.Fatalf("got %v, %v; want the VM that is there", res, err)
	}
	p.deleteVM(t, "host-1", "vm-1", time.Time{})
	made, err := p.EnsureVM(within(t, soon), ensure("host-1", "vm-1"))
	if err != nil {
		t.Fatal(err)
	}
	s.double("host-1", "vm-1")
	s.double("host-1", "vm-1")
	res, err := p.EnsureVM(within(t, soon), ensure("host-1", "vm-1"))
	if err != nil || res.Vm.Uid != made.Vm.Uid {
		t.Errorf("got %v, %v; want VM %s", res, err, made.Vm.Uid)
	}
	s.wantOneVM("vm-1")
	s.double("host-1", "vm-1")
	p.deleteVM(t, "host-1", "vm-1", time.Time{})
	s.wantNothingLeft("network cluster")
}

func TestDoubleThatLandsLateIsSettledWithoutACall(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	p := s.daemon().provider()
	s.fault(fakeatomos.Fault{Call: register, Times: 1, Effect: fakeatomos.LoseReply})
	made, err := p.EnsureVM(within(t, soon), ensure("host-1", "vm-1"))
	if err != nil {
		t.Fatal(err)
	}
	uid := s.double("host-1", "vm-1")
	eventually(t, "the double is gone", func() bool {
		vms := s.fake.Inventory().VM("vm-1")
		return len(vms) == 1 && vms[0].UID == made.Vm.Uid && vms[0].UID != uid
	})
	// What is not in doubt is not settled behind anybody's back.
	p.makes(t, "vm-2")
	s.double("host-1", "vm-2")
	for range 3 {
		if _, err := p.ListVMs(within(t, soon), &rpc.ListVMsRequest{ClientUid: owner}); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(s.fake.Inventory().VM("vm-2")); n != 2 {
		t.Errorf("%d VMs, want the two that are there", n)
	}
}

func TestDoubleThatWillNotGoIsTriedNoFasterThanTheHostIsAsked(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	p := s.daemon().provider()
	s.fault(fakeatomos.Fault{Call: register, Times: 1, Effect: fakeatomos.LoseReply})
	p.makes(t, "vm-1")
	const remove = "DELETE matcher/unregister"
	s.fault(fakeatomos.Fault{Call: remove, Effect: fakeatomos.Refuse, Status: http.StatusInternalServerError})
	s.double("host-1", "vm-1")
	eventually(t, "the first attempt", func() bool { return s.calls(remove) > 0 })
	began, before := time.Now(), s.calls(remove)
	eventually(t, "more attempts", func() bool { return s.calls(remove) >= before+10 })
	if took := time.Since(began); took < 5*s.config.Interval.Duration { // some may be seen late
		t.Errorf("10 attempts in %s, want one an interval of %s", took, s.config.Interval.Duration)
	}
	s.fake.RemoveFaults("")
	s.wantOneVM("vm-1")
}

func TestDeletionWhileTheVMIsBeingMadeLeavesNothing(t *testing.T) {
	t.Parallel()
	const copying, uploading, connecting = "POST storage/cloudinit/create", "POST storage/cloudinit/metadata", "POST network/create"
	for call, before := range map[string]map[string]int{
		copying:   {uploading: 2, connecting: 1},
		uploading: {copying: 1, connecting: 1},
		register:  {},
	} {
		t.Run(call, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, 1)
			p := s.daemon().provider()
			delay := 8 * time.Second // a volume may land so late; a VM may not
			if call == register {
				delay = 3 * time.Second
			}
			s.fault(fakeatomos.Fault{Call: call, Times: 1, Effect: fakeatomos.DelayBefore, Delay: delay})
			// What is asked for at the same time is done: a request that is cut off before
			// the host has it is waited for as long as any.
			onlyThat := func() bool {
				for other, times := range before {
					if s.done(other) < times {
						return false
					}
				}
				return s.calls(call) > 0
			}
			// Its caller goes; what it has begun lands later.
			abandon(t, "the VM is being made", onlyThat, func(ctx context.Context) error {
				_, err := p.EnsureVM(ctx, ensure("host-1", "vm-1"))
				return err
			})
			p.deleteVM(t, "host-1", "vm-1", time.Time{})
			eventually(t, "what was held up has landed", func() bool { return s.done(call) > 0 })
			s.wantNothingLeft("network cluster")
		})
	}
}

func TestVolumeThatLandsLateIsNotLeftByADeletion(t *testing.T) {
	t.Parallel()
	const copying = "POST storage/cloudinit/create"
	s := newSite(t, 1)
	p := s.daemon().provider()
	s.fault(fakeatomos.Fault{Call: copying, Times: 1, Effect: fakeatomos.DelayBefore, Delay: 8 * time.Second})
	abandon(t, "the volume is being made", func() bool { return s.calls(copying) == 1 }, func(ctx context.Context) error {
		_, err := p.EnsureVM(ctx, ensure("host-1", "vm-1"))
		return err
	})
	p.deleteVM(t, "host-1", "vm-1", time.Time{})
	eventually(t, "the volume has landed", func() bool { return s.done(copying) == 1 })
	s.wantNothingLeft("network cluster")
}

func TestAnswerComesBeforeTheCallerHasGone(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	p := s.daemon().provider()
	s.fault(fakeatomos.Fault{Call: "POST network/create", Effect: fakeatomos.Hang})
	// On a busy machine an answer may come too late now and then.
	var err error
	i := 0
	eventually(t, "a call is answered in time", func() bool {
		i++
		_, err = p.EnsureNetwork(within(t, 3*time.Second), &rpc.EnsureNetworkRequest{ClientUid: owner, Network: nat(fmt.Sprintf("cluster-%d", i)), Domains: []string{"d1"}})
		return err != nil && status.Code(err) != codes.DeadlineExceeded
	})
	wantReason(t, err, rpc.Reason_REASON_OUTCOME_UNKNOWN, "host-1")
}

func TestImageThatIsStillBeingCopiedIsNotCopiedOnceMore(t *testing.T) {
	t.Parallel()
	const copying, uploading = "POST storage/cloudinit/create", "POST storage/cloudinit/metadata"
	s := newSite(t, 1)
	p := s.daemon().provider()
	s.fault(fakeatomos.Fault{Call: copying, Times: 1, Effect: fakeatomos.DelayBefore, Delay: 8 * time.Second})
	rest := func() bool { // user-data and meta-data of the seed, and the network
		return s.calls(copying) == 1 && s.done(uploading) == 2 && s.done("POST network/create") == 1
	}
	abandon(t, "only the copy is not done", rest, func(ctx context.Context) error {
		_, err := p.EnsureVM(ctx, ensure("host-1", "vm-1"))
		return err
	})
	if _, err := p.EnsureVM(within(t, soon), ensure("host-1", "vm-1")); err != nil { // or the copy is done by now
		wantReason(t, err, rpc.Reason_REASON_WRONG_STATE, "vm-1-boot", "waiting")
		if n := s.calls(uploading); n != 2 {
			t.Errorf("%d more uploads of seeds meanwhile, want none", n-2)
		}
	}
	eventually(t, "the image is copied", func() bool { return s.done(copying) == 1 })
	ensureUntilThere(t, ensure("host-1", "vm-1"), p)
	if n := s.calls(copying); n != 1 {
		t.Errorf("%d copies of the image, want 1", n)
	}
	s.wantOneVM("vm-1")
}

// done counts the C4 calls of one name that have had their effect.
func (s *site) done(call string) (n int) {
	for _, e := range s.fake.Journal(0) {
		if e.Call == call {
			n++
		}
	}
	return n
}

func TestDeletionWaitsForTheCallThatMakesTheVM(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	p := s.daemon().provider()
	s.fault(fakeatomos.Fault{Call: register, Times: 1, Effect: fakeatomos.DelayBefore, Delay: 500 * time.Millisecond})
	made := make(chan error, 1)
	go func() {
		_, err := p.EnsureVM(within(t, soon), ensure("host-1", "vm-1"))
		made <- err
	}()
	eventually(t, "the register arrives", func() bool { return s.calls(register) > 0 })
	p.deleteVM(t, "host-1", "vm-1", time.Time{})
	if err := <-made; err != nil {
		t.Errorf("the VM was not made first: %v", err)
	}
	s.wantNothingLeft("network cluster")
}

func TestHostThatGoesDownBetweenPlacementAndRegister(t *testing.T) {
	t.Parallel()
	s := newSite(t, 2)
	p := s.daemon().provider()
	place := &rpc.PlaceVMRequest{ClientUid: owner, Domain: "d1", VmName: "vm-1", Spec: worker(), Role: rpc.Role_ROLE_WORKER}
	first, err := p.PlaceVM(within(t, soon), place)
	if err != nil {
		t.Fatal(err)
	}
	s.host(first.Host).Down()
	_, err = p.EnsureVM(within(t, soon), ensure(first.Host, "vm-1"))
	wantReason(t, err, rpc.Reason_REASON_HOST_UNREACHABLE, first.Host)
	_, err = p.DeleteVM(within(t, soon), &rpc.DeleteVMRequest{ClientUid: owner, Host: first.Host, VmName: "vm-1"})
	wantReason(t, err, rpc.Reason_REASON_HOST_UNREACHABLE, first.Host) // unknown, never gone
	second, err := p.PlaceVM(within(t, soon), place)
	if err != nil {
		t.Fatal(err)
	}
	if second.Host == first.Host {
		t.Errorf("proposed %s again, which is down", first.Host)
	}
}

func TestHostThatIsDownIsUnknownAndNeverGone(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	p := s.daemon().provider()
	p.makes(t, "vm-1")
	s.host("host-1").Down()
	_, err := p.GetVM(within(t, soon), &rpc.GetVMRequest{ClientUid: owner, Host: "host-1", VmName: "vm-1"})
	wantReason(t, err, rpc.Reason_REASON_HOST_UNREACHABLE)
	res, err := p.ListVMs(within(t, soon), &rpc.ListVMsRequest{ClientUid: owner})
	if err != nil {
		t.Fatal(err)
	}
	if h := res.Hosts[0]; h.Host.Health != rpc.HostHealth_HOST_HEALTH_UNREACHABLE || len(h.Vms) != 0 {
		t.Errorf("got %v, want an unreachable host and no VMs", h)
	}
}

func TestBadInputIsToldClearly(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	p := s.daemon().provider()
	edit := func(change func(*rpc.EnsureVMRequest)) *rpc.EnsureVMRequest {
		req := ensure("host-1", "vm-1")
		change(req)
		return req
	}
	for _, c := range []struct {
		name  string
		req   *rpc.EnsureVMRequest
		want  rpc.Reason
		words []string
	}{
		{"no slots", edit(func(r *rpc.EnsureVMRequest) { r.Spec.Slots = 0 }), rpc.Reason_REASON_INVALID_REQUEST, []string{"spec.slots: 0 is out of range 1–256"}},
		{"too many slots", edit(func(r *rpc.EnsureVMRequest) { r.Spec.Slots = 257 }), rpc.Reason_REASON_INVALID_REQUEST, []string{"spec.slots: 257"}},
		{"no overprovision", edit(func(r *rpc.EnsureVMRequest) { r.Spec.MaxOverprovision = 0 }), rpc.Reason_REASON_INVALID_REQUEST, []string{"spec.max_overprovision"}},
		{"little memory", edit(func(r *rpc.EnsureVMRequest) { r.Spec.MemoryMib = 127 }), rpc.Reason_REASON_INVALID_REQUEST, []string{"spec.memory_mib: 127"}},
		{"unknown architecture", edit(func(r *rpc.EnsureVMRequest) { r.Spec.Architecture = "VAX" }), rpc.Reason_REASON_INVALID_REQUEST, []string{"spec.architecture", "VAX", "X86_64"}},
		{"unknown bus", edit(func(r *rpc.EnsureVMRequest) { r.Spec.BootVolume.Bus = "isa" }), rpc.Reason_REASON_INVALID_REQUEST, []string{"spec.boot_volume.bus"}},
		{"no boot volume", edit(func(r *rpc.EnsureVMRequest) { r.Spec.BootVolume = nil }), rpc.Reason_REASON_INVALID_REQUEST, []string{"spec.boot_volume"}},
		{"no spec", edit(func(r *rpc.EnsureVMRequest) { r.Spec = nil }), rpc.Reason_REASON_INVALID_REQUEST, []string{"spec"}},
		{"path as image", edit(func(r *rpc.EnsureVMRequest) { r.Spec.Image = "../etc/passwd" }), rpc.Reason_REASON_INVALID_REQUEST, []string{"spec.image"}},
		{"data volume like a boot volume", edit(func(r *rpc.EnsureVMRequest) { r.Spec.DataVolumes = []*rpc.Volume{{Name: "x-boot", SizeGib: 1}} }), rpc.Reason_REASON_INVALID_REQUEST, []string{"spec.data_volumes[0].name"}},
		{"two data volumes of a name", edit(func(r *rpc.EnsureVMRequest) {
			r.Spec.DataVolumes = []*rpc.Volume{{Name: "x", SizeGib: 1}, {Name: "x", SizeGib: 1}}
		}), rpc.Reason_REASON_INVALID_REQUEST, []string{"spec.data_volumes[1].name"}},
		{"broken cidr", edit(func(r *rpc.EnsureVMRequest) { r.Spec.Networks[0].Cidr = "10.0.0.1/24" }), rpc.Reason_REASON_INVALID_REQUEST, []string{"spec.networks[0].cidr"}},
		{"no user-data", edit(func(r *rpc.EnsureVMRequest) { r.UserData = nil }), rpc.Reason_REASON_INVALID_REQUEST, []string{"user_data"}},
		{"name with capitals", edit(func(r *rpc.EnsureVMRequest) { r.VmName = "VM" }), rpc.Reason_REASON_INVALID_REQUEST, []string{"vm_name"}},
		{"unknown host", edit(func(r *rpc.EnsureVMRequest) { r.Host = "host-9" }), rpc.Reason_REASON_HOST_UNKNOWN, []string{"host-9"}},
		{"unknown image", edit(func(r *rpc.EnsureVMRequest) { r.Spec.Image = "nowhere" }), rpc.Reason_REASON_IMAGE_NOT_FOUND, []string{"nowhere", "imageURL"}},
		{"unknown network", edit(func(r *rpc.EnsureVMRequest) { r.Spec.Networks[0] = &rpc.NetworkSpec{Name: "nowhere"} }), rpc.Reason_REASON_NETWORK_NOT_FOUND, []string{"nowhere"}},
		{"no room", edit(func(r *rpc.EnsureVMRequest) { r.Spec.MemoryMib = 1 << 20 }), rpc.Reason_REASON_NO_CAPACITY, []string{"host-1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := p.EnsureVM(within(t, soon), c.req)
			wantReason(t, err, c.want, c.words...)
		})
	}
	p.deleteVM(t, "host-1", "vm-1", time.Time{})
	s.wantNothingLeft("network cluster")
}

func TestLimitOfTheEditionIsTold(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1, func(o *fakeatomos.Options) { o.Hosts[0].Community = true })
	p := s.daemon().provider()
	p.makes(t, "vm-1", "vm-2")
	_, err := p.EnsureVM(within(t, soon), ensure("host-1", "vm-3"))
	wantReason(t, err, rpc.Reason_REASON_LICENSE_REQUIRED, "license")
}

func TestNonsenseFromAHostLosesNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	p := s.daemon().provider()
	p.makes(t, "vm-1")
	id := s.fault(fakeatomos.Fault{Call: "GET matcher/running", Effect: fakeatomos.MalformedReply})
	_, err := p.DeleteVM(within(t, soon), &rpc.DeleteVMRequest{ClientUid: owner, Host: "host-1", VmName: "vm-1"})
	wantReason(t, err, rpc.Reason_REASON_HOST_FAILED, "host-1")
	if len(s.fake.Inventory().VM("vm-1")) != 1 {
		t.Error("the VM is gone")
	}
	s.fake.RemoveFaults(id)
	if _, err := p.GetVM(within(t, soon), &rpc.GetVMRequest{ClientUid: owner, Host: "host-1", VmName: "vm-1"}); err != nil {
		t.Error(err)
	}
}

func TestHostThatRepeatsWhatItWasSentDoesNotLeakIt(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	p := s.daemon().provider()
	s.fault(fakeatomos.Fault{Call: "POST storage/cloudinit/metadata", Times: 1, Effect: fakeatomos.Refuse, Status: http.StatusBadRequest, Body: "not good: " + secret})
	_, err := p.EnsureVM(within(t, soon), ensure("host-1", "vm-1"))
	wantReason(t, err, rpc.Reason_REASON_INVALID_REQUEST) // the caller's interceptor looks for the secret
}

func TestHostWithAnotherCertificateIsNotTrusted(t *testing.T) {
	t.Parallel()
	s := newSite(t, 2)
	s.config.Hosts[0].Fingerprint = s.config.Hosts[1].Fingerprint
	p := s.daemon().provider()
	_, err := p.EnsureVM(within(t, soon), ensure("host-1", "vm-1"))
	wantReason(t, err, rpc.Reason_REASON_HOST_UNTRUSTED, "host-1", "certificate")
}

func TestHalfMadeVMIsContinued(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	p := s.daemon().provider()
	s.fault(fakeatomos.Fault{Call: register, Times: 1, Effect: fakeatomos.Refuse, Status: http.StatusInternalServerError})
	_, err := p.EnsureVM(within(t, soon), ensure("host-1", "vm-1"))
	if err == nil {
		t.Fatal("the register was not refused")
	}
	p.makes(t, "vm-1")
	if n := s.calls("POST storage/cloudinit/create"); n != 1 {
		t.Errorf("%d boot volumes were made, want 1", n)
	}
	s.wantOneVM("vm-1")
}

func TestVolumeThatAFailedRegisterLeftExportedIsDestroyed(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	host := s.atomos("host-1")
	id, err := host.CreateVolume(within(t, soon), c4.VolumeRequest{CreatorID: owner, Name: "vm-1-boot", Private: true, Alg: "no", Format: "raw", Bus: "virtio", Size: 1})
	if err == nil {
		err = host.ExportVolume(within(t, soon), owner, id)
	}
	if err != nil {
		t.Fatal(err)
	}
	s.daemon().provider().deleteVM(t, "host-1", "vm-1", time.Time{})
	s.wantNothingLeft()
}

func TestVolumesThatAFailedRegisterLeftExportedDoNotKeepAVMFromBeingMade(t *testing.T) {
	t.Parallel()
	const release = "POST storage/unexport"
	s := newSite(t, 1)
	p := s.daemon().provider()
	s.fault(fakeatomos.Fault{Call: register, Times: 1, Effect: fakeatomos.Refuse, Status: http.StatusInternalServerError})
	if _, err := p.EnsureVM(within(t, soon), ensure("host-1", "vm-1")); err == nil {
		t.Fatal("the register was not refused")
	}
	host := s.atomos("host-1")
	for _, v := range s.fake.Inventory().Hosts[0].Volumes {
		if err := host.ExportVolume(within(t, soon), owner, v.ID); err != nil {
			t.Fatal(err)
		}
	}
	// It may be another daemon's that is to be seen in a moment.
	_, err := p.EnsureVM(within(t, soon), ensure("host-1", "vm-1"))
	wantReason(t, err, rpc.Reason_REASON_IN_USE, "vm-1-seed", "host-1")
	if n := s.calls(release); n != 0 {
		t.Errorf("%d volumes were released at once", n)
	}
	ensureUntilThere(t, ensure("host-1", "vm-1"), p)
	if n := s.calls(release); n != 2 {
		t.Errorf("%d volumes were released, want both, once", n)
	}
	s.wantOneVM("vm-1")
}

func TestVolumeThatAnotherVMHoldsIsNotTakenFromIt(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	p := s.daemon().provider()
	host := s.atomos("host-1")
	id, err := host.CreateVolume(within(t, soon), c4.VolumeRequest{CreatorID: owner, Name: "vm-1-seed", Private: true, Alg: "no", Format: "raw", Bus: "virtio", Size: 1})
	if err != nil {
		t.Fatal(err)
	}
	uid := s.double("host-1", "vm-2")
	if err := host.Attach(within(t, soon), c4.AttachRequest{ClientUID: owner, VMUID: uid, VolumeID: id}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "its release was tried", func() bool {
		_, err := p.EnsureVM(within(t, soon), ensure("host-1", "vm-1"))
		wantReason(t, err, rpc.Reason_REASON_IN_USE, "vm-1-seed", "host-1")
		return s.calls("POST storage/unexport") > 0
	})
	if vms := s.fake.Inventory().VM("vm-2"); len(vms) != 1 || !slices.Equal(vms[0].Volumes, []string{id}) {
		t.Errorf("there is %+v, want it with the volume", vms)
	}
}
