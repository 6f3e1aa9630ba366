package reports

import (
	"html/template"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// stages draws where the time of each latency that has stages goes: the medians of
// its stages one after the other, with a line to their p90. There is one drawing
// for each such latency.
func stages(latencies []Latency) []template.HTML {
	var wholes []string
	for _, l := range latencies {
		if l.StageOf != "" && l.Count > 0 && !slices.Contains(wholes, l.StageOf) {
			wholes = append(wholes, l.StageOf)
		}
	}
	var drawings []template.HTML
	for _, whole := range wholes {
		drawings = append(drawings, stagesOf(whole, latencies))
	}
	return drawings
}

func stagesOf(whole string, latencies []Latency) template.HTML {
	type row struct {
		Latency
		from float64
		hue  paint
	}
	var rows []row
	end, high := 0.0, 0.0
	for _, l := range latencies {
		switch {
		case l.Count == 0:
		case l.Name == whole:
			rows = append(rows, row{Latency: l, hue: soft})
			high = max(high, l.P90)
		case l.StageOf == whole:
			rows = append(rows, row{Latency: l, from: end, hue: hues[len(rows)%(len(hues)-1)]})
			high = max(high, end+l.P90)
			end += l.P50
		}
	}
	// The whole, where it was measured, stands first.
	slices.SortStableFunc(rows, func(a, b row) int {
		switch {
		case a.Name == whole && b.Name != whole:
			return -1
		case b.Name == whole && a.Name != whole:
			return 1
		}
		return 0
	})
	p := newPlot()
	p.X.Tick.Marker = plot.TickerFunc(spanTicks)
	p.X.Min, p.X.Max = 0, max(high, end)*1.02/1000
	p.Y.Min, p.Y.Max = 0, float64(len(rows))
	p.HideY()
	p.Add(gridX(p))
	for i, r := range rows {
		base := float64(len(rows) - 1 - i)
		p.Add(plotted(func(c draw.Canvas, x, y func(float64) vg.Length) {
			from, to := x(r.from/1000), x((r.from+r.P50)/1000)
			bar(c, r.hue, from, y(base+.12), to, y(base+.52))
			c.StrokeLine2(stroke(r.hue, 1), to, y(base+.32), x((r.from+r.P90)/1000), y(base+.32))
			c.StrokeLine2(stroke(r.hue, 1), x((r.from+r.P90)/1000), y(base+.2), x((r.from+r.P90)/1000), y(base+.44))
			c.FillText(lettering(8.5, ink), vg.Point{X: c.Min.X, Y: y(base + .76)},
				r.Name+": p50 "+duration(r.P50)+", p90 "+duration(r.P90))
		}))
	}
	return svg(vg.Points(float64(28*len(rows)+24)), "The stages of "+whole, p.Draw)
}
