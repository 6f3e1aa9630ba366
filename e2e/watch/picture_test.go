package watch

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/common/model"
)

func TestALegendIsMadeOfLabels(t *testing.T) {
	t.Parallel()
	target := Target{LegendFormat: "{{ host }}: {{code}}"}
	if got := target.legend(model.Metric{"host": "h", "code": "OK"}); got != "h: OK" {
		t.Errorf("it is %q", got)
	}
}

func TestQueriesThatGiveNoNumberAreUnanswered(t *testing.T) {
	t.Parallel()
	d := Dashboard{Name: "d", Panels: []Panel{{ID: 1, Title: "P", Targets: []Target{{RefID: "A", Expr: "a"}, {RefID: "B", Expr: "b"}, {RefID: "C", Expr: "c"}}}}}
	of := func(v model.SampleValue) model.Matrix {
		return model.Matrix{{Values: []model.SamplePair{{Value: v}}}}
	}
	answers := Answers{1: {"A": of(0), "B": of(model.SampleValue(math.NaN()))}}
	if got := answers.Unanswered(d); len(got) != 2 || got[0] != `d: "P" asks for b` || got[1] != `d: "P" asks for c` {
		t.Errorf("unanswered are %q", got)
	}
}

func TestADashboardIsDrawnWithItsGaps(t *testing.T) {
	t.Parallel()
	from := time.Unix(1000, 0)
	over := Span{From: from, To: from.Add(20 * time.Second), Step: 10 * time.Second}
	d := must(Dashboards(shipped + "/dashboards"))[0]
	panel := d.Panels[0]
	answers := Answers{panel.ID: {panel.Targets[0].RefID: {{Values: []model.SamplePair{{Timestamp: 1000_000, Value: 2}, {Timestamp: 1020_000, Value: 3}}}}}}
	b := board(d, answers, over)
	if len(b.Panels) != len(d.Panels) || b.Seconds != 20 || b.Title != d.Title {
		t.Fatalf("it is %q of %g s with %d panels", b.Title, b.Seconds, len(b.Panels))
	}
	points := b.Panels[0].Series[0].Points
	if len(points) != 3 || points[0].Value != 2 || !math.IsNaN(points[1].Value) || points[2].Value != 3 || points[2].At != 20 {
		t.Errorf("the points are %v", points)
	}
	if !b.Panels[0].Stat || b.Panels[0].Width == 0 {
		t.Errorf("the first panel is %+v", b.Panels[0])
	}
}

func TestPicturesAreOfTheDashboardsAsTheyAre(t *testing.T) {
	t.Parallel()
	for _, d := range must(Dashboards(shipped + "/dashboards")) {
		picture := must(os.ReadFile(filepath.Join("../../docs/dashboards", d.Name+".svg")))
		if !bytes.HasSuffix(picture, []byte("</svg>\n"+d.mark())) {
			t.Errorf("the dashboard %s has changed since docs/dashboards/%s.svg was drawn: make dashboards", d.Name, d.Name)
		}
	}
}

func TestAnotherQueryTitleOrPlaceIsAnotherPicture(t *testing.T) {
	t.Parallel()
	marks := map[string]bool{}
	for _, change := range []func(*Dashboard){
		func(*Dashboard) {},
		func(d *Dashboard) { d.Title += "s" },
		func(d *Dashboard) { d.Panels[0].Title += "s" },
		func(d *Dashboard) { d.Panels[0].GridPos.X++ },
		func(d *Dashboard) { d.Panels[0].Targets[0].Expr += " > 0" },
		func(d *Dashboard) { d.Panels[0].Targets[0].LegendFormat += "{{host}}" },
		func(d *Dashboard) { d.Panels[0].FieldConfig.Defaults.Custom.Stacking.Mode = "percent" },
	} {
		d := must(Dashboards(shipped + "/dashboards"))[0]
		change(&d)
		if marks[d.mark()] {
			t.Errorf("%s is the mark of another one", d.mark())
		}
		marks[d.mark()] = true
	}
}
