package daemon_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"elemento.cloud/cluster-api-provider-elemento/daemon"
	"elemento.cloud/cluster-api-provider-elemento/daemon/rpc"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos"
)

// wanting makes a site whose host wants a bearer token and whose daemon has the
// file's.
func wanting(t *testing.T, token, content string) (s *site, file string) {
	s = newSite(t, 1, func(o *fakeatomos.Options) { o.Token = token })
	file = filepath.Join(t.TempDir(), "token")
	write(t, file, content)
	s.config.Hosts[0].TokenFile = file
	return s, file
}

// write replaces a file as a whole.
func write(t *testing.T, file, content string) {
	t.Helper()
	if err := os.WriteFile(file+".new", []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
}

func TestTokenOfAHostIsReadAgainWhenItChanges(t *testing.T) {
	t.Parallel()
	s, file := wanting(t, "new-w0rd", "old-w0rd\n")
	p := s.daemon().provider()
	get := func() rpc.Reason {
		_, err := p.GetVM(within(t, soon), &rpc.GetVMRequest{ClientUid: owner, Host: "host-1", VmName: "vm-1"})
		return reason(err)
	}
	if got := get(); got != rpc.Reason_REASON_HOST_UNTRUSTED {
		t.Fatalf("with another token: %s", got)
	}
	write(t, file, "new-w0rd\n")
	eventually(t, "the new token is used", func() bool { return get() == rpc.Reason_REASON_VM_NOT_FOUND })

	write(t, file, "\n") // half-way through a rotation
	eventually(t, "the log tells of the broken file", func() bool {
		if got := get(); got != rpc.Reason_REASON_VM_NOT_FOUND {
			t.Fatalf("with a broken file: %s", got)
		}
		return strings.Contains(s.logs.String(), "token cannot be read")
	})
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if got := get(); got != rpc.Reason_REASON_VM_NOT_FOUND {
		t.Errorf("without the file: %s", got)
	}
	s.logs.mustNotHold(t, "w0rd")
}

func TestDaemonWithoutATokenThatIsConfiguredDoesNotStart(t *testing.T) {
	t.Parallel()
	for name, content := range map[string]string{"empty": " \n", "two words": "a b"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, file := wanting(t, "w0rd", "w0rd")
			cfg := s.daemon().cfg // has certificates
			write(t, file, content)
			if _, err := daemon.New(cfg, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "hosts[0].tokenFile") {
				t.Errorf("got %v", err)
			}
		})
	}
}
