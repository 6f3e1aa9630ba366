package fakeatomos

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestAFileOfFaultsIsRead(t *testing.T) {
	t.Parallel()
	got, err := ParseFaults([]byte(`# a comment
---
seed: 42
faults:
- name: slow
  call: "* storage/*"
  host: host-1
  delay: 300ms
  effect: DelayBefore
- vm: "*-worker-*"
  owner: tenant
  skip: 1
  times: 2
  probability: 0.25
  effect: Pretend
- {effect: Refuse, status: 503, seed: 7}
`))
	if err != nil {
		t.Fatal(err)
	}
	want := []Fault{
		{Name: "slow", Call: "* storage/*", Host: "host-1", Delay: 300 * time.Millisecond, Effect: DelayBefore, Seed: 42},
		{VM: "*-worker-*", Owner: "tenant", Skip: 1, Times: 2, Probability: 0.25, Effect: Pretend, Seed: 43},
		{Effect: Refuse, Status: 503, Seed: 7},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("read %+v, want %+v", got, want)
	}
}

func TestAFileThatMakesNoSenseIsRefusedWithTheReason(t *testing.T) {
	t.Parallel()
	for file, reason := range map[string]string{
		"":                             "at least one",
		"seed: 1":                      "at least one",
		"faults: {}":                   "faults",
		"fault: []":                    `unknown field "fault"`,
		"faults: [{effect: Explode}]":  `faults[0] "": effect "Explode": use one of`,
		"faults: [{efect: LoseReply}]": `faults[0]: json: unknown field "efect"`,
		"faults: [{effect: LoseReply}, {name: slow, effect: DelayBefore}]":    `faults[1] "slow": delay`,
		"faults: [{effect: DelayBefore, delay: 5}]":                           `"200ms"`,
		"faults: [{effect: LoseReply, effect: Hang}]":                         "already set",
		"faults: [{id: '1', effect: LoseReply}]":                              "leave it out",
		"faults: [{effect: HangBoot, call: POST matcher/register}]":           "at boot",
		"faults: [{effect: LoseReply, probability: 2}]":                       "probability 2",
		"faults: [{effect: LoseReply}]\n---\nfaults: [{effect: LoseRequest}]": "one document",
	} {
		if _, err := ParseFaults([]byte(file)); err == nil || !strings.Contains(err.Error(), reason) {
			t.Errorf("%q: %v, want %s", file, err, reason)
		}
	}
}

func FuzzParseFaults(f *testing.F) {
	f.Add([]byte("seed: 42\nfaults:\n- {name: a, call: '* storage/*', delay: 300ms, effect: DelayBefore}\n"))
	f.Add([]byte("faults: [{effect: Refuse, status: 503, body: '{}', probability: 0.5, skip: 1, times: 1}]"))
	f.Add([]byte("faults:\n- effect: HangBoot\n  vm: '[a-'\n"))
	f.Add([]byte(`{"seed": -1, "faults": [{"effect": "HideAddress", "owner": "x", "host": "y"}]}`))
	f.Add([]byte("---\n- &a [*a]\n"))
	f.Fuzz(func(t *testing.T, file []byte) {
		faults, err := ParseFaults(file)
		if err != nil {
			return
		}
		var list faultList
		for _, fault := range faults {
			if _, err := list.add(fault); err != nil {
				t.Errorf("%+v is read and refused: %v", fault, err)
			}
			raw, err := json.Marshal(fault)
			if err != nil {
				t.Fatal(err)
			}
			var again Fault
			if err := json.Unmarshal(raw, &again); err != nil || again != fault {
				t.Errorf("%+v became %+v, %v", fault, again, err)
			}
		}
		for _, call := range []string{"", "POST matcher/register"} {
			list.fire(call, "host-1", subject{vm: "vm", owner: "tenant"})
		}
	})
}
