package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// constrained is a machine without CAP_SYS_RESOURCE.
var constrained = machine{
	missing:          map[string]bool{"CAP_SYS_RESOURCE": true},
	leastOOMScoreAdj: 0,
	mostRlimit:       map[string]uint64{"RLIMIT_NOFILE": 4096, "RLIMIT_NPROC": 1<<64 - 1},
}

const container = `{
	"ociVersion": "1.0.2",
	"process": {
		"args": ["sh"],
		"capabilities": {
			"bounding": ["CAP_CHOWN", "CAP_SYS_RESOURCE", "CAP_SYS_ADMIN"],
			"effective": ["CAP_CHOWN", "CAP_SYS_RESOURCE"],
			"inheritable": [],
			"permitted": ["CAP_CHOWN"]
		},
		"oomScoreAdj": -998,
		"rlimits": [
			{"type": "RLIMIT_NOFILE", "hard": 1048576, "soft": 1024},
			{"type": "RLIMIT_NPROC", "hard": 18446744073709551615, "soft": 18446744073709551615}
		]
	},
	"linux": {"resources": {"memory": {"limit": 9007199254740993}}}
}`

func TestAContainerIsNotToldToHaveWhatTheMachineCannotGive(t *testing.T) {
	t.Parallel()
	edited, err := constrained.edit([]byte(container), false)
	if err != nil {
		t.Fatal(err)
	}
	sameJSON(t, edited, `{
		"ociVersion": "1.0.2",
		"process": {
			"args": ["sh"],
			"capabilities": {
				"bounding": ["CAP_CHOWN", "CAP_SYS_ADMIN"],
				"effective": ["CAP_CHOWN"],
				"inheritable": [],
				"permitted": ["CAP_CHOWN"]
			},
			"oomScoreAdj": 0,
			"rlimits": [
				{"type": "RLIMIT_NOFILE", "hard": 4096, "soft": 1024},
				{"type": "RLIMIT_NPROC", "hard": 18446744073709551615, "soft": 18446744073709551615}
			]
		},
		"linux": {"resources": {"memory": {"limit": 9007199254740993}}}
	}`)
}

func TestAProcessInAContainerIsNotToldToHaveWhatTheMachineCannotGive(t *testing.T) {
	t.Parallel()
	edited, err := constrained.edit([]byte(`{"args": ["sh"], "capabilities": {"bounding": ["CAP_SYS_RESOURCE", "CAP_KILL"]}}`), true)
	if err != nil {
		t.Fatal(err)
	}
	sameJSON(t, edited, `{"args": ["sh"], "capabilities": {"bounding": ["CAP_KILL"]}}`)
}

func TestNothingIsChangedWhereNothingIsMissing(t *testing.T) {
	t.Parallel()
	whole := machine{leastOOMScoreAdj: -1000}
	for name, c := range map[string]struct {
		machine machine
		told    string
	}{
		"the machine can give all":              {whole, container},
		"the container asks for what there is":  {constrained, `{"process": {"oomScoreAdj": 3, "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 4096, "soft": 1}]}}`},
		"the container asks for nothing":        {constrained, `{}`},
		"the limit is one that nobody knows of": {constrained, `{"process": {"rlimits": [{"type": "RLIMIT_NEW", "hard": 5000, "soft": 5000}]}}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "config.json")
			if err := os.WriteFile(path, []byte(c.told), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := c.machine.editFile(path, false); err != nil {
				t.Fatal(err)
			}
			if content, err := os.ReadFile(path); err != nil || string(content) != c.told {
				t.Errorf("the file is now %s (%v)", content, err)
			}
		})
	}
}

func TestTheFileToEditIsTheOneThatRuncIsToldToRead(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args    []string
		path    string
		process bool
	}{
		{[]string{"--root", "/run/create", "--log-format", "json", "create", "--bundle", "/b", "--pid-file", "/p", "id"}, "/b/config.json", false},
		{[]string{"--systemd-cgroup", "--root=/r", "run", "--bundle=/b", "id"}, "/b/config.json", false},
		{[]string{"create", "id"}, "config.json", false},
		{[]string{"--log", "exec", "exec", "--process", "/run/p.json", "--detach", "id"}, "/run/p.json", true},
		{[]string{"exec", "id", "ls"}, "", true},
		{[]string{"--root", "/r", "delete", "--force", "id"}, "", false},
		{[]string{"--version"}, "", false},
	} {
		if path, process := toldBy(c.args); path != c.path || (path != "" && process != c.process) {
			t.Errorf("%v is told by %q (a process: %t), not by %q (a process: %t)", c.args, path, process, c.path, c.process)
		}
	}
}

func TestThisMachineIsFoundOut(t *testing.T) {
	t.Parallel()
	m, err := thisMachine()
	if err != nil {
		t.Fatal(err)
	}
	if m.missing["CAP_SYS_RESOURCE"] != (len(m.mostRlimit) > 0) {
		t.Errorf("limits cannot be raised exactly where CAP_SYS_RESOURCE is missing, but %+v", m)
	}
}

func sameJSON(t *testing.T, got []byte, want string) {
	t.Helper()
	if is, wanted := normal(t, got), normal(t, []byte(want)); !bytes.Equal(is, wanted) {
		t.Errorf("it is\n%s\nand not\n%s", is, wanted)
	}
}

// normal is a document in one way of writing it, with numbers as they are.
func normal(t *testing.T, document []byte) []byte {
	t.Helper()
	decoder := json.NewDecoder(bytes.NewReader(document))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		t.Fatal(err)
	}
	written, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return written
}
