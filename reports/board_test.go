package reports

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// aBoard has a panel of each sort.
func aBoard() Board {
	line := func(name string, values ...float64) Series {
		s := Series{Name: name}
		for i, v := range values {
			s.Points = append(s.Points, Point{At: float64(i * 60), Value: v})
		}
		return s
	}
	gap := math.NaN()
	many := BoardPanel{Title: "Many", Unit: "ops", X: 12, Y: 4, Width: 12, Height: 8}
	for _, name := range []string{"POST matcher/register", "POST storage/createcloudinit", "GET matcher/running"} {
		for n := range 8 {
			many.Series = append(many.Series, line(fmt.Sprintf("%s-%d", name, n), 1, float64(len(name)-n), 3, 2))
		}
	}
	return Board{Title: "Elemento: a board", Subtitle: "Of each sort one.", Seconds: 180, Panels: []BoardPanel{
		{Title: "One", Unit: "short", Width: 6, Height: 4, Stat: true, Series: []Series{line("machines", 1, 2, 3)}},
		{Title: "Several", Unit: "s", X: 6, Width: 6, Height: 4, Stat: true, Series: []Series{line("provisioning", 1, 2, 90), line("deleting", 1, 2, 0), line("gone", 1, gap)}},
		{Title: "None", Unit: "short", X: 12, Width: 12, Height: 4},
		{Title: "Stacked", Unit: "bytes", Y: 4, Width: 12, Height: 8, Stacked: true, Series: []Series{line("a", 3e9, 3e9, 2e9, 1e9), line("b", 1e9, gap, 1e9, 2e9)}},
		many,
	}}
}

func TestABoardShowsItsPanels(t *testing.T) {
	t.Parallel()
	b := aBoard()
	picture, err := b.SVG()
	if err != nil {
		t.Fatal(err)
	}
	if dir := os.Getenv("BOARD_DIR"); dir != "" {
		_ = os.WriteFile(filepath.Join(dir, "board.svg"), picture, 0o600)
	}
	for _, want := range []string{b.Title, b.Subtitle, "machines", "nothing in this time", "GiB", "a second", "90 s", "POST matcher/register-0", " more"} {
		if !strings.Contains(string(picture), want) {
			t.Errorf("nowhere does it say %q", want)
		}
	}
}

func TestValuesOfABoardAreWrittenInAUnitThatFits(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		unit  string
		value float64
		want  string
	}{
		{"s", .004, "4 ms"}, {"s", 12, "12 s"}, {"s", 900, "15 min"}, {"s", 7776000, "90 days"},
		{"bytes", 3 << 30, "3 GiB"}, {"bytes", 12, "12 B"}, {"percentunit", .25, "25 %"}, {"ops", 2, "2 a second"}, {"short", 3, "3"}, {"s", 0, "0 s"},
	} {
		if got := scaled(c.unit, c.value).text(c.value); got != c.want {
			t.Errorf("%g of %s is %q, want %q", c.value, c.unit, got, c.want)
		}
	}
}
