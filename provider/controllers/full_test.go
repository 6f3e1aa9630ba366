package controllers_test

import (
	"net/http"
	"testing"

	"elemento.cloud/cluster-api-provider-elemento/fakeatomos"
	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
)

const copying = "POST storage/cloudinit/create"

// noRoomFor has a host say that it has room, and have no storage for it.
func (s *site) noRoomFor(host string) string {
	return s.fault(fakeatomos.Fault{Call: copying, Host: host, Effect: fakeatomos.Refuse, Status: http.StatusInsufficientStorage})
}

// tried is how often the hosts were asked to copy an image.
func (s *site) tried() (n int64) {
	for _, calls := range s.fake.Calls() {
		n += calls[copying]
	}
	return n
}

func TestAMachineFindsTheOneHostThatIsNotFull(t *testing.T) {
	t.Parallel()
	for _, free := range []string{"host-1", "host-2", "host-3", "host-4"} {
		t.Run(free, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, hosts{"d1": 4})
			for _, host := range s.fake.Hosts() {
				if host.Name() != free {
					s.noRoomFor(host.Name())
				}
			}
			cluster, _ := s.provisionedCluster()
			_, infra := s.provisionedMachine(cluster)
			if infra.Spec.Host != free {
				t.Errorf("it is on %s, want %s", infra.Spec.Host, free)
			}
			if n := s.tried(); n > 4 {
				t.Errorf("%d tries, want one of each host at most", n)
			}
		})
	}
}

func TestAMachineForWhichAllHostsAreFullWaitsAndThenTriesThemAgain(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 2})
	faults := []string{s.noRoomFor("host-1"), s.noRoomFor("host-2")}
	cluster, _ := s.provisionedCluster()
	_, infra := s.machine(cluster)
	awaitCondition(s, infra, infrav1.HostAssignedCondition, infrav1.NoCapacityReason)
	if n := s.tried(); n > 2 {
		t.Errorf("%d tries, want one of each host", n)
	}
	for _, id := range faults {
		s.fake.RemoveFaults(id)
	}
	s.awaitProvisioned(infra)
}
