package daemon_test

import (
	"net/http"
	"testing"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/daemon/rpc"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos"
)

const imageCopy = "POST storage/cloudinit/create"

// begins has a VM's image copied by a call that ends before the copy does.
func (c *caller) begins(t *testing.T, vm string) {
	t.Helper()
	_, err := c.EnsureVM(within(t, time.Second), ensure("host-1", vm))
	wantReason(t, err, rpc.Reason_REASON_WRONG_STATE, "still copying", vm+"-boot")
}

// wantOneCopy fails the test if an image was copied more than once.
func (s *site) wantOneCopy() {
	s.t.Helper()
	if n := s.calls(imageCopy); n != 1 {
		s.t.Errorf("%d copies were asked for, want 1", n)
	}
}

func TestACopyGoesOnWhenItsCallHasEnded(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	p := s.daemon().provider()
	s.fault(fakeatomos.Fault{Call: imageCopy, Effect: fakeatomos.DelayBefore, Delay: 4 * time.Second})
	p.begins(t, "vm-1")
	for range 2 {
		p.begins(t, "vm-1")
	}
	ensureUntilThere(t, ensure("host-1", "vm-1"), p)
	s.wantOneCopy()
	s.wantOneVM("vm-1")
}

func TestHowACopyEndedIsToldToTheNextCall(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	p := s.daemon().provider()
	s.fault(fakeatomos.Fault{Call: imageCopy, Times: 1, Effect: fakeatomos.DelayBefore, Delay: 3 * time.Second})
	s.fault(fakeatomos.Fault{Call: imageCopy, Times: 1, Effect: fakeatomos.Refuse, Status: http.StatusBadRequest})
	p.begins(t, "vm-1")
	_, err := p.EnsureVM(within(t, soon), ensure("host-1", "vm-1"))
	wantReason(t, err, rpc.Reason_REASON_IMAGE_NOT_FOUND, image)
	ensureUntilThere(t, ensure("host-1", "vm-1"), p) // it is tried anew
	s.wantOneVM("vm-1")
}

func TestAVMIsNotGoneWhileItsImageIsCopied(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	p := s.daemon().provider()
	s.fault(fakeatomos.Fault{Call: imageCopy, Times: 1, Effect: fakeatomos.DelayBefore, Delay: 4 * time.Second})
	p.begins(t, "vm-1")
	p.deleteVM(t, "host-1", "vm-1", time.Time{})
	if n := s.done(imageCopy); n != 1 {
		t.Errorf("it was gone after %d copies had ended", n)
	}
	s.wantOneCopy()
	s.wantNothingLeft("network")
}

func TestACopyIsGivenUpWhenItsDaemonEndsAndNotWhenItsCallDoes(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	d := s.daemon()
	p := d.provider()
	s.fault(fakeatomos.Fault{Call: imageCopy, Effect: fakeatomos.Hang})
	p.begins(t, "vm-1")
	p.begins(t, "vm-1")
	s.wantOneCopy()
	if s.done(imageCopy) != 0 {
		t.Error("it was given up when its call ended")
	}
	d.stop()
	eventually(t, "it is given up", func() bool { return s.done(imageCopy) == 1 })
}
