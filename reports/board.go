package reports

import (
	"bytes"
	"cmp"
	"fmt"
	"image/color"
	"math"
	"slices"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// Board is a dashboard of a monitoring system, as a picture.
type Board struct {
	Title, Subtitle string
	// Seconds is how long the time is that it shows.
	Seconds float64
	Panels  []BoardPanel
}

// BoardPanel is a panel of a board, with its series over time.
type BoardPanel struct {
	Title string
	// Unit is Grafana's name of it: s, bytes, percentunit, ops, or short for a count.
	Unit string
	// X, Y, Width and Height are its place in a grid of 24 columns.
	X, Y, Width, Height int
	// Stat says that it shows the last values only, and Stacked that the series are put
	// upon each other.
	Stat, Stacked bool
	// Series, in whose points NaN is a gap. Their units are the panel's.
	Series []Series
}

// The measures of a board, in points.
const (
	boardColumn vg.Length = 50
	boardRow    vg.Length = 27
	boardHead   vg.Length = 52
	boardGap    vg.Length = 5
	legendLine  vg.Length = 13
	legendLines           = 3
)

var paper = color.NRGBA{R: 0xff, G: 0xff, B: 0xff, A: 0xff}

// SVG draws the board, as a file of its own.
func (b Board) SVG() ([]byte, error) {
	rows := 0
	for _, p := range b.Panels {
		rows = max(rows, p.Y+p.Height)
	}
	canvas := vgsvg.New(24*boardColumn, boardHead+vg.Length(rows)*boardRow+boardGap)
	c := draw.New(canvas)
	c.FillPolygon(paper, corners(c.Rectangle))
	inscribe(c, 18, ink, c.Min.X+2*boardGap, c.Max.Y-19, b.Title)
	inscribe(c, 10, soft, c.Min.X+2*boardGap, c.Max.Y-39, b.Subtitle)
	for _, p := range b.Panels {
		top := c.Max.Y - boardHead - vg.Length(p.Y)*boardRow
		left := c.Min.X + vg.Length(p.X)*boardColumn
		p.draw(draw.Canvas{Canvas: c.Canvas, Rectangle: vg.Rectangle{
			Min: vg.Point{X: left + boardGap, Y: top - vg.Length(p.Height)*boardRow + boardGap},
			Max: vg.Point{X: left + vg.Length(p.Width)*boardColumn - boardGap, Y: top - boardGap},
		}}, b.Seconds)
	}
	var out bytes.Buffer
	if _, err := canvas.WriteTo(&out); err != nil {
		return nil, fmt.Errorf("drawing %s: %w", b.Title, err)
	}
	return bytes.ReplaceAll(out.Bytes(), []byte("font-family:Liberation Sans"), []byte("font-family:Liberation Sans,Arial,Helvetica,sans-serif")), nil
}

func corners(r vg.Rectangle) []vg.Point {
	return []vg.Point{r.Min, {X: r.Max.X, Y: r.Min.Y}, r.Max, {X: r.Min.X, Y: r.Max.Y}}
}

// inscribe writes a line of text whose middle is at y.
func inscribe(c draw.Canvas, size float64, of paint, x, y vg.Length, text string) {
	c.FillText(lettering(size, of), vg.Point{X: x, Y: y}, text)
}

// scale is how the values of a panel are written: divided by a factor, in a unit.
type scale struct {
	factor float64
	unit   string
}

// scaled finds the unit in which the largest value is well read.
func scaled(unit string, most float64) scale {
	choose := func(steps ...scale) scale {
		for _, s := range slices.Backward(steps) {
			if most >= s.factor {
				return s
			}
		}
		return steps[0]
	}
	switch unit {
	case "s":
		if most == 0 {
			return scale{1, "s"}
		}
		return choose(scale{1e-3, "ms"}, scale{1, "s"}, scale{600, "min"}, scale{4 * 3600, "h"}, scale{4 * 86400, "days"}).plain()
	case "bytes":
		return choose(scale{1, "B"}, scale{1 << 10, "KiB"}, scale{1 << 20, "MiB"}, scale{1 << 30, "GiB"}, scale{1 << 40, "TiB"})
	case "percentunit":
		return scale{.01, "%"}
	case "ops":
		return scale{1, "a second"}
	}
	return scale{1, ""}
}

// plain is the scale of a unit of time, which is chosen for more than one of it.
func (s scale) plain() scale {
	switch s.unit {
	case "min":
		s.factor = 60
	case "h":
		s.factor = 3600
	case "days":
		s.factor = 86400
	}
	return s
}

func (s scale) text(value float64) string { return number(value/s.factor, s.unit) }

// largest is the largest value, and whether there is any; of series that are stacked it is
// that of the sum.
func (p BoardPanel) largest() (most float64, any bool) {
	sums := map[float64]float64{}
	for _, s := range p.Series {
		for _, at := range s.Points {
			if math.IsNaN(at.Value) || math.IsInf(at.Value, 0) {
				continue
			}
			any = true
			sums[at.At] += at.Value
			if !p.Stacked {
				most = max(most, at.Value)
			} else {
				most = max(most, sums[at.At])
			}
		}
	}
	return most, any
}

// whole tells whether all values are whole numbers.
func (p BoardPanel) whole() bool {
	for _, s := range p.Series {
		for _, at := range s.Points {
			if !math.IsNaN(at.Value) && at.Value != math.Trunc(at.Value) {
				return false
			}
		}
	}
	return true
}

// last is the last value of a series, NaN where it has ended before the end of the panel.
func (s Series) last() float64 {
	if n := len(s.Points); n > 0 {
		return s.Points[n-1].Value
	}
	return math.NaN()
}

func (s Series) largest() float64 {
	most := math.Inf(-1)
	for _, p := range s.Points {
		if !math.IsNaN(p.Value) {
			most = max(most, p.Value)
		}
	}
	return most
}

func (p BoardPanel) draw(c draw.Canvas, seconds float64) {
	c.StrokeLines(stroke(grid, 1), append(corners(c.Rectangle), c.Min))
	most, any := p.largest()
	units := scaled(p.Unit, most)
	title := p.Title
	inscribe(c, 10.5, ink, c.Min.X+8, c.Max.Y-12, title)
	if !p.Stat && units.unit != "" {
		inscribe(c, 8.5, soft, c.Min.X+14+lettering(10.5, ink).Width(title), c.Max.Y-12, units.unit)
	}
	inner := draw.Crop(c, 8, -10, 6, -24)
	switch {
	case !any:
		inscribe(inner, 9, soft, inner.Min.X, (inner.Min.Y+inner.Max.Y)/2, "nothing in this time")
	case p.Stat:
		p.drawStat(inner)
	default:
		p.drawPlot(inner, seconds, units, most)
	}
}

// drawStat writes the last values, a line each.
func (p BoardPanel) drawStat(c draw.Canvas) {
	series := slices.Clone(p.Series)
	size := 22.0
	if len(series) > 1 {
		size = min(14, float64(c.Size().Y)/float64(len(series))*.8)
	}
	line := (c.Max.Y - c.Min.Y) / vg.Length(len(series))
	for i, s := range series {
		y := c.Max.Y - line*(vg.Length(i)+.5)
		value := s.last()
		text := "–"
		if !math.IsNaN(value) {
			text = scaled(p.Unit, value).text(value)
		}
		inscribe(c, size, hues[0], c.Min.X, y, text)
		inscribe(c, 8.5, soft, c.Min.X+max(70, lettering(size, ink).Width(text)+8), y, s.Name)
	}
}

func (p BoardPanel) drawPlot(c draw.Canvas, seconds float64, units scale, most float64) {
	series := slices.Clone(p.Series)
	if !p.Stacked {
		slices.SortStableFunc(series, func(a, b Series) int { return cmp.Compare(b.largest(), a.largest()) })
	}
	of := func(i int) draw.LineStyle {
		if i < len(hues) {
			return stroke(hues[i], 1.3)
		}
		return stroke(hues[i%len(hues)], 1.3, 3, 2)
	}
	below := p.legend(c, series, of)
	diagram := newPlot()
	diagram.X.Min, diagram.X.Max = 0, seconds
	diagram.X.Tick.Marker = plot.TickerFunc(spanTicks)
	diagram.Y.Min, diagram.Y.Max = 0, most/units.factor*1.06
	if most <= 0 {
		diagram.Y.Max = 1
	}
	diagram.Y.Tick.Marker = plot.TickerFunc(func(low, high float64) []plot.Tick { return roundTicks(low, high, p.Unit == "short" && p.whole()) })
	diagram.Add(gridX(diagram), gridY(diagram), plotted(func(c draw.Canvas, x, y func(float64) vg.Length) {
		base := map[float64]float64{}
		for i, s := range series {
			for _, part := range s.unbroken() {
				var line, under []vg.Point
				for _, at := range part {
					bottom := base[at.At]
					top := at.Value / units.factor
					if p.Stacked {
						top += bottom
						base[at.At] = top
					}
					line = append(line, vg.Point{X: x(at.At), Y: y(top)})
					under = append(under, vg.Point{X: x(at.At), Y: y(bottom)})
				}
				if p.Stacked {
					slices.Reverse(under)
					light := hues[i%len(hues)].NRGBA
					light.A = 0x50
					c.FillPolygon(light, append(slices.Clone(line), under...))
				}
				if len(line) == 1 {
					c.FillPolygon(of(i).Color, corners(vg.Rectangle{Min: vg.Point{X: line[0].X - 1.2, Y: line[0].Y - 1.2}, Max: vg.Point{X: line[0].X + 1.2, Y: line[0].Y + 1.2}}))
				}
				c.StrokeLines(of(i), line)
			}
		}
	}))
	diagram.Draw(draw.Crop(c, 0, 0, below, 0))
}

// unbroken are the parts of a series between its gaps.
func (s Series) unbroken() (parts [][]Point) {
	var part []Point
	for _, p := range s.Points {
		if !math.IsNaN(p.Value) && !math.IsInf(p.Value, 0) {
			part = append(part, p)
		} else if len(part) > 0 {
			parts, part = append(parts, part), nil
		}
	}
	if len(part) > 0 {
		parts = append(parts, part)
	}
	return parts
}

// legend names the series below the plot, and returns how much room that takes.
func (p BoardPanel) legend(c draw.Canvas, series []Series, of func(int) draw.LineStyle) vg.Length {
	style := lettering(8, ink)
	type entry struct {
		name string
		x    vg.Length
		line int
		// rest says that it stands for all that is left.
		rest bool
	}
	var entries []entry
	x, line := vg.Length(0), 0
	for i, s := range series {
		name := strings.TrimSpace(s.Name)
		width := 14 + style.Width(name) + 12
		rest := style.Width(fmt.Sprintf("and %d more", len(series)-i)) + 4
		end := c.Size().X
		if line == legendLines-1 && i < len(series)-1 {
			end -= rest
		}
		if x > 0 && x+width > end {
			if line == legendLines-1 {
				entries = append(entries, entry{fmt.Sprintf("and %d more", len(series)-i), x, line, true})
				break
			}
			x, line = 0, line+1
		}
		entries = append(entries, entry{name, x, line, false})
		x += width
	}
	height := legendLine * vg.Length(line+1)
	for i, e := range entries {
		y := c.Min.Y + height - legendLine*(vg.Length(e.line)+.5)
		if e.rest {
			inscribe(c, 8, soft, c.Min.X+e.x, y, e.name)
			continue
		}
		mark := of(i)
		mark.Width = 2.4
		c.StrokeLine2(mark, c.Min.X+e.x, y, c.Min.X+e.x+10, y)
		inscribe(c, 8, ink, c.Min.X+e.x+14, y, e.name)
	}
	return height + 2
}

// gridY draws a line at each labeled tick of the Y axis.
func gridY(p *plot.Plot) plotted {
	return func(c draw.Canvas, _, y func(float64) vg.Length) {
		for _, t := range p.Y.Tick.Marker.Ticks(p.Y.Min, p.Y.Max) {
			if !t.IsMinor() && t.Value >= p.Y.Min && t.Value <= p.Y.Max {
				c.StrokeLine2(stroke(grid, .6), c.Min.X, y(t.Value), c.Max.X, y(t.Value))
			}
		}
	}
}

// roundTicks labels an axis with at most five round values; of a count there is no half.
func roundTicks(low, high float64, count bool) (ticks []plot.Tick) {
	step := math.Pow(10, math.Floor(math.Log10((high-low)/5)))
	for _, times := range []float64{1, 2, 5, 10} {
		if (high-low)/(step*times) <= 5 {
			step *= times
			break
		}
	}
	if count {
		step = max(step, 1)
	}
	for i := math.Ceil(low / step); i*step <= high; i++ {
		ticks = append(ticks, plot.Tick{Value: i * step, Label: strconv.FormatFloat(i*step, 'f', max(0, -int(math.Floor(math.Log10(step)))), 64)})
	}
	return ticks
}
