package main

import (
	"archive/tar"
	"compress/gzip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"elemento.cloud/cluster-api-provider-elemento/reports"
)

// archive writes what sonobuoy would, and returns its path.
func archive(t *testing.T, files map[string]string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sonobuoy.tar.gz")
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	packed := gzip.NewWriter(out)
	archive := tar.NewWriter(packed)
	for name, content := range files {
		if err := archive.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))}); err != nil {
			t.Fatal(err)
		}
		if _, err := archive.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	for _, close := range []func() error{archive.Close, packed.Close, out.Close} {
		if err := close(); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

const junit = `<?xml version="1.0" encoding="UTF-8"?>
<testsuites tests="5" failures="2"><testsuite name="Kubernetes e2e suite">
<testcase name="[ReportBeforeSuite]" time="0"></testcase>
<testcase name="[It] [sig-node] Pods should be submitted  and removed [Conformance]" time="3.5"><system-err>it went well</system-err></testcase>
<testcase name="[It] [sig-apps] Job should run [Conformance]" time="0"><skipped message="skipped"></skipped></testcase>
<testcase name="[It] [sig-node] Probes should fail [Conformance]" time="61"><failure message="no answer" type="failed">[FAILED] no answer
In [It] at: probe.go:7</failure></testcase>
<testcase name="[SynchronizedBeforeSuite]" time="9"><failure message="nodes are not ready" type="failed"></failure></testcase>
</testsuite></testsuites>`

func TestWhatSonobuoyHasFoundIsRead(t *testing.T) {
	t.Parallel()
	var r result
	if err := r.read(archive(t, map[string]string{
		"./plugins/e2e/sonobuoy_results.yaml":        "name: e2e\nstatus: failed\nitems: []\n",
		"plugins/e2e/results/global/junit_01.xml":    junit,
		"plugins/e2e/results/global/e2e.log":         "many words",
		"plugins/other/results/global/junit_01.xml":  junit,
		"plugins/other/sonobuoy_results.yaml":        "status: passed\n",
		"resources/ns/default/core_v1_services.json": "{}",
	})); err != nil {
		t.Fatal(err)
	}
	if r.Said != "failed" || len(r.Tests) != 3 {
		t.Fatalf("sonobuoy said %q of %+v", r.Said, r.Tests)
	}
	if got := r.Tests[0]; got.Name != "[sig-node] Pods should be submitted and removed [Conformance]" || got.Verdict != reports.Passed || got.Seconds != 3.5 || got.Message != "" {
		t.Errorf("the test that passed is %+v", got)
	}
	if got := r.Tests[1]; got.Verdict != reports.Failed || got.Message != "[FAILED] no answer\nIn [It] at: probe.go:7" {
		t.Errorf("the test that failed is %+v", got)
	}
	if got := r.Tests[2]; got.Verdict != reports.Failed || got.Message != "nodes are not ready" {
		t.Errorf("what failed before the tests is %+v", got)
	}
}

func TestWhatIsNoArchiveOfSonobuoysIsRefused(t *testing.T) {
	t.Parallel()
	none := filepath.Join(t.TempDir(), "none.tar.gz")
	if err := os.WriteFile(none, []byte("an error page"), 0o600); err != nil {
		t.Fatal(err)
	}
	for what, path := range map[string]string{
		"no archive":      none,
		"a broken report": archive(t, map[string]string{"plugins/e2e/results/global/junit_01.xml": junit[:len(junit)/2]}),
		"a broken result": archive(t, map[string]string{"plugins/e2e/sonobuoy_results.yaml": "\tstatus"}),
	} {
		if err := new(result).read(path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestAResultIsNoBetterThanItsTests(t *testing.T) {
	t.Parallel()
	passed, failed := test{Verdict: reports.Passed}, test{Verdict: reports.Failed}
	for what, c := range map[string]struct {
		result
		want reports.Verdict
	}{
		"all passed":                             {result{Said: "passed", Tests: []test{passed, passed}}, reports.Passed},
		"one failed":                             {result{Said: "failed", Tests: []test{passed, failed}}, reports.Failed},
		"one failed that sonobuoy has not seen":  {result{Said: "passed", Tests: []test{passed, failed}}, reports.Failed},
		"a failure outside of the tests":         {result{Said: "failed", Tests: []test{passed}}, reports.Failed},
		"passed, and nothing ran":                {result{Said: "passed"}, reports.Unknown},
		"nothing at all":                         {result{}, reports.Unknown},
		"tests of which sonobuoy has no verdict": {result{Tests: []test{passed}}, reports.Unknown},
		"a word that nobody knows":               {result{Said: "complete", Tests: []test{passed}}, reports.Unknown},
		"a run that did not come to its end":     {result{Said: "passed", Why: "it was killed", Tests: []test{passed}}, reports.Unknown},
	} {
		if got := c.verdict(); got != c.want {
			t.Errorf("%s: %s, not %s", what, got, c.want)
		}
	}
}
