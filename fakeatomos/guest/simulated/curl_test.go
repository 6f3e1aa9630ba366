package simulated_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// caller is what a call came with.
type caller struct{ source, method, token, kind, body string }

func TestAMachineWaitsForTheCallsBeforeKubeadm(t *testing.T) {
	t.Parallel()
	calls := make(chan caller)
	open := make(chan struct{})
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		source, _, _ := net.SplitHostPort(r.RemoteAddr)
		select {
		case <-open:
		case calls <- caller{source, r.Method, r.Header.Get("Authorization"), r.Header.Get("Content-Type"), string(body)}:
			http.Error(w, "the test fails", http.StatusUnprocessableEntity)
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(server.Close)

	l := newLab(t)
	vm := l.machine("cp-1")
	vm.Address = l.first
	vm.UserData = bytes.Replace(l.initSeed(), []byte("runcmd:\n"), fmt.Appendf(nil, `runcmd:
  - "sed -i s/a/b/ /etc/hosts"
  - 'curl --insecure --silent --fail --retry 9 --retry-delay 0 --retry-all-errors --request PATCH --header "Authorization: Bearer secret" --header "Content-Type: application/json-patch+json" --data "[{''op'': ''test''}]" %s'
`, server.URL), 1)
	l.boot(vm)
	want := caller{vm.Address.String(), "PATCH", "Bearer secret", "application/json-patch+json", `[{'op': 'test'}]`}
	for range 3 {
		if got := <-calls; got != want {
			t.Errorf("the call is %+v, want %+v", got, want)
		}
	}
	if err := refused(l.first, "6443"); err != nil {
		t.Errorf("the API is there before the call has succeeded: %v", err)
	}
	close(open)
	l.nodeBecomes("cp-1", corev1.ConditionTrue)
}

func TestPowerOffEndsACallBeforeKubeadm(t *testing.T) {
	t.Parallel()
	called := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(called)
		<-r.Context().Done()
	}))
	t.Cleanup(server.Close)
	l := newLab(t)
	vm := l.machine("cp-1")
	vm.UserData = bytes.Replace(l.initSeed(), []byte("runcmd:\n"), []byte("runcmd:\n  - curl "+server.URL+"\n"), 1)
	l.boot(vm)
	<-called
	l.powerOff(vm)
}
