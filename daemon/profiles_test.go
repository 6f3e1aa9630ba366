package daemon_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestADaemonShowsProfilesWhereItIsToldTo(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	s.config.ProfileListen = "127.0.0.1:0"
	d := s.daemon()
	req := must(http.NewRequestWithContext(within(t, soon), http.MethodGet, "http://"+d.ProfileAddr().String()+"/debug/pprof/goroutine?debug=1", nil))
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if page := string(must(io.ReadAll(res.Body))); !strings.HasPrefix(page, "goroutine profile: ") {
		t.Errorf("it shows:\n%.200s", page)
	}
}

func TestADaemonShowsNoProfilesUnlessItIsToldTo(t *testing.T) {
	t.Parallel()
	if at := newSite(t, 1).daemon().ProfileAddr(); at != nil {
		t.Errorf("it shows some at %s", at)
	}
}
