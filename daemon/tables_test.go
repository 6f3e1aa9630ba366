package daemon

import (
	"bytes"
	"errors"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/reflect/protoreflect"

	"elemento.cloud/cluster-api-provider-elemento/c4"
	"elemento.cloud/cluster-api-provider-elemento/daemon/rpc"
)

func TestEveryReasonHasTheCodeThatTheProtoFileNames(t *testing.T) {
	t.Parallel()
	for n, name := range rpc.Reason_name {
		r := rpc.Reason(n)
		code, known := reasonCodes[r]
		if r == rpc.Reason_REASON_UNSPECIFIED {
			if known {
				t.Error("no reason at all has a code")
			}
			continue
		}
		if !known || code == codes.OK {
			t.Errorf("%s has no code", name)
		}
	}
}

func TestEveryC4CodeHasAReasonAndAnExplanation(t *testing.T) {
	t.Parallel()
	for _, code := range c4.Codes() {
		if changeReasons[code] == rpc.Reason_REASON_UNSPECIFIED {
			t.Errorf("%s has no reason", code)
		}
		if explanations[code] == "" {
			t.Errorf("%s has no explanation", code)
		}
	}
	for table, n := range map[string]int{"changeReasons": len(changeReasons), "explanations": len(explanations)} {
		if n != len(c4.Codes()) {
			t.Errorf("%s has %d entries for %d codes", table, n, len(c4.Codes()))
		}
	}
	for code, r := range lookReasons {
		if changeReasons[code] == r {
			t.Errorf("%s needs no entry of its own in lookReasons", code)
		}
	}
}

func TestEveryMethodIsKnownToReadOrToChange(t *testing.T) {
	t.Parallel()
	services := rpc.File_daemon_proto.Services()
	n := 0
	for i := range services.Len() {
		methods := services.Get(i).Methods()
		for j := range methods.Len() {
			n++
			name := "/" + string(services.Get(i).FullName()) + "/" + string(methods.Get(j).Name())
			if _, known := changing[name]; !known {
				t.Errorf("%s is in no table", name)
			}
		}
	}
	if n != len(changing) {
		t.Errorf("the table has %d methods of %d", len(changing), n)
	}
}

// declared lists what the proto file declares.
func declared() (names []string) {
	list := rpc.File_daemon_proto.Services()
	for i := range list.Len() {
		names = append(names, string(list.Get(i).FullName()))
	}
	return names
}

func TestHealthServiceKnowsEveryService(t *testing.T) {
	t.Parallel()
	for _, name := range declared() {
		if !slices.Contains(services, name) {
			t.Errorf("%s is missing", name)
		}
	}
}

func TestEveryRequestNamesItsClient(t *testing.T) {
	t.Parallel()
	messages := rpc.File_daemon_proto.Messages()
	for i := range messages.Len() {
		m := messages.Get(i)
		if strings.HasSuffix(string(m.Name()), "Request") && m.Fields().ByName("client_uid") == nil {
			t.Errorf("%s has no client_uid, so nobody could be admitted", m.Name())
		}
	}
}

func TestEnumsAreTranslatedCompletely(t *testing.T) {
	t.Parallel()
	for state, want := range map[c4.PowerState]rpc.PowerState{
		c4.Running: rpc.PowerState_POWER_STATE_RUNNING, c4.ShutOff: rpc.PowerState_POWER_STATE_OFF, c4.Paused: rpc.PowerState_POWER_STATE_PAUSED,
		"nonsense": rpc.PowerState_POWER_STATE_UNSPECIFIED,
	} {
		if powerStates[state] != want {
			t.Errorf("%q becomes %s", state, powerStates[state])
		}
	}
	for _, c := range []struct {
		enum protoreflect.EnumDescriptor
		keys []reflect.Value
	}{
		{rpc.PowerAction(0).Descriptor(), reflect.ValueOf(wishedStates).MapKeys()},
		{rpc.HostHealth(0).Descriptor(), reflect.ValueOf(healthStates).MapKeys()},
	} {
		if len(c.keys) != c.enum.Values().Len()-1 {
			t.Errorf("the table of %s has %d entries for %d values", c.enum.Name(), len(c.keys), c.enum.Values().Len()-1)
		}
	}
}

func TestEveryPowerStateHasALabel(t *testing.T) {
	t.Parallel()
	for n, name := range rpc.PowerState_name {
		if powerStateNames[rpc.PowerState(n)] == "" {
			t.Errorf("%s has none", name)
		}
	}
}

func TestVolumeNamesAreUnambiguous(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		vm, volume string
		want       bool
	}{
		{"a", "a-boot", true},
		{"a", "a-seed", true},
		{"a", "a-data-x", true},
		{"a", "ab-boot", false},
		{"a", "a-b-boot", false},
		{"a", "a-data-", false},
		{"a", "a-data-b-boot", false}, // the boot volume of "a-data-b"
		{"a-data-b", "a-data-b-boot", true},
		{"a", "a-data-b-seed", false},
		{"a", "a-data-b-data-c", false},
		{"a-data-b", "a-data-b-data-c", true},
	} {
		if got := belongsTo(c.vm, c.volume); got != c.want {
			t.Errorf("%s belongs to %s: %t", c.volume, c.vm, got)
		}
	}
}

func TestPanicFailsItsCallAndTellsNoValues(t *testing.T) {
	t.Parallel()
	const secret = "b00t5trap-t0ken"
	var log bytes.Buffer
	s := &service{log: slog.New(slog.NewTextHandler(&log, nil))}
	call := func(value any) (err error) {
		defer s.recover(t.Context(), "method", &err)
		panic(value)
	}
	for _, value := range []any{secret, errors.New(secret), []byte(secret)} {
		err := call(value)
		if reasonOf(err) != rpc.Reason_REASON_HOST_FAILED {
			t.Errorf("got %v", err)
		}
		if strings.Contains(log.String()+err.Error(), secret) {
			t.Error("the value of the panic is told")
		}
		if !strings.Contains(log.String(), "TestPanicFailsItsCall") {
			t.Error("the log does not say where it happened")
		}
		log.Reset()
	}
}

func TestOfSeveralVolumesAllChooseTheSame(t *testing.T) {
	t.Parallel()
	at := func(s int64) c4.Date { return c4.Date{Time: time.Unix(s, 0)} }
	other := c4.Volume{Name: "other", VolumeID: "0", Exported: true}
	for _, c := range []struct {
		name string
		best c4.Volume
		rest c4.Volume
	}{
		{"the older", c4.Volume{VolumeID: "9", LastUpdated: at(1)}, c4.Volume{VolumeID: "1", LastUpdated: at(2)}},
		{"one in use", c4.Volume{VolumeID: "9", LastUpdated: at(2), Exported: true}, c4.Volume{VolumeID: "1", LastUpdated: at(1)}},
		{"one whose age is known", c4.Volume{VolumeID: "9", LastUpdated: at(2)}, c4.Volume{VolumeID: "1"}},
		{"the smaller ID of the same age", c4.Volume{VolumeID: "1"}, c4.Volume{VolumeID: "9"}},
	} {
		c.best.Name, c.rest.Name = "boot", "boot"
		for _, all := range [][]c4.Volume{{other, c.best, c.rest}, {c.rest, other, c.best}} {
			if got, found := volumeNamed("boot", all); !found || got.VolumeID != c.best.VolumeID {
				t.Errorf("not %s of %v", c.name, all)
			}
		}
	}
	if _, found := volumeNamed("boot", []c4.Volume{other}); found {
		t.Error("found what is not there")
	}
}
