package watch

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"

	"elemento.cloud/cluster-api-provider-elemento/reports"
)

// pictured is how many points a picture has from left to right.
const pictured = 180

// Draw draws the dashboards of a directory as they show a time, as SVG files in the
// directory out, and returns the queries that gave nothing.
func (p *Prometheus) Draw(ctx context.Context, dashboards, out string, from, to time.Time) (unanswered []string, err error) {
	all, err := Dashboards(dashboards)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return nil, err
	}
	over := Span{From: from, To: to, Step: max(to.Sub(from)/pictured, time.Second).Truncate(time.Second)}
	for _, d := range all {
		answers, err := p.Ask(ctx, d, over)
		if err != nil {
			return nil, err
		}
		unanswered = append(unanswered, answers.Unanswered(d)...)
		picture, err := board(d, answers, over).SVG()
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(out, d.Name+".svg"), append(picture, d.mark()...), 0o644); err != nil {
			return nil, err
		}
	}
	return unanswered, nil
}

// mark is what the picture of a dashboard ends with: a comment that tells of what is drawn
// of the dashboard, its titles, queries and places, and is another one when that changes.
func (d Dashboard) mark() string {
	drawn, err := json.Marshal(d)
	if err != nil {
		panic(err) // it has nothing that JSON lacks
	}
	return fmt.Sprintf("<!-- dashboard %x -->\n", sha256.Sum256(drawn))
}

// board is a dashboard with what its queries gave.
func board(d Dashboard, answers Answers, over Span) reports.Board {
	b := reports.Board{Title: d.Title, Subtitle: d.Description, Seconds: over.To.Sub(over.From).Seconds()}
	for _, panel := range d.Panels {
		drawn := reports.BoardPanel{
			Title: panel.Title, Unit: panel.FieldConfig.Defaults.Unit,
			X: panel.GridPos.X, Y: panel.GridPos.Y, Width: panel.GridPos.W, Height: panel.GridPos.H,
			Stat: panel.Type == "stat", Stacked: panel.FieldConfig.Defaults.Custom.Stacking.Mode == "normal",
		}
		for _, target := range panel.Targets {
			for _, s := range answers[panel.ID][target.RefID] {
				drawn.Series = append(drawn.Series, curve(target.legend(s.Metric), s, over))
			}
		}
		slices.SortStableFunc(drawn.Series, func(a, b reports.Series) int { return strings.Compare(a.Name, b.Name) })
		b.Panels = append(b.Panels, drawn)
	}
	return b
}

// curve is a series with a point at each step, NaN where there was none.
func curve(name string, s *model.SampleStream, over Span) reports.Series {
	values := points(s, over, int(over.To.Sub(over.From)/over.Step)+1)
	c := reports.Series{Name: name}
	for i, v := range values {
		c.Points = append(c.Points, reports.Point{At: (time.Duration(i) * over.Step).Seconds(), Value: v})
	}
	return c
}

var inLegend = regexp.MustCompile(`\{\{\s*(\w+)\s*\}\}`)

// legend is what Grafana would call a series.
func (t Target) legend(labels model.Metric) string {
	return inLegend.ReplaceAllStringFunc(t.LegendFormat, func(label string) string {
		return string(labels[model.LabelName(inLegend.FindStringSubmatch(label)[1])])
	})
}

// Began is when a Prometheus has its first scrapes of the last span, such as the start of
// a world.
func (p *Prometheus) Began(ctx context.Context, last time.Duration) (time.Time, error) {
	now := time.Now()
	up, err := p.Range(ctx, "max(up)", Span{From: now.Add(-last), To: now, Step: max(last/1000, time.Second)})
	if err != nil {
		return now, err
	}
	first := int64(math.MaxInt64)
	for _, s := range up {
		if len(s.Values) > 0 {
			first = min(first, int64(s.Values[0].Timestamp))
		}
	}
	if first == math.MaxInt64 {
		return now, fmt.Errorf("in the last %s Prometheus has scraped nothing", last)
	}
	return model.Time(first).Time(), nil
}
