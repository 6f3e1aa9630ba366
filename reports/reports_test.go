package reports

import (
	"bytes"
	"encoding/json"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"golang.org/x/net/html"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"k8s.io/kube-openapi/pkg/validation/strfmt"
	"k8s.io/kube-openapi/pkg/validation/validate"
)

// aRun is a report with something of everything in it.
func aRun(t *testing.T) Report {
	t.Helper()
	r := Record("A run", "make poc", t.Output())
	r.Seed("42")
	r.Explain("a first thing")
	r.Explain("a second thing")
	e := ThisMachine(t.Context())
	e.Plane, e.Guests, e.Target = "embedded", "simulated", "fake"
	e.Settings = []Setting{{"Boot time", "0 s"}}
	r.Describe(e)
	r.Step("bring up the world", func() {})

	f1 := r.Begin("F1")
	f1.Step("create a cluster", func() {})
	limit := 6.0
	f1.Figure(Figure{Name: "nodes Ready", Value: 6, AtMost: &limit, Command: "kubectl get nodes"})
	f1.Evidence(Evidence{Title: "audit log", Path: "audit.log"})
	f1.Conclude()

	p2 := r.Begin("P2")
	p2.Latency(limited(time.Millisecond, Measure("VM running to provisioned", []time.Duration{3 * time.Millisecond, time.Millisecond, 2 * time.Second})))
	p2.Latency(Measure("deleted to gone", nil))
	p2.Conclude()

	c2 := r.Begin("C2")
	c2.Item(Item{Name: "QuickStart <script>", Verdict: Passed}, Item{Name: "ClusterDeletion", Verdict: NotRun, Detail: "does not apply"})
	c2.Conclude()

	f5 := r.Begin("F5")
	f5.Scenario(Scenario{Name: "lost-reply", Answers: "capi-facts: a reply is lost", Does: "loses the reply of register", During: "one VM", After: "the Machine is Ready",
		Seed: "7", Start: time.Now(), Seconds: 1.5, Cycles: 0.0025, Verdict: Passed, Command: "make scenario NAME=lost-reply SEED=7"})
	f5.Validator(Validated("one VM a Machine", "at most one VM of a Machine lives at a time", 12))
	f5.Conclude()

	r2 := r.Begin("R2")
	r2.Figure(Figure{Name: Iterations, Value: 100})
	share := Share(SucceededOperations, 3000, 3001)
	share.AtLeast = at(99.9)
	r2.Figure(share)
	r2.Conclude()

	r.Begin("F4")
	r.Figure(Figure{Name: "C4 calls", Value: 1234})
	r.Validator(Validated("nothing left", "", 3, "12:00 volume boot-1 is left"))
	r.Parts(Part{Start: time.Now().Add(-time.Hour), End: time.Now()}, Part{Start: time.Now(), End: time.Now()})
	line := TimeLine{Name: "The soak", Start: time.Now()}
	for i := range 100 {
		line.Sample("heap of the manager", "MiB", line.Start.Add(time.Duration(i)*time.Second), float64(40+i%7))
		line.Sample("heap of daemon-1", "MiB", line.Start.Add(time.Duration(i)*time.Second), float64(20+i%5))
		line.Sample("VMs", "", line.Start.Add(time.Duration(i)*time.Second), float64(i/10))
	}
	line.Mark("host-1 down", line.Start.Add(20*time.Second), line.Start.Add(40*time.Second))
	line.Violation("nothing left", "volume boot-1", line.Start.Add(50*time.Second))
	r.TimeLine(line)
	r.Evidence(Evidence{Title: "logs", Path: "logs"})
	return r.Finish()
}

func verdictOf(t *testing.T, r Report, id string) Verdict {
	t.Helper()
	c, ok := r.Criterion(id)
	if !ok {
		t.Fatalf("the report has no criterion %s", id)
	}
	return c.Verdict
}

func TestWhatWasNotRunSaysSo(t *testing.T) {
	t.Parallel()
	r := Record("A run", "make poc", io.Discard).Finish()
	if r.Verdict != NotRun {
		t.Errorf("the verdict of a run that did nothing is %q", r.Verdict)
	}
	for _, c := range r.Criteria {
		if c.Verdict != NotRun {
			t.Errorf("the verdict of %s, which nobody looked at, is %q", c.ID, c.Verdict)
		}
	}
}

func TestACriterionIsJudgedByWhatWasGathered(t *testing.T) {
	t.Parallel()
	limit := 1.0
	for name, c := range map[string]struct {
		gather func(*Examination)
		want   Verdict
	}{
		"nothing was gathered": {func(e *Examination) { e.Conclude() }, Unknown},
		"it was not concluded": {func(e *Examination) { e.Step("a step", func() {}) }, Unknown},
		"all steps passed":     {func(e *Examination) { e.Step("a step", func() {}); e.Conclude() }, Passed},
		"a figure keeps its limit": {func(e *Examination) {
			e.Figure(Figure{Name: "leaks", Value: 1, AtMost: &limit})
			e.Conclude()
		}, Passed},
		"a figure exceeds its limit": {func(e *Examination) {
			e.Step("a step", func() {})
			e.Figure(Figure{Name: "leaks", Value: 2, AtMost: &limit})
			e.Conclude()
		}, Failed},
		"a latency keeps its limit": {func(e *Examination) {
			e.Latency(limited(time.Hour, Measure("call", []time.Duration{time.Millisecond, time.Hour, time.Hour})))
			e.Conclude()
		}, Passed},
		"a median exceeds its limit": {func(e *Examination) {
			e.Latency(limited(time.Second, Measure("call", []time.Duration{time.Second, time.Minute, time.Hour})))
			e.Conclude()
		}, Failed},
		"a latency was never measured": {func(e *Examination) {
			e.Step("a step", func() {})
			e.Latency(limited(time.Second, Measure("call", nil)))
			e.Conclude()
		}, Unknown},
		"one of the items failed": {func(e *Examination) {
			e.Item(Item{Name: "one", Verdict: Passed}, Item{Name: "other", Verdict: Failed})
			e.Conclude()
		}, Failed},
		"a step was given up": {func(e *Examination) {
			func() {
				defer func() { _ = recover() }()
				e.Step("a step", func() { panic("an assertion") })
			}()
			e.Conclude()
		}, Failed},
		"it failed after it was concluded": {func(e *Examination) { e.Conclude(); e.Fail("it is not what was wanted") }, Unknown},
		"not all there is was looked at": {func(e *Examination) {
			e.Step("a step", func() {})
			e.Doubt("a short run")
			e.Conclude()
		}, Unknown},
		"what was looked at of not all failed": {func(e *Examination) {
			e.Doubt("a short run")
			e.Figure(Figure{Name: "leaks", Value: 2, AtMost: &limit})
			e.Conclude()
		}, Failed},
		"someone says that it failed": {func(e *Examination) { e.Fail("for a reason") }, Failed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := Record("A run", "make poc", io.Discard)
			c.gather(r.Begin("F1"))
			report := r.Finish()
			if got := verdictOf(t, report, "F1"); got != c.want {
				t.Errorf("the verdict of the criterion is %q, want %q", got, c.want)
			}
			if report.Verdict != c.want {
				t.Errorf("the verdict of the run is %q, want %q", report.Verdict, c.want)
			}
			if got, _ := report.Criterion("F1"); got.Verdict != Passed && got.Explanation == "" {
				t.Error("nothing says why it has not passed")
			}
		})
	}
}

func TestAFailureOutsideOfTheCriteriaFailsTheRun(t *testing.T) {
	t.Parallel()
	r := Record("A run", "make poc", io.Discard)
	func() {
		defer func() { _ = recover() }()
		r.Step("bring up the world", func() { panic("an assertion") })
	}()
	if got := r.Finish().Verdict; got != Failed {
		t.Errorf("the verdict is %q", got)
	}
}

func TestAFigureOfTheRunAsAWholeJudgesIt(t *testing.T) {
	t.Parallel()
	limit := 6.0
	for value, want := range map[float64]Verdict{5: Passed, 6: Passed, 7: Failed} {
		r := Record("A run", "make bench", io.Discard)
		r.Figure(Figure{Name: "minutes", Value: value, AtMost: &limit})
		if got := r.Finish().Verdict; got != want {
			t.Errorf("the verdict of %g, of at most %g, is %q", value, limit, got)
		}
	}
}

func TestPercentilesAreNearestRanks(t *testing.T) {
	t.Parallel()
	hundred := make([]time.Duration, 100)
	for i := range hundred {
		hundred[99-i] = time.Duration(i+1) * time.Millisecond
	}
	for _, c := range []struct {
		samples []time.Duration
		want    Latency
	}{
		{hundred, Latency{Count: 100, Min: 1, P50: 50, P90: 90, P99: 99, Max: 100}},
		{hundred[:1], Latency{Count: 1, Min: 100, P50: 100, P90: 100, P99: 100, Max: 100}},
		{hundred[:2], Latency{Count: 2, Min: 99, P50: 99, P90: 100, P99: 100, Max: 100}},
		{nil, Latency{}},
	} {
		got := Measure("", c.samples)
		got.Samples = nil
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("of %d samples: got %+v, want %+v", len(c.samples), got, c.want)
		}
	}
}

// withoutReferences puts the definitions of a schema where they are referred to,
// since the validator does not follow references.
func withoutReferences(t *testing.T, schema []byte) []byte {
	t.Helper()
	var root map[string]any
	if err := json.Unmarshal(schema, &root); err != nil {
		t.Fatal(err)
	}
	var expand func(any) any
	expand = func(node any) any {
		switch node := node.(type) {
		case map[string]any:
			if to, ok := node["$ref"].(string); ok {
				return expand(root["definitions"].(map[string]any)[strings.TrimPrefix(to, "#/definitions/")])
			}
			expanded := map[string]any{}
			for key, value := range node {
				expanded[key] = expand(value)
			}
			return expanded
		case []any:
			expanded := make([]any, len(node))
			for i, value := range node {
				expanded[i] = expand(value)
			}
			return expanded
		default:
			return node
		}
	}
	expanded, err := json.Marshal(expand(root))
	if err != nil {
		t.Fatal(err)
	}
	return expanded
}

func schemaOf(t *testing.T) *validate.SchemaValidator {
	t.Helper()
	schema := &spec.Schema{}
	if err := json.Unmarshal(withoutReferences(t, Schema), schema); err != nil {
		t.Fatal(err)
	}
	return validate.NewSchemaValidator(schema, nil, "", strfmt.Default)
}

func TestTheJSONKeepsToItsSchema(t *testing.T) {
	t.Parallel()
	validator := schemaOf(t)
	decoded := func(r Report) map[string]any {
		encoded, err := JSON(r)
		if err != nil {
			t.Fatal(err)
		}
		var document map[string]any
		if err := json.Unmarshal(encoded, &document); err != nil {
			t.Fatal(err)
		}
		return document
	}
	for name, r := range map[string]Report{
		"full":  aRun(t),
		"empty": Record("A run", "make poc", io.Discard).Finish(),
	} {
		if result := validator.Validate(decoded(r)); !result.IsValid() {
			t.Errorf("the %s report: %v", name, result.AsError())
		}
	}

	for name, spoil := range map[string]func(map[string]any){
		"an unknown field":        func(d map[string]any) { d["more"] = 1 },
		"a missing field":         func(d map[string]any) { delete(d, "command") },
		"a verdict that is none":  func(d map[string]any) { d["verdict"] = "maybe" },
		"a time that is none":     func(d map[string]any) { d["start"] = "noon" },
		"a field of a criterion":  func(d map[string]any) { d["criteria"].([]any)[0].(map[string]any)["more"] = 1 },
		"a verdict in a step":     func(d map[string]any) { d["steps"].([]any)[0].(map[string]any)["verdict"] = "maybe" },
		"a newer format":          func(d map[string]any) { d["format"] = 2 },
		"no criteria":             func(d map[string]any) { d["criteria"] = []any{} },
		"an environment in words": func(d map[string]any) { d["environment"] = "good" },
	} {
		document := decoded(aRun(t))
		spoil(document)
		if validator.Validate(document).IsValid() {
			t.Errorf("the schema lets pass %s", name)
		}
	}
}

func TestEveryVerdictIsInTheSchema(t *testing.T) {
	t.Parallel()
	var schema struct {
		Definitions struct {
			Verdict struct {
				Enum []Verdict `json:"enum"`
			} `json:"verdict"`
		} `json:"definitions"`
	}
	if err := json.Unmarshal(Schema, &schema); err != nil {
		t.Fatal(err)
	}
	listed := map[Verdict]bool{}
	for _, v := range schema.Definitions.Verdict.Enum {
		listed[v] = true
	}
	for _, v := range Verdicts {
		if !listed[v] {
			t.Errorf("the schema lacks the verdict %q", v)
		}
		delete(listed, v)
	}
	if len(listed) > 0 {
		t.Errorf("the schema has verdicts that are none: %v", listed)
	}
}

func TestTheTextFitsTheTerminal(t *testing.T) {
	t.Parallel()
	r := aRun(t)
	r.Criteria[0].Explanation = strings.Repeat("a long story ", 10) + strings.Repeat("x", 200) + "\nand a second line"
	var b bytes.Buffer
	if err := WriteText(&b, r); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(b.String()) {
		if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > Width {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	for _, want := range []string{"F1", "passed", "not run", "unknown", "VM running to provisioned", "and a second line", "C4 calls: 1234", "a first thing a second thing"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the text lacks %q:\n%s", want, b.String())
		}
	}
}

func TestThePageStandsAlone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := aRun(t)
	path, err := Write(dir, r)
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range r.Criteria {
		if !bytes.Contains(page, []byte(c.Title)) {
			t.Errorf("the page lacks %s", c.ID)
		}
	}
	standsAlone(t, page)
	if _, err := os.Stat(filepath.Join(dir, "report.json")); err != nil {
		t.Error(err)
	}
}

// loads are the attributes by which an element loads something, or leads to it.
var loads = []string{"src", "srcset", "href", "xlink:href", "data", "action", "poster", "background", "manifest"}

// standsAlone demands that a page loads and runs nothing, and leads to files beside
// it and places in it only.
func standsAlone(t *testing.T, page []byte) {
	t.Helper()
	root, err := html.Parse(bytes.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string]bool{}
	for n := range root.Descendants() {
		for _, a := range n.Attr {
			if a.Key == "id" {
				ids[a.Val] = true
			}
		}
	}
	for n := range root.Descendants() {
		switch n.Data {
		case "script", "link", "iframe", "object", "embed", "img", "image", "base", "form", "video", "audio", "use":
			if n.Type == html.ElementNode {
				t.Errorf("the page has an element %s", n.Data)
			}
		}
		for _, a := range n.Attr {
			if strings.HasPrefix(a.Key, "on") {
				t.Errorf("the page runs %s of %s", a.Key, n.Data)
			}
			if !slices.Contains(loads, a.Key) {
				continue
			}
			u, err := url.Parse(a.Val)
			switch {
			case err != nil || u.Scheme != "" || u.Host != "" || strings.HasPrefix(u.Path, "/"):
				t.Errorf("%s of %s leads away: %q", a.Key, n.Data, a.Val)
			case u.Path == "" && !ids[u.Fragment]:
				t.Errorf("%s of %s leads to a place that the page lacks: %q", a.Key, n.Data, a.Val)
			}
		}
	}
	// What a style sheet can load, what names another place, and what the template
	// engine writes in the place of what it refuses.
	for _, no := range []string{"http:", "https:", "@import", "url(", "ZgotmplZ"} {
		if bytes.Contains(page, []byte(no)) {
			t.Errorf("the page contains %q", no)
		}
	}
}

func TestNumbersAreWrittenForPeople(t *testing.T) {
	t.Parallel()
	for want, got := range map[string]string{
		"0": number(0, ""), "99.97 %": number(99.97, "%"), "100 %": number(100, "%"), "6": number(6, ""), "0.25 ms": number(0.25, "ms"), "12.3 s": number(12.345, "s"),
		"123 s": number(123.4, "s"), "4m10s": seconds(250), "2.50 s": seconds(2.5),
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestAFailureOutsideOfTheCriteriaFailsTheReport(t *testing.T) {
	t.Parallel()
	r := Record("title", "command", io.Discard)
	e := r.Begin("F1")
	e.Figure(Figure{Name: "measured", Value: 1, Command: "c"})
	e.Conclude()
	r.Explain("the world did not go down")
	if got := r.Finish().Verdict; got != Failed {
		t.Errorf("the report says %q", got)
	}
}

// limited is a latency with a limit for its median.
func limited(atMost time.Duration, l Latency) Latency {
	limit := milliseconds(atMost)
	l.P50AtMost = &limit
	return l
}
