package reports

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// runOf is a report of a run that began some hours after noon, in which do
// examined what it examined.
func runOf(hour int, do func(*Recorder)) Report {
	r := Record("A run", "make it", io.Discard)
	r.Describe(Environment{
		Host: "machine", OS: "Linux", CPU: "a processor", Cores: 2, MemoryMiB: 4096, Commit: "0123456789ab",
		Target: "fake", Guests: "simulated", Plane: "embedded", Versions: []Setting{{"Go", "go1"}},
	})
	do(r)
	report := r.Finish()
	report.Start = time.Date(2026, 1, 2, 12+hour, 0, 0, 0, time.UTC)
	report.End = report.Start.Add(time.Minute)
	return report
}

// said is a run that says so of F1.
func said(v Verdict) func(*Recorder) {
	return func(r *Recorder) {
		switch e := r.Begin("F1"); v {
		case Passed:
			e.Step("a step", func() {})
			e.Conclude()
		case Failed:
			e.Fail("it was not well")
		case Unknown:
			e.Conclude()
		}
	}
}

func merged(t *testing.T, runs ...Report) Report {
	t.Helper()
	var sources []Source
	for i, r := range runs {
		name := fmt.Sprintf("run-%d", i+1)
		sources = append(sources, Source{Name: name, Dir: "../" + name, Report: r})
	}
	r, err := Merge("Sign-off", "make signoff", sources, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestTheNewestRunAnswersACriterion(t *testing.T) {
	t.Parallel()
	elsewhere := func(r Report) Report {
		r.Environment.Target, r.Environment.Guests = "https://192.0.2.1", ContainerGuests
		return r
	}
	titled := func(title string, r Report) Report {
		r.Title = title
		return r
	}
	for name, c := range map[string]struct {
		runs []Report
		want []string
		sum  Verdict
	}{
		"no other suite mends what one has found": {[]Report{titled("an upgrade", runOf(1, said(Failed))), runOf(2, said(Passed))}, []string{"run-2 passed", "run-1 failed"}, Failed},
		"what was mended counts":                  {[]Report{runOf(1, said(Failed)), runOf(2, said(Passed))}, []string{"run-2 passed"}, Passed},
		"no older run hides a failure":            {[]Report{runOf(2, said(Failed)), runOf(1, said(Passed))}, []string{"run-1 failed"}, Failed},
		"no run without a result hides a result":  {[]Report{runOf(2, said(Unknown)), runOf(1, said(Passed))}, []string{"run-2 passed"}, Passed},
		"nor a failure":                           {[]Report{runOf(2, said(Unknown)), runOf(1, said(Failed))}, []string{"run-2 failed"}, Failed},
		"a failure behind two without a result":   {[]Report{runOf(3, said(Unknown)), runOf(2, said(Unknown)), runOf(1, said(Failed)), runOf(0, said(Passed))}, []string{"run-3 failed"}, Failed},
		"a run that did not look says nothing":    {[]Report{runOf(2, func(*Recorder) {}), runOf(1, said(Passed))}, []string{"run-2 passed"}, Passed},
		"each environment has its answer":         {[]Report{runOf(2, said(Passed)), elsewhere(runOf(1, said(Failed)))}, []string{"run-1 passed", "run-2 failed"}, Failed},
		"a pass in one of two environments":       {[]Report{runOf(2, said(Unknown)), elsewhere(runOf(1, said(Passed)))}, []string{"run-1 unknown", "run-2 passed"}, Passed},
	} {
		r := merged(t, c.runs...)
		var got []string
		for _, c := range r.Criteria {
			if c.ID == "F1" {
				got = append(got, c.Run+" "+string(c.Verdict))
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: F1 is answered by %q, want %q", name, got, c.want)
		}
		if a := r.Answers()[0]; a.ID != "F1" || a.Verdict != c.sum {
			t.Errorf("%s: %s is %s, want %s", name, a.ID, a.Verdict, c.sum)
		}
	}
}

func TestASignOffIsPassedWhenAllOfTheChecklistIs(t *testing.T) {
	t.Parallel()
	var all []Report
	for i, c := range Checklist() {
		all = append(all, runOf(i, func(r *Recorder) {
			e := r.Begin(c.ID)
			e.Step("a step", func() {})
			if gather := gathered[c.ID]; gather != nil {
				gather(r, e)
			}
			e.Conclude()
		}))
	}
	if r := merged(t, all...); r.Verdict != Passed || len(r.Answers()) != len(Checklist()) {
		t.Errorf("the verdict over all is %s: %s", r.Verdict, r.Explanation)
	}
	if r := merged(t, all[1:]...); r.Verdict != Unknown || r.Explanation != "not run: F1" {
		t.Errorf("the verdict without %s is %s: %s", all[0].Criteria[0].ID, r.Verdict, r.Explanation)
	}
	if r := merged(t, append(all[1:], runOf(0, said(Failed)))...); r.Verdict != Failed {
		t.Errorf("the verdict with a failure is %s", r.Verdict)
	}
	violated := func(r *Recorder) { r.Validator(Validated("nothing left", "", 1, "a volume is left")) }
	if r := merged(t, append(all, runOf(30, violated))...); r.Verdict != Failed || !strings.Contains(r.Explanation, "outside of the criteria") {
		t.Errorf("the verdict with a run that failed outside of the criteria is %s: %s", r.Verdict, r.Explanation)
	}
	later := runOf(31, func(*Recorder) {})
	later.Title = "Another suite"
	if r := merged(t, append(all, runOf(30, violated), later)...); r.Verdict != Failed {
		t.Errorf("the verdict is %s when another suite ran after what has failed: %s", r.Verdict, r.Explanation)
	}
	for _, commit := range []string{"fedcba987654", "0123456789ab+changes"} {
		elsewhere := slices.Clone(all)
		elsewhere[3].Environment.Commit = commit
		if r := merged(t, elsewhere...); r.Verdict != Unknown || !strings.Contains(r.Explanation, commit) {
			t.Errorf("the verdict with an answer of %s is %s: %s", commit, r.Verdict, r.Explanation)
		}
	}
	if _, err := Merge("Sign-off", "make signoff", nil, nil); err == nil {
		t.Error("nothing is signed off")
	}
}

// What a run passed before a criterion asked for more is judged by what it asks
// for now.
func TestASignOffJudgesAgainWhatACriterionAsksFor(t *testing.T) {
	t.Parallel()
	old := runOf(1, func(r *Recorder) {
		e := r.Begin("P2")
		e.Latency(Measure(VMRunning, make([]time.Duration, 9)))
		e.Conclude()
	})
	for i := range old.Criteria {
		if old.Criteria[i].ID == "P2" {
			old.Criteria[i].Verdict, old.Criteria[i].Lacks, old.Criteria[i].Explanation = Passed, nil, ""
		}
	}
	if c, _ := merged(t, old).Criterion("P2"); c.Verdict != Unknown || !strings.Contains(c.Explanation, "9 of at least 30") {
		t.Errorf("P2 is %s: %s", c.Verdict, c.Explanation)
	}
}

func TestEvidenceLeadsFromTheSignOffToTheRun(t *testing.T) {
	t.Parallel()
	r := merged(t, runOf(1, func(r *Recorder) {
		e := r.Begin("F1")
		e.Step("a step", func() {})
		e.Evidence(Evidence{Title: "audit log", Path: "audit.log"})
		e.Conclude()
		r.Evidence(Evidence{Title: "logs", Path: "logs"})
	}))
	if got := r.Criteria[0].Evidence; len(got) != 1 || got[0].Path != "../run-1/audit.log" {
		t.Errorf("the evidence of F1 is %v", got)
	}
	var paths []string
	for _, e := range r.Runs[0].Evidence {
		paths = append(paths, e.Path)
	}
	if want := []string{"../run-1/report.html", "../run-1/logs"}; !slices.Equal(paths, want) {
		t.Errorf("the evidence of the run is %q, want %q", paths, want)
	}
}

// aSignOff has something of everything, much as a real one.
func aSignOff(t *testing.T) Report {
	t.Helper()
	random := rand.New(rand.NewPCG(1, 2))
	spread := func(n int, median time.Duration) []time.Duration {
		var of []time.Duration
		for range n {
			of = append(of, time.Duration(float64(median)*math.Exp(random.NormFloat64()/3)))
		}
		return of
	}
	scenarios := runOf(3, func(r *Recorder) {
		r.Seed("7")
		e := r.Begin("F5")
		for i := range 31 {
			s := Scenario{
				Name: fmt.Sprintf("host-of-control-plane-%d-dies", i), Answers: "Failure Handling: a hypervisor that fails must not take the cluster with it",
				Does: "cuts the power of the host on which the first control plane runs", During: "the API answers again within 10 s", After: "the control plane is replaced, and its cleanup record worked off",
				Seed: "7", Seconds: 1 + 90*random.Float64()*random.Float64(), Verdict: Passed, Command: "make scenario NAME=host-dies SEED=7",
			}
			s.Cycles = s.Seconds / Cycle.Seconds()
			if i == 4 {
				s.Verdict, s.Explanation = Failed, "the API did not answer for 14 s at 12:04:11"
			}
			e.Scenario(s)
		}
		e.Conclude()
	})
	poc := runOf(0, func(r *Recorder) {
		said(Passed)(r)
		p1 := r.Begin("P1")
		p1.Latency(Measure("a changing request of Clastix is answered", spread(48, 8*time.Millisecond)), Measure("Clastix applies the cluster → its first Machine created", spread(1, 4*time.Second)))
		p1.Conclude()
	})
	latency := runOf(1, func(r *Recorder) {
		const whole = "Machine created → Machine Running"
		p2 := r.Begin("P2")
		p2.Latency(Measure(whole, spread(300, 5*time.Second)),
			Measure("Machine created → bootstrap data ready (Cluster API)", spread(300, 4*time.Second)).Stage(whole),
			limited(100*time.Millisecond, Measure("bootstrap data ready → register arrives", spread(300, 60*time.Millisecond))).Stage(whole),
			Measure("register arrives → VM running (AtomOS)", spread(300, 9*time.Millisecond)).Stage(whole),
			limited(300*time.Millisecond, Measure("VM running → provisioned", spread(300, 33*time.Millisecond))).Stage(whole),
			Measure("provisioned → Machine Running (guest and Cluster API)", spread(300, time.Second)).Stage(whole))
		p2.Conclude()
	})
	iterations := runOf(4, func(r *Recorder) {
		e := r.Begin("R2")
		gathered["R2"](r, e)
		e.Validator(Validated("one VM a Machine", "at most one VM of a Machine lives at a time, outside of the fencing window", 12_345))
		e.Conclude()
	})
	soak := runOf(5, func(r *Recorder) {
		r.Seed("42")
		now := time.Now()
		r.Parts(Part{now.Add(-7 * time.Hour), now.Add(-3 * time.Hour)}, Part{now.Add(-3 * time.Hour), now})
		e := r.Begin("R1")
		e.Figure(Figure{Name: Hours, Value: 6.5, Unit: "h"}, Figure{Name: FaultsSet, Value: 24}, Figure{Name: FailedReconciles})
		e.Conclude()
		line := TimeLine{Name: "Soak with faults", Start: now.Add(-7 * time.Hour)}
		for s := range 5040 {
			at := line.Start.Add(time.Duration(s) * 5 * time.Second)
			line.Sample("heap of the manager", "MiB", at, 45+8*math.Sin(float64(s)/90)+random.Float64()*4)
			line.Sample("heap of daemon-1", "MiB", at, 22+random.Float64()*3)
			line.Sample("heap of daemon-2", "MiB", at, 19+random.Float64()*3)
			line.Sample("VMs", "", at, 12+math.Round(6*math.Sin(float64(s)/200)))
			line.Sample("Machines", "", at, 12+math.Round(6*math.Sin(float64(s)/200-.05)))
			line.Sample("C4 calls", "1/s", at, 20+random.Float64()*10)
		}
		for i := range 24 {
			begin := line.Start.Add(time.Duration(i)*17*time.Minute + 9*time.Minute)
			line.Mark([]string{"host-1 down", "daemon-2 killed", "partition manager – daemon-1", "lost replies of register"}[i%4], begin, begin.Add(time.Duration(i%4)*2*time.Minute))
		}
		line.Violation("one VM a Machine", "two VMs of worker-3", line.Start.Add(200*time.Minute))
		r.TimeLine(line)
		r.Validator(Validated("one VM a Machine", "at most one VM of a Machine lives at a time, outside of the fencing window", 54_321, "15:20:00 worker-3 has cape-1 on host-1 and cape-1 on host-2"))
	})
	r := merged(t, poc, latency, scenarios, iterations, soak)
	bugs, err := TrackRecord()
	if err != nil {
		t.Fatal(err)
	}
	r.TrackRecord = append(bugs, Bug{What: "a <b>bug</b>", IntroducedIn: "0000000", MendedIn: "0000001", FoundBy: "make poc", ReproducedBy: "go test"})
	return r
}

func TestASignOffShowsWhatIsInIt(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path, err := WriteSignOff(dir, aSignOff(t))
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	standsAlone(t, page)
	for _, want := range []string{
		"AtomOS was the fake", "host-of-control-plane-4-dies", "the API did not answer for 14 s", "merged from 2 processes",
		"Soak with faults", "worker-3 has cape-1", "Name and signature", "a &lt;b&gt;bug&lt;/b&gt;", "99.90 %", "with 95 % confidence",
		"The stages of Machine created", "Nobody has run", "not run", "6.50 h of 24 h", "a merged run",
	} {
		if !bytes.Contains(page, []byte(want)) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if got := bytes.Count(page, []byte("<svg")); got != 2+1+1 { // P1, P2, its stages, the soak
		t.Errorf("the page has %d drawings", got)
	}
	for _, name := range []string{"signoff.json", "signoff.xml"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
	encoded, err := os.ReadFile(filepath.Join(dir, "signoff.json"))
	if err != nil {
		t.Fatal(err)
	}
	var document map[string]any
	if err := json.Unmarshal(encoded, &document); err != nil {
		t.Fatal(err)
	}
	if result := schemaOf(t).Validate(document); !result.IsValid() {
		t.Errorf("the JSON of a sign-off: %v", result.AsError())
	}
}

func TestJUnitTellsWhatFailedAndWhatWasNotRun(t *testing.T) {
	t.Parallel()
	encoded, err := JUnit(aSignOff(t))
	if err != nil {
		t.Fatal(err)
	}
	type problem struct {
		Message string `xml:"message,attr"`
	}
	var suites struct {
		Tests    int `xml:"tests,attr"`
		Failures int `xml:"failures,attr"`
		Errors   int `xml:"errors,attr"`
		Suites   []struct {
			Name  string `xml:"name,attr"`
			Cases []struct {
				Name    string   `xml:"name,attr"`
				Failure *problem `xml:"failure"`
				Error   *problem `xml:"error"`
				Skipped *problem `xml:"skipped"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal(encoded, &suites); err != nil {
		t.Fatal(err)
	}
	cases, failures := 0, []string{}
	notRun := 0
	for _, s := range suites.Suites {
		for _, c := range s.Cases {
			cases++
			if c.Failure != nil {
				failures = append(failures, c.Name+": "+c.Failure.Message)
			}
			if c.Skipped != nil && strings.HasPrefix(c.Skipped.Message, string(NotRun)) {
				notRun++
			}
			if c.Error != nil {
				t.Errorf("%s: an error: %s", c.Name, c.Error.Message)
			}
		}
	}
	if suites.Tests != cases || suites.Failures != len(failures) {
		t.Errorf("%d tests and %d failures are counted, there are %d and %q", suites.Tests, suites.Failures, cases, failures)
	}
	if len(failures) != 3 { // F5, its scenario, and the soak's validator
		t.Errorf("failures: %q", failures)
	}
	if notRun == 0 {
		t.Error("what was not run is not said to be skipped")
	}
}
