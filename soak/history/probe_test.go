package history

import (
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/fakeatomos/history"
)

func TestAProbeTellsWhatChangesAndEachFailure(t *testing.T) {
	t.Parallel()
	var broken atomic.Bool
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/readyz" || broken.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(server.Close)
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	path := filepath.Join(t.TempDir(), Harness)
	writer, err := history.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	p := newProbeOf("ns/c", server.Listener.Addr().String(), roots, writer)
	ask := func() { p.tell(time.Now(), p.ask(t.Context())) }
	ask()
	ask() // nothing new
	broken.Store(true)
	ask()
	ask()
	broken.Store(false)
	ask()
	p.told = p.told.Add(-probeTold)
	ask() // it still does
	server.Close()
	ask()
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	var told []string
	if _, err := history.Read(path, 0, func(e Event) error {
		told = append(told, e.Event)
		if e.Kind != history.Probe || e.Name != "ns/c" || e.Address != p.address || e.Ended.Before(e.Time) {
			t.Errorf("the event is %+v", e)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if want := []string{"answered", "failed", "failed", "answered", "answered", "failed"}; !slices.Equal(told, want) {
		t.Errorf("told is %q, want %q", told, want)
	}
}

func TestAProbeTrustsTheClustersAuthorityOnly(t *testing.T) {
	t.Parallel()
	server := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(server.Close)
	p := newProbeOf("ns/c", server.Listener.Addr().String(), x509.NewCertPool(), nil)
	if err := p.ask(t.Context()); err == nil {
		t.Error("an API with the certificate of somebody else answers")
	}
}
