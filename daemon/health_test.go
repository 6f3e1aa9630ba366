package daemon_test

import (
	"net/http"
	"testing"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/daemon"
	"elemento.cloud/cluster-api-provider-elemento/daemon/rpc"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos"
)

const listing, telling = "GET matcher/running", "GET matcher/statusjson"

// verdicts reads a stream of a client's and returns what becomes of a host's health
// while the host is asked n times more.
func (s *site) verdicts(c *caller, client, host, question string, n int64) (verdicts []rpc.HostHealth) {
	s.t.Helper()
	stream, err := c.WatchVMs(within(s.t, 2*soon), &rpc.WatchVMsRequest{ClientUid: client})
	if err != nil {
		s.t.Fatal(err)
	}
	note := func(h *rpc.Host) {
		if h.GetId() == host && (len(verdicts) == 0 || verdicts[len(verdicts)-1] != h.Health) {
			verdicts = append(verdicts, h.Health)
		}
	}
	for until := s.calls(question) + n; s.calls(question) < until; {
		msg, err := stream.Recv()
		if err != nil {
			s.t.Fatal(err)
		}
		for _, o := range msg.GetSnapshot().GetHosts() {
			note(o.Host)
		}
		note(msg.GetChange().GetHost())
	}
	return verdicts
}

func TestAHostThatListsNoVMsIsSilentToThatClientAndNoOther(t *testing.T) {
	t.Parallel()
	s := newSite(t, 2)
	d := s.daemon()
	s.fault(fakeatomos.Fault{Call: listing, Host: "host-1", Owner: owner, Effect: fakeatomos.Refuse, Status: http.StatusInternalServerError})
	go func() { // keeps the host asked for the one client too
		stream, err := d.provider().WatchVMs(within(t, 2*soon), &rpc.WatchVMsRequest{ClientUid: owner})
		for err == nil {
			_, err = stream.Recv()
		}
	}()
	if v := s.verdicts(d.other(), another, "host-1", listing, 60); len(v) != 1 || v[0] != rpc.HostHealth_HOST_HEALTH_READY {
		t.Errorf("to another client it was %v, want ready all the time", v)
	}
	if v := s.verdicts(d.provider(), owner, "host-1", listing, 60); len(v) != 1 || v[0] != rpc.HostHealth_HOST_HEALTH_UNREACHABLE {
		t.Errorf("to the client it was %v, want unreachable all the time", v)
	}
	for range 20 {
		res, err := d.provider().PlaceVM(within(t, soon), place("vm-1", rpc.Role_ROLE_WORKER))
		if err != nil || res.Host != "host-2" {
			t.Fatalf("proposed %v, %v; want the host that lists the client's VMs", res, err)
		}
	}
}

func TestAHostThatListsVMsIsHeardThoughItTellsNothingOfItself(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	d := s.daemon()
	p := d.provider()
	if _, err := p.EnsureVM(within(t, soon), ensure("host-1", "vm-1")); err != nil {
		t.Fatal(err)
	}
	if v := s.verdicts(p, owner, "host-1", telling, 3); len(v) != 1 { // asked before
		t.Fatalf("at first it was %v", v)
	}
	s.fault(fakeatomos.Fault{Call: telling, Effect: fakeatomos.Refuse, Status: http.StatusInternalServerError})
	if v := s.verdicts(p, owner, "host-1", telling, 30); len(v) != 1 || v[0] != rpc.HostHealth_HOST_HEALTH_READY {
		t.Errorf("it was %v, want ready all the time: its VMs are known", v)
	}
	_, err := p.PlaceVM(within(t, soon), place("vm-2", rpc.Role_ROLE_WORKER))
	wantReason(t, err, rpc.Reason_REASON_HOST_UNREACHABLE)
}

func TestAStreamGoesOnThoughNoHostAnswers(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	s.config.Interval = daemon.Duration{Duration: 50 * time.Millisecond}
	s.host("host-1").Down()
	stream, err := s.daemon().provider().WatchVMs(within(t, 5*time.Second), &rpc.WatchVMsRequest{ClientUid: owner})
	for range 20 { // or the reader would take it for broken
		if err == nil {
			_, err = stream.Recv()
		}
	}
	if err != nil {
		t.Errorf("the stream fell silent: %v", err)
	}
}

func TestAHostThatFailsToSayWhetherItHasRoomIsNotCalledFull(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	s.fault(fakeatomos.Fault{Call: "GET matcher/canallocate", Effect: fakeatomos.Refuse, Status: http.StatusInternalServerError})
	_, err := s.daemon().provider().PlaceVM(within(t, soon), place("vm-1", rpc.Role_ROLE_WORKER))
	wantReason(t, err, rpc.Reason_REASON_HOST_FAILED, "host-1")
}
