package daemon_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/emptypb"

	"elemento.cloud/cluster-api-provider-elemento/fakeatomos"
)

// shows waits until /metrics has all of the lines and none that begins as the others.
func (r *running) shows(lines []string, others ...string) {
	r.site.t.Helper()
	wrong, page := "", ""
	defer func() {
		if r.site.t.Failed() {
			r.site.t.Logf("last seen wrong: %s\n%s", wrong, page)
		}
	}()
	eventually(r.site.t, "the metrics are as they should be", func() bool {
		page = r.metrics()
		for _, want := range lines {
			if wrong = want; !strings.Contains(page, "\n"+want) {
				return false
			}
		}
		for _, other := range others {
			if wrong = other; strings.Contains(page, "\n"+other) {
				return false
			}
		}
		return true
	})
}

func (r *running) metrics() string {
	req := must(http.NewRequestWithContext(within(r.site.t, soon), http.MethodGet, "http://"+r.MetricsAddr().String()+"/metrics", nil))
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		r.site.t.Fatal(err)
	}
	defer res.Body.Close()
	return string(must(io.ReadAll(res.Body)))
}

func TestMetricsTellOfCallsToTheDaemonAndToTheHosts(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	d := s.daemon()
	p := d.provider()
	v := watch(t, p)
	p.makes(t, "vm-1")
	v.until("the VM is there", func() bool { return len(v.vms) == 1 })
	d.shows([]string{
		`elemento_daemon_grpc_duration_seconds_count{code="OK",method="EnsureVM"} 1`,
		`elemento_daemon_c4_duration_seconds_count{call="POST matcher/register",code="OK",host="host-1"} 1`,
		"elemento_daemon_watch_streams 1",
		"elemento_daemon_watch_lag_seconds_sum",
		"elemento_daemon_certificate_expiry_timestamp_seconds",
	}, "elemento_daemon_watch_lag_seconds_count 0")
}

func TestMetricsTellWhatHostsHaveAndForgetItOfThoseThatAreSilent(t *testing.T) {
	t.Parallel()
	s := newSite(t, 2, func(o *fakeatomos.Options) {
		for i := range o.Hosts {
			o.Hosts[i].Cores, o.Hosts[i].SMT, o.Hosts[i].MemoryMiB = 4, 2, 4096
		}
	})
	d := s.daemon()
	p := d.provider()
	watch(t, p)
	p.makes(t, "vm-1") // on host-1
	s.double("host-1", "vm-1")
	capacity := func(host string) []string {
		return []string{
			`elemento_daemon_host_memory_bytes{domain="d1",host="` + host + `"} 4.294967296e+09`,
			`elemento_daemon_host_threads{domain="d1",host="` + host + `"} 8`,
			`elemento_daemon_host_vms{domain="d1",host="` + host + `",power_state="off"} 0`,
			`elemento_daemon_host_health{domain="d1",host="` + host + `",state="ready"} 1`,
			`elemento_daemon_host_health{domain="d1",host="` + host + `",state="unreachable"} 0`,
		}
	}
	d.shows(append(append(capacity("host-1"), capacity("host-2")...),
		`elemento_daemon_host_vms{domain="d1",host="host-1",power_state="running"} 1`,
		`elemento_daemon_host_vms{domain="d1",host="host-2",power_state="running"} 0`,
		`elemento_daemon_host_memory_available_bytes{domain="d1",host="host-2"} 4.294967296e+09`,
		`elemento_daemon_host_used_threads{domain="d1",host="host-2"} 0`,
		`elemento_daemon_vm_doubles{client_uid="`+owner+`",host="host-1"} 1`,
		`elemento_daemon_vm_doubles{client_uid="`+owner+`",host="host-2"} 0`,
	), `elemento_daemon_host_used_threads{domain="d1",host="host-1"} 0`)

	must(s.fake.Host("host-1")).Down()
	d.shows(append(capacity("host-2"),
		`elemento_daemon_host_health{domain="d1",host="host-1",state="unreachable"} 1`,
		`elemento_daemon_host_last_seen_timestamp_seconds{domain="d1",host="host-1"} `,
	),
		`elemento_daemon_host_memory_bytes{domain="d1",host="host-1"`,
		`elemento_daemon_host_vms{domain="d1",host="host-1"`,
		`elemento_daemon_vm_doubles{client_uid="`+owner+`",host="host-1"`,
	)
}

func TestMetricsDoNotGrowWithWhatCallersMakeUp(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	d := s.daemon()
	p := d.provider()
	for _, made := range []string{"/elemento.daemon.v1.VMService/MadeUp", "/made.up/AlsoMadeUp"} {
		if err := p.conn.Invoke(within(t, soon), made, &emptypb.Empty{}, &emptypb.Empty{}); err == nil {
			t.Errorf("there is a method %s", made)
		}
	}
	d.shows([]string{`elemento_daemon_grpc_duration_seconds_count{code="Unimplemented",method="unknown"} 2`})
	if strings.Contains(d.metrics(), "MadeUp") {
		t.Error("there are series of methods that were made up")
	}
}
