package reports

import (
	"html/template"
	"maps"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Drawn draws a chart: a line for each curve, with a mark at each value that was
// measured.
func (c Chart) Drawn() template.HTML {
	sizes := c.Sizes()
	if len(sizes) == 0 {
		return ""
	}
	high := 0.0
	for _, l := range c.Lines {
		for _, p := range l.Points {
			high = max(high, p.Y)
		}
	}
	if high == 0 {
		high = 1
	}
	p := newPlot()
	first, last := min(0, sizes[0]), sizes[len(sizes)-1]
	p.X.Min, p.X.Max = first, last+max(.03*(last-first), .1)
	ticks := plot.ConstantTicks{}
	for _, x := range sizes {
		ticks = append(ticks, plot.Tick{Value: x, Label: number(x, "")})
	}
	p.X.Tick.Marker = ticks
	p.X.Label.Text, p.X.Label.TextStyle, p.X.Label.Padding = c.X, lettering(8.5, soft), vg.Points(4)
	p.X.Label.TextStyle.YAlign = draw.YBottom
	// The names stand above the lines, three in a row.
	rows := (len(c.Lines) + 2) / 3
	p.Y.Min, p.Y.Max = 0, high*(1.05+.11*float64(rows))
	p.Y.Tick.Marker = valueTicks(0, high*1.05, c.Unit)
	p.Add(gridX(p))
	p.Add(plotted(func(canvas draw.Canvas, x, y func(float64) vg.Length) {
		third := (canvas.Max.X - canvas.Min.X) / 3
		for i, l := range c.Lines {
			hue := hues[i%len(hues)]
			var dashes []vg.Length // of those that have to share a color
			if i >= len(hues) {
				dashes = []vg.Length{vg.Points(4), vg.Points(2)}
			}
			var line []vg.Point
			for _, point := range l.Points {
				at := vg.Point{X: x(point.X), Y: y(point.Y)}
				line = append(line, at)
				bar(canvas, hue, at.X-1.8, at.Y-1.8, at.X+1.8, at.Y+1.8)
			}
			if len(line) > 1 {
				canvas.StrokeLines(stroke(hue, 1.2, dashes...), line)
			}
			name := vg.Point{X: canvas.Min.X + 6 + third*vg.Length(i%3), Y: canvas.Max.Y - 6 - 11*vg.Length(i/3)}
			canvas.StrokeLine2(stroke(hue, 2, dashes...), name.X, name.Y, name.X+10, name.Y)
			canvas.FillText(lettering(8.5, ink), vg.Point{X: name.X + 14, Y: name.Y}, l.Name)
		}
	}))
	return svg(vg.Points(float64(180+11*rows)), c.Title(), p.Draw)
}

// valueTicks labels an axis of values of a unit, up to a limit.
func valueTicks(low, high float64, unit string) plot.TickerFunc {
	return func(from, _ float64) []plot.Tick {
		ticks := plot.DefaultTicks{}.Ticks(max(from, low), high)
		for i, t := range ticks {
			if t.Label != "" {
				ticks[i].Label = number(t.Value, unit)
			}
		}
		return ticks
	}
}

// Sizes are what was varied: the X of all points, each once, in order.
func (c Chart) Sizes() []float64 {
	seen := map[float64]bool{}
	for _, l := range c.Lines {
		for _, p := range l.Points {
			seen[p.X] = true
		}
	}
	return slices.Sorted(maps.Keys(seen))
}

// Row is what was measured of one thing, as text: a value for each of the sizes, empty
// where there is none.
func (c Chart) Row(of Curve) []string {
	var row []string
	for _, x := range c.Sizes() {
		value := ""
		for _, p := range of.Points {
			if p.X == x {
				value = number(p.Y, "")
			}
		}
		row = append(row, value)
	}
	return row
}

// told is what was measured of one thing, in words.
func (c Chart) told(of Curve) string {
	var values []string
	for i, value := range c.Row(of) {
		if value != "" {
			values = append(values, value+" ("+number(c.Sizes()[i], "")+")")
		}
	}
	return of.Name + ": " + strings.Join(values, ", ")
}

// Title is what a chart shows.
func (c Chart) Title() string {
	title := c.Name
	if c.Unit != "" {
		title += ", in " + c.Unit
	}
	return title + ", by " + c.X
}
