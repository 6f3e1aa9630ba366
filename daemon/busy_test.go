package daemon_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/daemon/rpc"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos"
)

func TestABusyHostDoesNotCostTheCallThatMakesAVM(t *testing.T) {
	t.Parallel()
	for _, status := range []int{http.StatusServiceUnavailable, http.StatusTooManyRequests} {
		for _, call := range []string{
			"GET matcher/running", "POST storage/accessible", "POST storage/cloudinit/create", "POST storage/create",
			"POST storage/cloudinit/metadata", "GET network/list", "POST network/create", register,
		} {
			t.Run(fmt.Sprintf("%d %s", status, call), func(t *testing.T) {
				t.Parallel()
				s := newSite(t, 1)
				p := s.daemon().provider()
				s.fault(fakeatomos.Fault{Call: call, Times: 3, Effect: fakeatomos.Refuse, Status: status})
				req := ensure("host-1", "vm-1")
				req.Spec.DataVolumes = []*rpc.Volume{{Name: "data", SizeGib: 1}}
				if _, err := p.EnsureVM(within(t, soon), req); err != nil {
					t.Fatal(err)
				}
				if n := s.calls(call); n < 4 {
					t.Errorf("%d calls, want those that were refused and one more", n)
				}
				p.deleteVM(t, "host-1", "vm-1", time.Time{})
				s.wantNothingLeft("network cluster") // nothing was made twice
			})
		}
	}
}

func TestAHostThatStaysBusyIsNotAskedForEver(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	s.fault(fakeatomos.Fault{Call: register, Effect: fakeatomos.Refuse, Status: http.StatusServiceUnavailable})
	_, err := s.daemon().provider().EnsureVM(within(t, soon), ensure("host-1", "vm-1"))
	wantReason(t, err, rpc.Reason_REASON_HOST_UNREACHABLE, "host-1", "registering VM vm-1")
	if n := s.calls(register); n < 3 || n > 12 {
		t.Errorf("the host was asked %d times, want a few", n)
	}
}

func TestWhatMayHaveHappenedIsNotRepeatedAsIfTheHostWereBusy(t *testing.T) {
	t.Parallel()
	for _, status := range []int{http.StatusInternalServerError, http.StatusBadGateway, http.StatusGatewayTimeout} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			t.Parallel()
			s := newSite(t, 1)
			s.fault(fakeatomos.Fault{Call: register, Effect: fakeatomos.Refuse, Status: status})
			if _, err := s.daemon().provider().EnsureVM(within(t, soon), ensure("host-1", "vm-1")); err == nil {
				t.Error("the register was not refused")
			}
			if n := s.calls(register); n != 1 {
				t.Errorf("%d registers, want 1", n)
			}
		})
	}
}

func TestABusyHostDoesNotCostTheCallThatRemovesAVM(t *testing.T) {
	t.Parallel()
	for _, call := range []string{
		"GET matcher/running", "POST matcher/stop", "DELETE matcher/unregister", "GET network/portforwards",
		"POST storage/accessible", "POST storage/destroy", "POST storage/info",
	} {
		t.Run(call, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, 1)
			p := s.daemon().provider()
			if _, err := p.EnsureVM(within(t, soon), ensure("host-1", "vm-1")); err != nil {
				t.Fatal(err)
			}
			id := s.fault(fakeatomos.Fault{Call: call, Times: 3, Effect: fakeatomos.Refuse, Status: http.StatusServiceUnavailable})
			before := s.calls(call)
			if _, err := p.DeleteVM(within(t, soon), &rpc.DeleteVMRequest{
				ClientUid: owner, Host: "host-1", VmName: "vm-1", ForceAfter: timestampOrNil(time.Now().Add(time.Minute)),
			}); err != nil {
				t.Error(err)
			}
			if n := s.calls(call) - before; n < 4 {
				t.Errorf("%d calls, want those that were refused and one more", n)
			}
			s.fake.RemoveFaults(id)
			p.deleteVM(t, "host-1", "vm-1", time.Time{})
			s.wantNothingLeft("network cluster")
		})
	}
}
