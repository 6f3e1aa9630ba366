package reports

import (
	"html/template"
	"math"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// How much of a time line is drawn. What exceeds it is in the JSON all the same.
const (
	maxLanes       = 16
	maxPoints      = 700
	violationsLane = "violations"
)

// Drawn draws a time line: a lane for each thing that was made to go wrong and one
// for what did not hold, and below them the series, those of one unit together, in
// which the same spans and moments are marked.
func (l TimeLine) Drawn() template.HTML {
	end := 1.0
	for _, s := range l.Series {
		if n := len(s.Points); n > 0 {
			end = max(end, s.Points[n-1].At)
		}
	}
	for _, m := range l.Marks {
		end = max(end, m.End)
	}
	for _, e := range l.Events {
		end = max(end, e.At)
	}
	var units []string
	for _, s := range l.Series {
		if !slices.Contains(units, s.Unit) && len(s.Points) > 0 {
			units = append(units, s.Unit)
		}
	}
	type panel struct {
		*plot.Plot
		height vg.Length
	}
	var panels []panel
	add := func(height vg.Length) *plot.Plot {
		p := newPlot()
		p.X.Min, p.X.Max = 0, end
		p.X.Tick.Marker = plot.TickerFunc(spanTicks)
		p.Add(gridX(p))
		panels = append(panels, panel{p, height})
		return p
	}
	if names := l.lanes(); len(names) > 0 {
		l.drawLanes(add(vg.Length(14*len(names)+20)), names)
	}
	for _, unit := range units {
		l.drawUnit(add(118), unit)
	}
	if len(panels) == 0 {
		return ""
	}
	// All panels begin at the same distance from the left.
	var widest vg.Length
	width := func(p *plot.Plot) (w vg.Length) {
		for _, t := range p.Y.Tick.Marker.Ticks(p.Y.Min, p.Y.Max) {
			w = max(w, p.Y.Tick.Label.Width(t.Label))
		}
		return w
	}
	var height vg.Length
	for _, p := range panels {
		widest, height = max(widest, width(p.Plot)), height+p.height
	}
	return svg(height, "The time line "+l.Name, func(c draw.Canvas) {
		top := c.Max.Y
		for _, p := range panels {
			p.Draw(draw.Canvas{Canvas: c.Canvas, Rectangle: vg.Rectangle{
				Min: vg.Point{X: c.Min.X + widest - width(p.Plot), Y: top - p.height + 3}, Max: vg.Point{X: c.Max.X, Y: top - 3},
			}})
			top -= p.height
		}
	})
}

// lanes are the names of what was marked, in the order in which it began; what is
// more than there is room for shares the last one.
func (l TimeLine) lanes() []string {
	var names []string
	if slices.ContainsFunc(l.Events, func(e Event) bool { return e.Bad }) {
		names = append(names, violationsLane)
	}
	for _, m := range l.Marks {
		if !slices.Contains(names, m.Name) {
			names = append(names, m.Name)
		}
	}
	if len(names) > maxLanes {
		names = append(names[:maxLanes-1:maxLanes-1], "and others")
	}
	return names
}

func (l TimeLine) drawLanes(p *plot.Plot, names []string) {
	p.Y.Min, p.Y.Max = 0, float64(len(names))
	var ticks plot.ConstantTicks
	for i, name := range names {
		const most = 38
		if r := []rune(name); len(r) > most {
			name = string(r[:most-1]) + "…"
		}
		ticks = append(ticks, plot.Tick{Value: float64(len(names)-i) - .5, Label: name})
	}
	p.Y.Tick.Marker = ticks
	lane := func(name string) float64 {
		i := slices.Index(names, name)
		if i < 0 {
			i = len(names) - 1
		}
		return float64(len(names) - 1 - i)
	}
	p.Add(plotted(func(c draw.Canvas, x, y func(float64) vg.Length) {
		for _, m := range l.Marks {
			base := lane(m.Name)
			bar(c, hues[4], x(m.Begin), y(base+.2), max(x(m.End), x(m.Begin)+2), y(base+.8))
		}
		for _, e := range l.Events {
			if e.Bad {
				base := lane(violationsLane)
				bar(c, bad, x(e.At)-1, y(base+.08), x(e.At)+1, y(base+.92))
			}
		}
	}))
}

func (l TimeLine) drawUnit(p *plot.Plot, unit string) {
	var series []Series
	low, high := 0.0, 0.0
	for _, s := range l.Series {
		if s.Unit != unit || len(s.Points) == 0 {
			continue
		}
		series = append(series, s)
		for _, point := range s.Points {
			low, high = min(low, point.Value), max(high, point.Value)
		}
	}
	if high == low {
		high = low + 1
	}
	p.Y.Min, p.Y.Max = low, low+(high-low)*1.3 // the names stand above the lines
	p.Y.Tick.Marker = valueTicks(low, low+(high-low)*1.05, unit)
	p.Add(plotted(func(c draw.Canvas, x, y func(float64) vg.Length) {
		for _, m := range l.Marks {
			bar(c, fault, x(m.Begin), c.Min.Y, x(m.End), c.Max.Y)
		}
		for _, e := range l.Events {
			if e.Bad {
				c.StrokeLine2(stroke(bad, 1), x(e.At), c.Min.Y, x(e.At), c.Max.Y)
			}
		}
		name := vg.Point{X: c.Min.X + 6, Y: c.Max.Y - 6}
		for i, s := range series {
			hue := hues[i%len(hues)]
			var line []vg.Point
			for _, point := range thinned(s.Points) {
				line = append(line, vg.Point{X: x(point.At), Y: y(point.Value)})
			}
			if len(line) == 1 {
				line = append(line, vg.Point{X: line[0].X + 1, Y: line[0].Y})
			}
			c.StrokeLines(stroke(hue, 1.2), line)
			style := lettering(8.5, ink)
			if width := style.Width(s.Name) + 28; name.X+width > c.Max.X && name.X > c.Min.X+6 {
				name = vg.Point{X: c.Min.X + 6, Y: name.Y - 11}
			}
			c.StrokeLine2(stroke(hue, 2), name.X, name.Y, name.X+10, name.Y)
			c.FillText(style, vg.Point{X: name.X + 14, Y: name.Y}, s.Name)
			name.X += style.Width(s.Name) + 28
		}
	}))
}

// thinned are points of which no two fall together in the drawing: of each stretch
// of time the least and the greatest.
func thinned(points []Point) []Point {
	if len(points) <= maxPoints {
		return points
	}
	begin, end := points[0].At, points[len(points)-1].At
	stretch := (end - begin) / (maxPoints / 2)
	var kept []Point
	for i := 0; i < len(points); {
		limit := begin + (math.Floor((points[i].At-begin)/stretch)+1)*stretch
		least, greatest := points[i], points[i]
		for i++; i < len(points) && (points[i].At < limit || stretch == 0); i++ {
			if points[i].Value < least.Value {
				least = points[i]
			}
			if points[i].Value > greatest.Value {
				greatest = points[i]
			}
		}
		if least.At > greatest.At {
			least, greatest = greatest, least
		}
		kept = append(kept, least)
		if greatest != least {
			kept = append(kept, greatest)
		}
	}
	return kept
}
