package fakeatomos_test

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"elemento.cloud/cluster-api-provider-elemento/c4"
	"elemento.cloud/cluster-api-provider-elemento/e2e/metricspage"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos"
)

func TestEveryMetricOfTheFakeIsDocumented(t *testing.T) {
	t.Parallel()
	metricspage.Check(t, "The fake", start(t, 1, func(*fakeatomos.Options) {}).Metrics())
}

func TestMetricsTellOfCallsFaultsAndWhatHostsHold(t *testing.T) {
	t.Parallel()
	f := start(t, 1, func(o *fakeatomos.Options) { o.Control = "127.0.0.1:0" })
	h := f.Hosts()[0]
	c := dial(t, h, "")
	vm := register(t, c, "vm", small())
	register(t, c, "another", small())
	succeed(t, c.Stop(t.Context(), vm))
	_, err := f.AddFault(fakeatomos.Fault{Call: "* matcher/reboot", Effect: fakeatomos.LoseReply})
	succeed(t, err)
	wantCode(t, c.Reboot(t.Context(), vm), c4.Unknown)
	wantMetrics := func(want ...string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, f.Ready().Control+"/metrics", nil)
		succeed(t, err)
		res, err := http.DefaultClient.Do(req)
		succeed(t, err)
		defer res.Body.Close()
		page, err := io.ReadAll(res.Body)
		succeed(t, err)
		lines := strings.Split(string(page), "\n")
		for _, w := range want {
			if !slices.ContainsFunc(lines, func(line string) bool { return strings.HasPrefix(line, w) }) {
				t.Errorf("the metrics have no %s", w)
			}
		}
	}
	place := `{domain="d1",host="` + h.Name() + `"`
	wantMetrics(
		`elemento_fake_c4_duration_seconds_count{code="200",host="`+h.Name()+`",service="matcher"} `,
		`elemento_fake_faults_fired_total{effect="LoseReply"} 1`,
		"elemento_fake_faults 1",
		"elemento_fake_host_up"+place+"} 1",
		"elemento_fake_vms"+place+`,power_state="running"} 1`,
		"elemento_fake_vms"+place+`,power_state="off"} 1`,
		"elemento_fake_resources"+place+`,kind="network"} `,
		"process_start_time_seconds ",
	)
	h.Down()
	wantMetrics("elemento_fake_host_up" + place + "} 0")
}
