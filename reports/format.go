package reports

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// number writes a value for people: three significant digits, no more than two
// after the point, and the unit where there is one.
func number(value float64, unit string) string {
	if unit == "%" && value != math.Trunc(value) {
		return precise(value) + " %" // what lacks to all of them is in the digits after the point
	}
	digits := 0
	switch abs := math.Abs(value); {
	case value == math.Trunc(value) || abs >= 100:
	case abs >= 10:
		digits = 1
	default:
		digits = 2
	}
	s := strconv.FormatFloat(value, 'f', digits, 64)
	if unit != "" {
		s += " " + unit
	}
	return s
}

// precise writes a value of which the digits after the point matter, such as a
// share close to all.
func precise(value float64) string { return strconv.FormatFloat(value, 'f', 2, 64) }

// seconds writes a duration in seconds for people.
func seconds(s float64) string {
	if s < 100 {
		return number(s, "s")
	}
	return time.Duration(s * float64(time.Second)).Round(time.Second).String()
}

// limits say what a figure must keep, where it must keep something.
func limits(f Figure) string {
	var of []string
	if f.AtMost != nil {
		of = append(of, "at most "+number(*f.AtMost, f.Unit))
	}
	if f.AtLeast != nil {
		of = append(of, "at least "+number(*f.AtLeast, f.Unit))
	}
	if len(of) == 0 {
		return ""
	}
	return ", " + strings.Join(of, " and ") + " is asked for"
}
