package main

import (
	"archive/tar"
	"cmp"
	"compress/gzip"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"time"

	"sigs.k8s.io/yaml"

	"elemento.cloud/cluster-api-provider-elemento/reports"
)

// result is what one run of sonobuoy has told.
type result struct {
	// Chunk is what was run, of which version of Kubernetes.
	Chunk      chunk  `json:"chunk"`
	Kubernetes string `json:"kubernetes"`
	// Of is what it was run with, which a chunk that is done need not share with the others.
	Of    made      `json:"of"`
	Start time.Time `json:"start"`
	End   time.Time `json:"end"`
	// Said is sonobuoy's own verdict in its own word, such as "passed"; empty where it
	// came to none.
	Said string `json:"said,omitempty"`
	// Why says what kept the run from its end.
	Why string `json:"why,omitempty"`
	// Tests are those that ran, in the order in which they are told of.
	Tests []test `json:"tests"`
}

// made is what a cluster is made with.
type made struct {
	// Commit is that of this repository, with "+changes" where files differed from it.
	Commit string `json:"commit,omitempty"`
	// NodeImage is the ID of the image that nodes boot; empty where they are no containers.
	NodeImage string `json:"nodeImage,omitempty"`
}

func (m made) String() string {
	of := "commit " + cmp.Or(m.Commit, "unknown")
	if m.NodeImage != "" {
		of += ", node image " + m.NodeImage
	}
	return of
}

// test is a test that ran.
type test struct {
	Name    string          `json:"name"`
	Verdict reports.Verdict `json:"verdict"`
	Seconds float64         `json:"seconds"`
	// Message is what a test that failed says.
	Message string `json:"message,omitempty"`
}

// verdict is what a run came to: what sonobuoy says, unless the tests that it ran tell
// otherwise. A run without a test, or one that was broken off, is unknown at best,
// whatever sonobuoy says.
func (r result) verdict() reports.Verdict {
	verdict := reports.Unknown
	switch r.Said {
	case "passed":
		verdict = reports.Passed
	case "failed":
		verdict = reports.Failed
	}
	if len(r.Tests) == 0 || r.Why != "" {
		return reports.Sum(reports.Unknown, verdict)
	}
	for _, t := range r.Tests {
		verdict = reports.Sum(verdict, t.Verdict)
	}
	return verdict
}

// The files of an archive of sonobuoy's that tell how its plugin with the tests ended.
const (
	summaryFile = "plugins/e2e/sonobuoy_results.yaml"
	junitFiles  = "plugins/e2e/results/global/*.xml"
)

// read takes from an archive that sonobuoy has made what it says, and which tests ran.
func (r *result) read(file string) error {
	in, err := os.Open(file)
	if err != nil {
		return err
	}
	defer in.Close()
	unpacked, err := gzip.NewReader(in)
	if err != nil {
		return fmt.Errorf("reading %s: %w", file, err)
	}
	for files := tar.NewReader(unpacked); ; {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = r.take(path.Clean(header.Name), files)
		}
		if err != nil {
			return fmt.Errorf("reading %s: %w", file, err)
		}
	}
}

// take takes what one of the files tells.
func (r *result) take(name string, content io.Reader) error {
	if name == summaryFile {
		text, err := io.ReadAll(content)
		if err != nil {
			return err
		}
		var summary struct{ Status string }
		if err := yaml.Unmarshal(text, &summary); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		r.Said = summary.Status
		return nil
	}
	if is, err := path.Match(junitFiles, name); err != nil || !is {
		return err
	}
	tests, err := parse(content)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	r.Tests = append(r.Tests, tests...)
	return nil
}

// most is how much is kept of what a test says that failed, in bytes.
const most = 4000

// parse reads which tests ran from a report in JUnit's form. Those that were left out are
// none, and neither are the steps of the suite around them.
func parse(content io.Reader) ([]test, error) {
	type trouble struct {
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
	type testCase struct {
		Name    string    `xml:"name,attr"`
		Seconds float64   `xml:"time,attr"`
		Skipped *struct{} `xml:"skipped"`
		Failure *trouble  `xml:"failure"`
		Error   *trouble  `xml:"error"`
	}
	var tests []test
	for decoder := xml.NewDecoder(content); ; {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return tests, nil
		}
		if err != nil {
			return nil, err
		}
		element, is := token.(xml.StartElement)
		if !is || element.Name.Local != "testcase" {
			continue
		}
		var c testCase
		if err := decoder.DecodeElement(&c, &element); err != nil {
			return nil, err
		}
		failed := c.Failure
		if failed == nil {
			failed = c.Error
		}
		name, is := strings.CutPrefix(c.Name, "[It] ")
		if c.Skipped != nil || !is && failed == nil {
			continue
		}
		t := test{Name: strings.Join(strings.Fields(name), " "), Verdict: reports.Passed, Seconds: c.Seconds}
		if failed != nil {
			t.Verdict, t.Message = reports.Failed, said(failed.Message, failed.Text)
		}
		tests = append(tests, t)
	}
}

// said is what a test that failed says: its message, and the text where that says more.
func said(message, text string) string {
	message, text = strings.TrimSpace(message), strings.TrimSpace(text)
	if !strings.Contains(text, message) {
		text = strings.TrimSpace(message + "\n" + text)
	}
	if text == "" {
		text = "it does not say why"
	}
	return strings.ToValidUTF8(text[:min(len(text), most)], "")
}
