package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"elemento.cloud/cluster-api-provider-elemento/reports"
)

// teller is what takes down what was measured: an examination, for a criterion, or
// else the report.
type teller interface {
	Figure(...reports.Figure)
	Latency(...reports.Latency)
	Evidence(...reports.Evidence)
}

// figure tells figures, each with its threshold.
func (b *bench) figure(to teller, figures ...reports.Figure) {
	GinkgoHelper()
	for _, f := range figures {
		limited, err := b.thresholds.judge(b.part, f)
		Expect(err).NotTo(HaveOccurred())
		to.Figure(limited)
	}
}

// latency tells how long something took, keeps the samples, in the order in which
// they were taken, in a file of their own beside the report, and returns what it has
// told. A threshold of the same name is for the median; one of "NAME, p90" or
// "NAME, p99" has that told as a figure too. All are in ms. Of, if not empty, is the
// latency of which this is the next of consecutive stages.
func (b *bench) latency(to teller, name, of string, samples []time.Duration) reports.Latency {
	GinkgoHelper()
	l := reports.Measure(name, samples).Stage(of)
	median, err := b.thresholds.judge(b.part, reports.Figure{Name: name, Value: l.P50, Unit: "ms"})
	Expect(err).NotTo(HaveOccurred())
	l.P50AtMost = median.AtMost
	to.Latency(l)
	for _, f := range []reports.Figure{{Name: name + ", p90", Value: l.P90, Unit: "ms"}, {Name: name + ", p99", Value: l.P99, Unit: "ms"}} {
		if l.Count > 0 && b.thresholds.has(b.part, f.Name) {
			b.figure(to, f)
		}
	}
	to.Evidence(b.keep(name, samples))
	return l
}

// keep writes samples into a file beside the report: a line for each, in ms.
func (b *bench) keep(name string, samples []time.Duration) reports.Evidence {
	GinkgoHelper()
	var content bytes.Buffer
	content.WriteString("ms\n")
	for _, s := range samples {
		fmt.Fprintf(&content, "%.3f\n", float64(s)/float64(time.Millisecond))
	}
	path := filepath.Join("samples", b.part+"-"+fileName(name)+".csv")
	Expect(os.MkdirAll(filepath.Join(b.site.Dir, "samples"), 0o755)).To(Succeed())
	Expect(os.WriteFile(filepath.Join(b.site.Dir, path), content.Bytes(), 0o644)).To(Succeed())
	return reports.Evidence{Title: "samples of " + name, Path: path}
}

var notOfNames = regexp.MustCompile(`[^a-z0-9]+`)

// fileName is a name as one of a file.
func fileName(name string) string {
	return strings.Trim(notOfNames.ReplaceAllString(strings.ToLower(name), "-"), "-")
}
