package reports

import (
	"fmt"
	"html/template"
	"math"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// bins is into how many of the same width on the logarithmic axis the samples of
// a latency are dealt.
const bins = 110

// distributions draws how the samples of latencies are distributed: a row for each
// on one logarithmic axis, with the density, the percentiles and the limit of the
// median. It is empty where nothing was measured.
func distributions(latencies []Latency) template.HTML {
	var rows []Latency
	low, high := math.Inf(1), 0.0
	for _, l := range latencies {
		if l.Count == 0 {
			continue
		}
		rows = append(rows, l)
		low, high = min(low, l.Min), max(high, l.Max)
		if l.P50AtMost != nil {
			low, high = min(low, *l.P50AtMost), max(high, *l.P50AtMost)
		}
	}
	if len(rows) == 0 {
		return ""
	}
	p := newPlot()
	p.X.Scale = plot.LogScale{}
	p.X.Tick.Marker = plot.TickerFunc(msTicks)
	low = max(low, .1) // a logarithm has no zero
	p.X.Min, p.X.Max = low/1.3, max(high, 2*low)*1.3
	p.Y.Min, p.Y.Max = 0, float64(len(rows))
	p.HideY()
	p.Add(gridX(p))
	for i, l := range rows {
		base := float64(len(rows) - 1 - i)
		p.Add(plotted(func(c draw.Canvas, x, y func(float64) vg.Length) {
			at := func(ms float64) vg.Length { return x(max(ms, low)) }
			ground, top := y(base+.2), y(base+.66)
			counts, most := deal(l, p.X.Min, p.X.Max)
			width := (c.Max.X - c.Min.X) / bins
			for b, n := range counts {
				if n > 0 {
					left := c.Min.X + vg.Length(b)*width
					bar(c, density, left, ground, left+width, ground+(top-ground)*vg.Length(float64(n)/float64(most)))
				}
			}
			c.StrokeLine2(stroke(grid, .8), c.Min.X, ground, c.Max.X, ground)
			c.StrokeLine2(stroke(ink, 2.4), at(l.P50), ground, at(l.P90), ground)
			c.StrokeLine2(stroke(ink, .8), at(l.P90), ground, at(l.P99), ground)
			c.StrokeLine2(stroke(ink, 2), at(l.P50), y(base+.08), at(l.P50), top)
			c.StrokeLine2(stroke(ink, .8), at(l.P99), y(base+.12), at(l.P99), y(base+.3))
			if l.P50AtMost != nil {
				c.StrokeLine2(stroke(bad, 1.2, vg.Points(3), vg.Points(2)), at(*l.P50AtMost), y(base+.05), at(*l.P50AtMost), top)
			}
			c.FillText(lettering(8.5, ink), vg.Point{X: c.Min.X, Y: y(base + .84)},
				fmt.Sprintf("%s: p50 %s, p90 %s, p99 %s (n = %d)", l.Name, duration(l.P50), duration(l.P90), duration(l.P99), l.Count))
		}))
	}
	return svg(vg.Points(float64(34*len(rows)+24)), "How the samples of each latency are distributed", p.Draw)
}

// deal is how many samples each bin has, and how many the fullest. A latency that
// kept no samples has those that its percentiles tell.
func deal(l Latency, low, high float64) (counts [bins]int, most int) {
	samples := l.Samples
	if len(samples) == 0 {
		samples = []float64{l.Min, l.P50, l.P90, l.P99, l.Max}
	}
	for _, s := range samples {
		b := int(bins * math.Log(max(s, low)/low) / math.Log(high/low))
		b = min(max(b, 0), bins-1)
		counts[b]++
		most = max(most, counts[b])
	}
	return counts, most
}
