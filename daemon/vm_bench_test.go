package daemon_test

import (
	"fmt"
	"testing"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/daemon/rpc"
)

// BenchmarkVM makes a VM and deletes it again, through both wires, on hosts
// that take no time of their own.
func BenchmarkVM(b *testing.B) {
	s := newSite(b, 1)
	p := s.daemon().provider()
	if _, err := p.EnsureVM(within(b, soon), ensure("host-1", "first")); err != nil {
		b.Fatal(err)
	}
	var made, deleted time.Duration
	calls := s.calls("")
	n := 0
	for b.Loop() {
		n++
		name := fmt.Sprintf("vm-%d", n)
		began := time.Now()
		if _, err := p.EnsureVM(within(b, soon), ensure("host-1", name)); err != nil {
			b.Fatal(err)
		}
		made += time.Since(began)
		began = time.Now()
		res, err := p.DeleteVM(within(b, soon), &rpc.DeleteVMRequest{ClientUid: owner, Host: "host-1", VmName: name, ForceAfter: timestampOrNil(began.Add(time.Minute))})
		if err != nil || !res.Gone {
			b.Fatal(res, err)
		}
		deleted += time.Since(began)
	}
	b.ReportMetric(float64(made.Milliseconds())/float64(n), "ms/ensure")
	b.ReportMetric(float64(deleted.Milliseconds())/float64(n), "ms/delete")
	b.ReportMetric(float64(s.calls("")-calls)/float64(n), "calls/VM")
}
