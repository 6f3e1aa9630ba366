package main

import (
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestARegistryAnswersOrNot(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]bool{
		http.StatusOK: true, http.StatusUnauthorized: true, http.StatusForbidden: false, http.StatusBadGateway: false,
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
		if got := answers(t.Context(), server.URL); got != want {
			t.Errorf("one that answers %d does so: %t", status, got)
		}
		server.Close()
		if answers(t.Context(), server.URL) {
			t.Error("one that is not there answers")
		}
	}
}

func TestContainerdIsToldOfNoOtherRegistry(t *testing.T) {
	t.Parallel()
	want := "server = \"http://10.77.0.1:5000\"\n[host.\"http://10.77.0.1:5000\"]\n  capabilities = [\"pull\", \"resolve\"]\n"
	if got := mirror(&net.TCPAddr{IP: net.IPv4(10, 77, 0, 1), Port: 5000}); got != want {
		t.Errorf("it is told %q", got)
	}
}
