package fleet_test

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"elemento.cloud/cluster-api-provider-elemento/daemon/rpc"
)

// lines are what a logger in a context has written.
type lines struct {
	mu  sync.Mutex
	all []map[string]any
}

// logger writes lines up to a verbosity.
func (l *lines) logger(t *testing.T, verbosity int) logr.Logger {
	return funcr.NewJSON(func(text string) {
		line := map[string]any{}
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Error(err)
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		l.all = append(l.all, line)
	}, funcr.Options{Verbosity: verbosity})
}

func TestEachCallLeavesOneLineThatSaysWhatCameOfIt(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	s.daemons[0].answer(func(ctx context.Context) error { return nil })
	m := s.member()
	ensure := func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		_, err := m.EnsureVM(ctx, &rpc.EnsureVMRequest{Host: "host-1", VmName: "vm", UserData: []byte("secret-token")})
		return err
	}

	var l lines
	if err := ensure(log.IntoContext(t.Context(), l.logger(t, 4))); err != nil {
		t.Fatal(err)
	}
	if len(l.all) != 1 {
		t.Fatalf("there are %d lines, want one", len(l.all))
	}
	line := l.all[0]
	for key, want := range map[string]any{
		"msg": "call", "method": "EnsureVM", "client": clientUID, "host": "host-1", "vm": "vm", "daemon": s.daemons[0].address,
		"outcome": "OK", "power": "POWER_STATE_UNSPECIFIED", "uid": "",
	} {
		if line[key] != want {
			t.Errorf("%s is %v, want %v", key, line[key], want)
		}
	}
	began, err := time.Parse(time.RFC3339Nano, line["began"].(string))
	ended, err2 := time.Parse(time.RFC3339Nano, line["ended"].(string))
	if err != nil || err2 != nil || ended.Before(began) || time.Since(began) > time.Minute || line["requestID"] == "" {
		t.Errorf("line is %v", line)
	}

	// What was sent and not answered may have had its effect.
	s.daemons[0].answer(func(context.Context) error { return status.Error(codes.Unavailable, "cut off") })
	if ensure(log.IntoContext(t.Context(), l.logger(t, 4))) == nil {
		t.Fatal("it succeeded")
	}
	if line := l.all[1]; line["lost"] != true || line["outcome"] != "Unavailable" || line["uid"] != nil {
		t.Errorf("line of a call without an answer is %v", line)
	}
	_ = m.SetVMPower(log.IntoContext(t.Context(), l.logger(t, 4)), "host-1", "another-vm", rpc.PowerAction_POWER_ACTION_OFF)
	if line := l.all[len(l.all)-1]; line["method"] != "SetVMPower" || line["action"] != "POWER_ACTION_OFF" {
		t.Errorf("line of what was asked of a VM's power is %v", line)
	}
	_ = m.DeleteForward(log.IntoContext(t.Context(), l.logger(t, 4)), &rpc.DeleteForwardRequest{Endpoint: &rpc.Endpoint{Host: "host-1", Port: 6443}})
	if line := l.all[len(l.all)-1]; line["method"] != "DeleteForward" || line["host"] != "host-1" || line["endpoint"] != "host-1:6443" {
		t.Errorf("line of what was asked of a forward is %v", line)
	}
	if text, _ := json.Marshal(l.all); strings.Contains(string(text), "secret") {
		t.Errorf("a line holds a secret: %s", text)
	}

}

func TestCallsThatOnlyReadLeaveALineToWhoeverWantsThem(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	m := s.member()
	for verbosity, want := range map[int][]string{0: {"SetVMPower"}, 3: {"SetVMPower"}, 4: {"GetVM", "SetVMPower"}} {
		var l lines
		ctx := log.IntoContext(t.Context(), l.logger(t, verbosity))
		_, _ = m.GetVM(ctx, "host-1", "vm")
		_ = m.SetVMPower(ctx, "host-1", "vm", rpc.PowerAction_POWER_ACTION_ON)
		var got []string
		for _, line := range l.all {
			got = append(got, line["method"].(string))
		}
		if !slices.Equal(got, want) {
			t.Errorf("at verbosity %d there are lines of %q, want %q", verbosity, got, want)
		}
	}
}
