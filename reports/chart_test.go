package reports

import (
	"bytes"
	"io"
	"strings"
	"testing"
)

func aChart() Chart {
	c := Chart{Name: "Memory at rest", X: "Machines", Unit: "MiB"}
	for _, n := range []float64{10, 100, 1000} {
		c.Add("manager", n, 50+n/10)
		c.Add("daemon-1", n, 20)
	}
	c.Add("late", 1000, 7)
	return c
}

func TestAChartIsDrawnAndItsValuesAreTold(t *testing.T) {
	t.Parallel()
	r := Record("A run", "make bench", io.Discard)
	r.Chart(aChart())
	r.Latency(Measure("a further latency", nil))
	report := r.Finish()
	page, err := HTML(report)
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if err := WriteText(&text, report); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`aria-label="Memory at rest, in MiB, by Machines"`, "<td>daemon-1</td>", `<td class="n">150</td>`, "a further latency"} {
		if !strings.Contains(string(page), want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	for _, want := range []string{"Memory at rest, in MiB, by Machines", "manager: 51 (10), 60 (100), 150 (1000)", "late: 7 (1000)"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the text lacks %q:\n%s", want, text.String())
		}
	}
}

func TestAChartOfNothingIsNotDrawn(t *testing.T) {
	t.Parallel()
	if drawn := (Chart{Name: "nothing"}).Drawn(); drawn != "" {
		t.Errorf("it is drawn as %s", drawn)
	}
}

func TestASignOffShowsTheChartsOfItsRuns(t *testing.T) {
	t.Parallel()
	r := Record("A run", "make bench", io.Discard)
	r.Chart(aChart())
	signOff, err := Merge("Sign-off", "make signoff", []Source{{Name: "bench", Report: r.Finish()}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	page, err := HTML(signOff)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(page), "Memory at rest, in MiB, by Machines") {
		t.Error("the page does not")
	}
}
