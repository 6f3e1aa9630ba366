package faults

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/fakeatomos"
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
	if plan.background()[0].Seed == 0 {
		t.Error("a fault in the background has no seed")
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
		"a seed of its own":  {"background: [{name: late, seed: 4}]", `background[0].seed of "late"`},
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

func TestTheShippedPlanHasEveryAction(t *testing.T) {
	t.Parallel()
	file, err := os.ReadFile("plan.yaml")
	if err != nil {
		t.Fatal(err)
	}
	plan, err := Parse(file)
	if err != nil {
		t.Fatal(err)
	}
	for do := range actions {
		if !slices.ContainsFunc(plan.Events, func(e Event) bool { return e.Do == do }) {
			t.Errorf("nothing does %s", do)
		}
	}
}

func TestEveryActionIsKnown(t *testing.T) {
	t.Parallel()
	file, err := parser.ParseFile(token.NewFileSet(), "plan.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	named := 0
	ast.Inspect(file, func(n ast.Node) bool {
		constant, is := n.(*ast.ValueSpec)
		if !is {
			return true
		}
		if kind, is := constant.Type.(*ast.Ident); is && kind.Name == "Action" {
			named++
			do, err := strconv.Unquote(constant.Values[0].(*ast.BasicLit).Value)
			if a := actions[Action(do)]; err != nil || a.do == nil {
				t.Errorf("%s has nothing behind it (%v)", do, err)
			}
		}
		return true
	})
	if named != len(actions) {
		t.Errorf("%d actions have a name and %d something behind it", named, len(actions))
	}
}

// tenTimes draws the first ten events of a plan with a seed.
func tenTimes(seed int64) (drawn []string) {
	table := Plan{Seed: seed, Events: []Event{
		{Do: CrashVM, Every: Duration(time.Minute)},
		{Do: HostDown, Every: Duration(2 * time.Minute), For: Duration(time.Second)},
		{Do: Rotate, Every: Duration(3 * time.Minute)},
	}}.timetable()
	for range 10 {
		e, due := table.draw()
		drawn = append(drawn, string(e.Do)+" "+due.String())
	}
	return drawn
}

func TestTheTimetableFollowsFromTheSeed(t *testing.T) {
	t.Parallel()
	if one, again := tenTimes(1), tenTimes(1); !slices.Equal(one, again) {
		t.Errorf("a seed gives %v, and again %v", one, again)
	}
	if one, another := tenTimes(1), tenTimes(2); slices.Equal(one, another) {
		t.Errorf("two seeds both give %v", one)
	}
}

func TestTheTimetableIsInOrderAndAsOftenAsThePlanSays(t *testing.T) {
	t.Parallel()
	table := Plan{Seed: 1, Events: []Event{
		{Do: CrashVM, Every: Duration(time.Minute)}, {Do: Rotate, Every: Duration(4 * time.Minute)},
	}}.timetable()
	count := map[Action]int{}
	last := time.Duration(0)
	for last < 100*time.Hour {
		e, due := table.draw()
		if due < last {
			t.Fatalf("%s is due at %s, and what comes before it at %s", e.Do, due, last)
		}
		last = due
		count[e.Do]++
	}
	// Of so many that come at random the number is within a tenth, but for once in
	// thousands of seeds.
	for do, want := range map[Action]int{CrashVM: 6000, Rotate: 1500} {
		if n := count[do]; n < want*9/10 || n > want*11/10 {
			t.Errorf("%s happens %d times in 100 hours, want about %d", do, n, want)
		}
	}
}

func TestWhatIsDueIsWhatTheTimetableTells(t *testing.T) {
	t.Parallel()
	plan := Plan{Seed: 1, Events: []Event{
		{Do: CrashVM, Every: Duration(time.Minute)}, {Do: Rotate, Every: Duration(4 * time.Minute)}, {Do: HostDown, Every: Duration(100 * time.Hour), For: Duration(time.Second)},
	}}
	want := map[Action]int{}
	for table := plan.timetable(); ; {
		e, at := table.draw()
		if at > time.Hour {
			break
		}
		want[e.Do]++
	}
	if due := plan.Due(time.Hour); !maps.Equal(due, want) || due[CrashVM] < due[Rotate] || due[Rotate] == 0 {
		t.Errorf("in an hour %v are due, want %v", due, want)
	}
	for plan, within := range map[*Plan]time.Duration{&plan: -time.Minute, {}: time.Hour} {
		if due := plan.Due(within); len(due) > 0 {
			t.Errorf("in %s %v are due, want nothing", within, due)
		}
	}
}

func TestFaultsInTheBackgroundFollowFromTheSeedToo(t *testing.T) {
	t.Parallel()
	seeds := map[int64]bool{}
	for seed := range int64(3) {
		for _, f := range (Plan{Seed: seed, Background: []fakeatomos.Fault{{Name: "late"}, {Name: "lost"}}}).background() {
			if seeds[f.Seed] || f.Seed == 0 {
				t.Errorf("%s has the seed %d, which another one has", f.Name, f.Seed)
			}
			seeds[f.Seed] = true
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("seed: 1\nevents: [{do: crash-vm, every: 1m}]"))
	f.Fuzz(func(_ *testing.T, file []byte) { _, _ = Parse(file) })
}
