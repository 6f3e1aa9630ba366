package reports

import (
	"html/template"
	"math"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Drawn draws a chart: a line for each curve, with a mark at each value that was
// measured. X is logarithmic where it spans more than a power of ten.
func (c Chart) Drawn() template.HTML {
	sizes := c.sizes()
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
	first, last := sizes[0], sizes[len(sizes)-1]
	if first > 0 && last > 10*first {
		p.X.Scale = plot.LogScale{}
		p.X.Min, p.X.Max = first/1.15, last*1.15
	} else {
		margin := max(.03*(last-first), .03*math.Abs(last), .5)
		p.X.Min, p.X.Max = first-margin, last+margin
	}
	ticks := plot.ConstantTicks{}
	for _, x := range sizes {
		ticks = append(ticks, plot.Tick{Value: x, Label: number(x, "")})
	}
	p.X.Tick.Marker = ticks
	p.X.Label.Text, p.X.Label.TextStyle = c.X, lettering(8.5, soft)
	// The names stand above the lines, three in a row.
	rows := (len(c.Lines) + 2) / 3
	p.Y.Min, p.Y.Max = 0, high*(1.05+.11*float64(rows))
	p.Y.Tick.Marker = valueTicks(0, high*1.05, c.Unit)
	p.Add(gridX(p))
	p.Add(plotted(func(canvas draw.Canvas, x, y func(float64) vg.Length) {
		third := (canvas.Max.X - canvas.Min.X) / 3
		for i, l := range c.Lines {
			hue := hues[i%len(hues)]
			var line []vg.Point
			for _, point := range l.Points {
				at := vg.Point{X: x(point.X), Y: y(point.Y)}
				line = append(line, at)
				bar(canvas, hue, at.X-1.8, at.Y-1.8, at.X+1.8, at.Y+1.8)
			}
			if len(line) > 1 {
				canvas.StrokeLines(stroke(hue, 1.2), line)
			}
			name := vg.Point{X: canvas.Min.X + 6 + third*vg.Length(i%3), Y: canvas.Max.Y - 6 - 11*vg.Length(i/3)}
			canvas.StrokeLine2(stroke(hue, 2), name.X, name.Y, name.X+10, name.Y)
			canvas.FillText(lettering(8.5, ink), vg.Point{X: name.X + 14, Y: name.Y}, l.Name)
		}
	}))
	return svg(vg.Points(float64(170+11*rows)), c.Name+", by "+c.X, p.Draw)
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

// Rows are the values of a chart as a table, one row for each X.
func (c Chart) Rows() []ChartRow {
	var rows []ChartRow
	for _, x := range c.sizes() {
		row := ChartRow{X: x}
		for _, l := range c.Lines {
			cell := ""
			for _, p := range l.Points {
				if p.X == x {
					cell = number(p.Y, "")
				}
			}
			row.Values = append(row.Values, cell)
		}
		rows = append(rows, row)
	}
	return rows
}

// told is a row in words.
func (c Chart) told(row ChartRow) string {
	var of []string
	for i, value := range row.Values {
		if value != "" {
			of = append(of, c.Lines[i].Name+" "+value)
		}
	}
	text := number(row.X, "") + ": " + strings.Join(of, ", ")
	if c.Unit != "" {
		text += " (" + c.Unit + ")"
	}
	return text
}

// ChartRow is what was measured at one X: a value for each line, as text, empty where
// there is none.
type ChartRow struct {
	X      float64
	Values []string
}
