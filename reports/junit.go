package reports

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"slices"
	"time"

	"github.com/onsi/ginkgo/v2/reporters"
)

// JUnit is the report as JUnit XML: a suite for each criterion, with a case for
// its verdict and one for each scenario, item and validator. What was not run, or
// only too short, is skipped and says so; what is unknown otherwise is an error.
func JUnit(r Report) ([]byte, error) {
	suites := reporters.JUnitTestSuites{Time: r.End.Sub(r.Start).Seconds()}
	criteria := slices.Clone(r.Criteria)
	outside := func(name string, validators []Validator) {
		if len(validators) > 0 {
			criteria = append(criteria, Criterion{ID: name, Title: "as a whole", Validators: validators})
		}
	}
	outside(r.Title, r.Validators)
	for _, run := range r.Runs {
		outside(run.Name, run.Validators)
	}
	for _, c := range criteria {
		name := c.ID + " " + c.Title
		if c.Run != "" {
			name += " (" + c.Run + ")"
		}
		s := reporters.JUnitTestSuite{Name: name, Package: c.ID, Timestamp: r.Start.UTC().Format(time.RFC3339)}
		add := func(what string, v Verdict, why string, short bool, took float64) {
			t := reporters.JUnitTestCase{Name: what, Classname: name, Status: string(v), Time: took}
			message := string(v)
			if why != "" {
				message += ": " + why
			}
			switch {
			case v == Failed:
				t.Failure = &reporters.JUnitFailure{Message: message, Type: string(v)}
				s.Failures++
			case v == NotRun || v == Unknown && short:
				t.Skipped = &reporters.JUnitSkipped{Message: message}
				s.Skipped++
			case v == Unknown:
				t.Error = &reporters.JUnitError{Message: message, Type: string(v)}
				s.Errors++
			}
			s.Tests++
			s.TestCases = append(s.TestCases, t)
		}
		if c.Verdict != "" {
			add(c.Target, c.Verdict, c.Explanation, len(c.Lacks) > 0, 0)
		}
		for _, one := range c.Scenarios {
			add(one.Name, one.Verdict, one.Explanation, false, one.Seconds)
			s.Time += one.Seconds
		}
		for _, i := range c.Items {
			add(i.Name, i.Verdict, i.Detail, false, 0)
		}
		for _, v := range c.Validators {
			add(v.Name, v.Verdict, v.reason(), false, 0)
		}
		s.Properties.Properties = []reporters.JUnitProperty{{Name: "command", Value: c.Command}}
		suites.Tests += s.Tests
		suites.Failures += s.Failures
		suites.Errors += s.Errors
		suites.Disabled += s.Skipped
		suites.TestSuites = append(suites.TestSuites, s)
	}
	var b bytes.Buffer
	b.WriteString(xml.Header)
	encoder := xml.NewEncoder(&b)
	encoder.Indent("", "  ")
	if err := encoder.Encode(suites); err != nil {
		return nil, fmt.Errorf("encoding the report as JUnit XML: %w", err)
	}
	b.WriteByte('\n')
	return b.Bytes(), nil
}
