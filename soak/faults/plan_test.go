package faults

import (
	"os"
	"strings"
	"testing"
	"time"
)

func TestAPlanIsRead(t *testing.T) {
	t.Parallel()
	plan, err := Parse([]byte(`
seed: 7
background:
- name: replies get lost
  call: POST matcher/register
  probability: 0.1
  effect: LoseReply
events:
- do: host-down
  every: 5m
  for: 30s
`))
	if err != nil {
		t.Fatal(err)
	}
	if plan.Seed != 7 || len(plan.Events) != 1 || time.Duration(plan.Events[0].For) != 30*time.Second {
		t.Errorf("read %+v", plan)
	}
	if plan.Background[0].Seed == 0 {
		t.Error("a fault without a seed has none of the plan's")
	}
}

func TestAWrongPlanSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ plan, says string }{
		"nothing":            {"seed: 1", "neither background nor events"},
		"an unknown action":  {"events: [{do: dance, every: 1m}]", `events[0].do "dance"`},
		"no interval":        {"events: [{do: crash-vm}]", "events[0].every"},
		"no duration":        {"events: [{do: host-down, every: 1m}]", "say how long it lasts"},
		"one duration more":  {"events: [{do: crash-vm, every: 1m, for: 3s}]", "leave it out"},
		"an unknown field":   {"events: [{do: crash-vm, evry: 1m}]", "evry"},
		"a number for hours": {"events: [{do: crash-vm, every: 60}]", "want a duration"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := Parse([]byte(c.plan)); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("says %v, want %q", err, c.says)
			}
		})
	}
}

func TestTheShippedPlansAreRead(t *testing.T) {
	t.Parallel()
	file, err := os.ReadFile("plan.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Parse(file); err != nil {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("seed: 1\nevents: [{do: crash-vm, every: 1m}]"))
	f.Fuzz(func(_ *testing.T, file []byte) { _, _ = Parse(file) })
}
