package cloudinit

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
)

const metaData = `instance-id: i-1
local-hostname: node-1
provider_id: elemento://domain/node-1
disks: [{serial-number: abc}]
size: 3
`

func TestSeedBecomesFilesAndCommands(t *testing.T) {
	t.Parallel()
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, _ = w.Write([]byte("packed text"))
	_ = w.Close()
	userData := `## template: jinja
#cloud-config

write_files:
-   path: /plain
    owner: root:root
    permissions: '0640'
    content: |
      id: '{{ ds.meta_data.provider_id }}'
-   path: /base64
    encoding: "base64"
    content: |
      ` + base64.StdEncoding.EncodeToString([]byte("coded text")) + `
-   path: /gzip
    encoding: gzip+base64
    content: ` + base64.StdEncoding.EncodeToString(packed.Bytes()) + `
-   path: /plain
    append: true
    content: more
runcmd:
  - 'echo {{ v1.local_hostname }}'
  - [kubeadm, join, --config, /x]
`
	machine, err := Read([]byte(userData), []byte(metaData))
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"/plain": "id: 'elemento://domain/node-1'\nmore", "/base64": "coded text", "/gzip": "packed text",
	} {
		if got := string(machine.Files[path]); got != want {
			t.Errorf("file %s is %q, not %q", path, got, want)
		}
	}
	if got := strings.Join(machine.Commands, ";"); got != "echo node-1;kubeadm join --config /x" {
		t.Errorf("commands are %q", got)
	}
	if machine.InstanceID != "i-1" || machine.Hostname != "node-1" {
		t.Errorf("identity is %q, %q", machine.InstanceID, machine.Hostname)
	}
}

func TestSeedWithoutCloudConfigIsAMachineWithoutWork(t *testing.T) {
	t.Parallel()
	for _, userData := range []string{"", "#!/bin/sh\nkubeadm init\n", `{"ignition":{"version":"3.1.0"}}`, "{{ not a template }}"} {
		machine, err := Read([]byte(userData), nil)
		if err != nil || len(machine.Files)+len(machine.Commands) != 0 {
			t.Errorf("user-data %q: %+v, %v", userData, machine, err)
		}
	}
}

func TestBrokenSeedTellsWhereAndKeepsItsSecrets(t *testing.T) {
	t.Parallel()
	var fileError *FileError
	var templateError *TemplateError
	for name, test := range map[string]struct {
		userData, metaData string
		is                 func(error) bool
	}{
		"user-data that is a list":    {"#cloud-config\n- secret\n", "", func(err error) bool { return errors.Is(err, ErrUserData) }},
		"user-data with a bad indent": {"#cloud-config\na: secret\n  b: 1\n", "", func(err error) bool { return errors.Is(err, ErrUserData) }},
		"meta-data that is a string":  {"", "secret", func(err error) bool { return errors.Is(err, ErrMetaData) }},
		"a file that is not base64": {"#cloud-config\nwrite_files: [{path: /p, encoding: b64, content: '<secret>'}]\n", "",
			func(err error) bool { return errors.As(err, &fileError) && fileError.Path == "/p" }},
		"a file with an unknown encoding": {"#cloud-config\nwrite_files: [{path: /p, encoding: rot13, content: secret}]\n", "",
			func(err error) bool { return errors.As(err, &fileError) }},
		"an open tag": {"## template: jinja\n#cloud-config\n\nsecret: {{ v1\n", "",
			func(err error) bool { return errors.As(err, &templateError) && templateError.Line == 4 }},
	} {
		_, err := Read([]byte(test.userData), []byte(test.metaData))
		if err == nil || !test.is(err) {
			t.Errorf("%s: error is %v", name, err)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error shows the seed: %v", name, err)
		}
	}
}

func TestTemplateRendersWhatSeedsUse(t *testing.T) {
	t.Parallel()
	for template, want := range map[string]string{
		"plain":                                     "plain",
		"{{ ds.meta_data.provider_id }}":            "elemento://domain/node-1",
		"{{ds.meta_data['local-hostname']}}":        "node-1",
		`{{ ds.meta_data["local_hostname"] }}`:      "node-1",
		"{{ ds.meta_data.local_hostname }}":         "node-1",
		"{{ ds.meta_data.disks[0].serial_number }}": "abc",
		"{{ ds.meta_data.size }}":                   "3",
		"{{ instance_id }}/{{ v1.instance_id }}":    "i-1/i-1",
		"{{ v1.local_hostname | upper }}":           "NODE-1",
		"{{ ds.meta_data.no | default('x') }}":      "x",
		"{{ 'a-b' | replace('-', '}}') }}":          "a}}b",
		"{{ ds.meta_data.no }}":                     "CI_MISSING_JINJA_VAR/no",
		"a {{- ' b' -}} \n c":                       "a bc",
		"a{# {{ no.such.thing }} #}\nb":             "ab",
		"{% raw %}{{ .Go }}{% endraw %}!":           "{{ .Go }}!",
	} {
		got, err := render(template, testVariables(t))
		if err != nil || got != want {
			t.Errorf("%s renders as %q, %v; want %q", template, got, err, want)
		}
	}
	for _, template := range []string{
		"{{ }}", "{{ a b }}", "{{ no.such }}", "{{ v1 + 1 }}", "{{ v1 | shuffle }}", "{% if v1 %}x{% endif %}", "{% raw %}", "{# ", "{{ 'a }}", "{{ v1.['a'] }}", "{{ v1 | default( }}",
	} {
		if got, err := render(template, testVariables(t)); err == nil {
			t.Errorf("%s renders as %q without an error", template, got)
		}
	}
}

func testVariables(t *testing.T) map[string]any {
	t.Helper()
	return variables(map[string]any{
		"instance-id": "i-1", "local-hostname": "node-1", "provider_id": "elemento://domain/node-1",
		"disks": []any{map[string]any{"serial-number": "abc"}}, "size": float64(3),
	}, &Machine{InstanceID: "i-1", Hostname: "node-1"})
}

// FuzzSeed looks for a seed that crashes the reader, and for an error that
// quotes a seed.
func FuzzSeed(f *testing.F) {
	for _, seed := range []string{
		"", "{{ ds.meta_data.x }}", "{{ 'a' | replace('a','b') }}", "{%- raw -%}x{% endraw %}", "{# #}", "{{ v1[0] }}", "write_files:\n- {path: /a, encoding: gz, content: x}",
	} {
		f.Add(seed, "instance-id: x\n")
	}
	f.Fuzz(func(t *testing.T, text, meta string) {
		const marker = "KEY-MATERIAL"
		_, err := Read([]byte("## template: jinja\n#cloud-config\n"+text+"\n# "+marker), []byte(meta))
		if err != nil && strings.Contains(err.Error(), marker) {
			t.Errorf("the error shows the seed: %v", err)
		}
	})
}

// FuzzTemplate checks that text without tags is left alone and that rendering
// always ends.
func FuzzTemplate(f *testing.F) {
	f.Add("{{ v1.instance_id }}")
	f.Add("{{-''-}}{%raw%}{%endraw%}")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := render(text, variables(map[string]any{}, &Machine{}))
		if start, _ := firstTag(text); start < 0 && (err != nil || got != text) {
			t.Errorf("text without tags %q became %q, %v", text, got, err)
		}
	})
}
