package main

import (
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// nodeHere has what a node is asked to do be done on this machine.
func nodeHere(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("this test needs curl: ", err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "docker"), []byte("#!/bin/sh\n[ \"$1 $2\" = 'exec node' ] && shift 2 && exec \"$@\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

func TestImagesAreFetchedWhereEachRegistryAnswersANode(t *testing.T) {
	nodeHere(t)
	t.Setenv("http_proxy", "http://127.0.0.1:1") // which nodes do not have
	registry := func(status int) *httptest.Server {
		return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
	}
	one := registry(http.StatusUnauthorized)
	defer one.Close()
	for status, want := range map[int]bool{
		http.StatusOK: true, http.StatusUnauthorized: true, http.StatusForbidden: false, http.StatusBadGateway: false,
	} {
		other := registry(status)
		if silent := silentTo(t.Context(), "node", one.URL, other.URL); (silent == "") != want || !want && silent != other.URL {
			t.Errorf("where one answers %d, silent is %q", status, silent)
		}
		other.Close()
		if silent := silentTo(t.Context(), "node", one.URL, other.URL); silent != other.URL {
			t.Errorf("where one is not there, silent is %q", silent)
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
