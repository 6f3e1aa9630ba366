package reports

import (
	"cmp"
	"slices"
	"time"
)

// TimeLine is how a run went: what was sampled, what was made to go wrong, and
// what happened, on one clock.
type TimeLine struct {
	Name   string    `json:"name"`
	Start  time.Time `json:"start"`
	Series []Series  `json:"series"`
	// Marks are spans such as faults.
	Marks []Mark `json:"marks,omitempty"`
	// Events are moments such as violations.
	Events []Event `json:"events,omitempty"`
}

// Series are the samples of one thing, in the order of time.
type Series struct {
	Name string `json:"name"`
	// Unit is empty for a count. Series of one unit are drawn together.
	Unit   string  `json:"unit,omitempty"`
	Points []Point `json:"points"`
}

// Point is one sample.
type Point struct {
	// At is in seconds since the start of the time line.
	At    float64 `json:"at"`
	Value float64 `json:"value"`
}

// Mark is a span of time, such as a fault that is there. Begin and End are in
// seconds since the start of the time line; they are the same for something that
// happens at once.
type Mark struct {
	Name  string  `json:"name"`
	Begin float64 `json:"begin"`
	End   float64 `json:"end"`
}

// Event is a moment, such as that of a violation.
type Event struct {
	Name   string  `json:"name"`
	Detail string  `json:"detail,omitempty"`
	At     float64 `json:"at"`
	// Bad tells that it should not have happened.
	Bad bool `json:"bad,omitempty"`
}

// Sample adds a sample to the series of that name and unit. Samples of one series
// are added in the order of time.
func (l *TimeLine) Sample(series, unit string, at time.Time, value float64) {
	i := slices.IndexFunc(l.Series, func(s Series) bool { return s.Name == series })
	if i < 0 {
		i = len(l.Series)
		l.Series = append(l.Series, Series{Name: series, Unit: unit})
	}
	l.Series[i].Points = append(l.Series[i].Points, Point{At: l.since(at), Value: value})
}

// Mark adds a span, which ends at once when end is the zero time.
func (l *TimeLine) Mark(name string, begin, end time.Time) {
	if end.IsZero() {
		end = begin
	}
	l.Marks = append(l.Marks, Mark{Name: name, Begin: l.since(begin), End: l.since(end)})
}

// Violation adds the moment at which something did not hold that must.
func (l *TimeLine) Violation(name, detail string, at time.Time) {
	l.Events = append(l.Events, Event{Name: name, Detail: detail, At: l.since(at), Bad: true})
}

func (l *TimeLine) since(at time.Time) float64 { return at.Sub(l.Start).Seconds() }

// Bad are the events that should not have happened, in the order of time.
func (l TimeLine) Bad() []Event {
	var of []Event
	for _, e := range l.Events {
		if e.Bad {
			of = append(of, e)
		}
	}
	slices.SortStableFunc(of, func(a, b Event) int { return cmp.Compare(a.At, b.At) })
	return of
}
