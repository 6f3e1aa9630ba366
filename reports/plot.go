package reports

import (
	"bytes"
	"fmt"
	"html"
	"html/template"
	"image/color"
	"math"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// plotWidth is the width of all plots, in points; the page scales them.
const plotWidth = vg.Length(680)

// paint is a color of the page, by the name of its variable there: screens may be
// dark, paper is not.
type paint struct {
	name string
	color.NRGBA
}

func painted(name string, rgb uint32) paint {
	return paint{name, color.NRGBA{R: uint8(rgb >> 16), G: uint8(rgb >> 8), B: uint8(rgb), A: 0xff}}
}

// The colors of plots. The page gives their names their values.
var (
	ink     = painted("ink", 0x1d2530)
	soft    = painted("soft", 0x5c6773)
	grid    = painted("line", 0xdde2e8)
	density = painted("density", 0xb9c9da)
	fault   = painted("fault", 0xf3e3c3)
	bad     = painted("failed", 0xb3261e)
	hues    = []paint{
		painted("hue-1", 0x2f6db5), painted("hue-2", 0xc2571a), painted("hue-3", 0x2e8b57), painted("hue-4", 0x8e4ec6),
		painted("hue-5", 0x9a7400), painted("hue-6", 0x1f8a99), painted("hue-7", 0xc24d7c), painted("hue-8", 0x6b7481),
	}
)

// lettering is the style of text of that size. The font serves to measure; the
// page draws with its own.
func lettering(size float64, of paint) text.Style {
	return text.Style{
		Color: of, Font: font.Font{Typeface: "Liberation", Variant: "Sans", Size: vg.Points(size)},
		YAlign: draw.YCenter, Handler: plot.DefaultTextHandler,
	}
}

func stroke(of paint, width float64, dashes ...vg.Length) draw.LineStyle {
	return draw.LineStyle{Color: of, Width: vg.Points(width), Dashes: dashes}
}

// newPlot is an empty plot in the style of the page.
func newPlot() *plot.Plot {
	p := plot.New()
	p.BackgroundColor = nil
	for _, a := range []*plot.Axis{&p.X, &p.Y} {
		a.LineStyle = stroke(grid, 1)
		a.Tick.LineStyle = stroke(grid, 1)
		a.Tick.Length = vg.Points(3)
		x, y := a.Tick.Label.XAlign, a.Tick.Label.YAlign
		a.Tick.Label = lettering(8, soft)
		a.Tick.Label.XAlign, a.Tick.Label.YAlign = x, y
		a.Padding = vg.Points(4)
	}
	return p
}

// plotted is a function that draws into the area of the data.
type plotted func(c draw.Canvas, x, y func(float64) vg.Length)

// Plot implements plot.Plotter.
func (f plotted) Plot(c draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&c)
	f(c, x, y)
}

// gridX draws a line at each labeled tick of the X axis.
func gridX(p *plot.Plot) plotted {
	return func(c draw.Canvas, x, _ func(float64) vg.Length) {
		for _, t := range p.X.Tick.Marker.Ticks(p.X.Min, p.X.Max) {
			if !t.IsMinor() && t.Value >= p.X.Min && t.Value <= p.X.Max {
				c.StrokeLine2(stroke(grid, .6), x(t.Value), c.Min.Y, x(t.Value), c.Max.Y)
			}
		}
	}
}

// bar fills a rectangle, which is seen however narrow it is.
func bar(c draw.Canvas, of paint, x0, y0, x1, y1 vg.Length) {
	x1 = max(x1, x0+vg.Points(.8))
	c.FillPolygon(of, []vg.Point{{X: x0, Y: y0}, {X: x1, Y: y0}, {X: x1, Y: y1}, {X: x0, Y: y1}})
}

// svg draws and returns the drawing as an element of the page, described for those
// who do not see it.
func svg(height vg.Length, label string, drawing func(draw.Canvas)) template.HTML {
	canvas := vgsvg.New(plotWidth, height)
	drawing(draw.New(canvas))
	var b bytes.Buffer
	if _, err := canvas.WriteTo(&b); err != nil {
		panic(err) // a buffer takes all
	}
	// Within a page, the drawing needs neither its own head nor its own fonts.
	_, body, _ := strings.Cut(b.String(), "<svg")
	_, body, _ = strings.Cut(body, ">")
	names := []string{"font-family:Liberation Sans;", "", "font-variant:normal;", "", "font-weight:normal;", "", "font-style:normal;", ""}
	for _, p := range append([]paint{ink, soft, grid, density, fault, bad}, hues...) {
		names = append(names, fmt.Sprintf("#%02X%02X%02X", p.R, p.G, p.B), "var(--"+p.name+")")
	}
	body = strings.NewReplacer(names...).Replace(body)
	return template.HTML(fmt.Sprintf(`<svg viewBox="0 0 %g %g" role="img" aria-label="%s">%s`,
		plotWidth.Points(), height.Points(), html.EscapeString(label), body))
}

// msTicks labels a logarithmic axis of milliseconds, a power of ten at a time.
func msTicks(low, high float64) []plot.Tick {
	var ticks []plot.Tick
	for e := math.Floor(math.Log10(low)); math.Pow(10, e) <= high; e++ {
		value := math.Pow(10, e)
		ticks = append(ticks, plot.Tick{Value: value, Label: duration(value)})
		for _, minor := range []float64{2, 5} {
			ticks = append(ticks, plot.Tick{Value: minor * value})
		}
	}
	return ticks
}

// duration writes milliseconds for people, with a unit that fits.
func duration(ms float64) string {
	switch {
	case ms < 1000:
		return number(ms, "ms")
	case ms < 100_000:
		return number(ms/1000, "s")
	default:
		return seconds(ms / 1000)
	}
}

// spanTicks labels an axis of seconds with at most ten round spans.
func spanTicks(low, high float64) []plot.Tick {
	steps := []struct {
		seconds, unit float64
		name          string
	}{
		{.01, 1, "s"}, {.02, 1, "s"}, {.05, 1, "s"}, {.1, 1, "s"}, {.2, 1, "s"}, {.5, 1, "s"},
		{1, 1, "s"}, {2, 1, "s"}, {5, 1, "s"}, {10, 1, "s"}, {30, 1, "s"},
		{60, 60, "min"}, {120, 60, "min"}, {300, 60, "min"}, {600, 60, "min"}, {1800, 60, "min"},
		{3600, 3600, "h"}, {7200, 3600, "h"}, {4 * 3600, 3600, "h"}, {12 * 3600, 3600, "h"}, {24 * 3600, 3600, "h"},
	}
	step := steps[len(steps)-1]
	for _, s := range steps {
		if (high-low)/s.seconds <= 10 {
			step = s
			break
		}
	}
	var ticks []plot.Tick
	for i := math.Ceil(low / step.seconds); i*step.seconds <= high*1.0001; i++ {
		ticks = append(ticks, plot.Tick{Value: i * step.seconds, Label: number(i*step.seconds/step.unit, step.name)})
	}
	return ticks
}
