// Package watch holds what is shipped for Prometheus (provider/config/prometheus)
// against what there is: metrics, documents, tests of its own.
package watch

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// Rule is a recording rule or an alert.
type Rule struct {
	Record      string            `json:"record,omitempty"`
	Alert       string            `json:"alert,omitempty"`
	Expr        string            `json:"expr"`
	For         string            `json:"for,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// suffix is that of the names of rule files.
const suffix = ".rules.yaml"

// RuleFiles are the rule files of a directory, in order.
func RuleFiles(dir string) ([]string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*"+suffix))
	if err == nil && len(files) == 0 {
		err = fmt.Errorf("%s has no *%s", dir, suffix)
	}
	slices.Sort(files)
	return files, err
}

// Rules are the rules of a file, in order.
func Rules(file string) (rules []Rule, err error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var content struct {
		Groups []struct {
			Name  string `json:"name"`
			Rules []Rule `json:"rules"`
		} `json:"groups"`
	}
	if err := yaml.UnmarshalStrict(text, &content); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	for _, g := range content.Groups {
		rules = append(rules, g.Rules...)
	}
	return rules, nil
}

// PrometheusRules are the rule files of a directory as objects of the Prometheus
// Operator, one for each file, so that each can be left out.
func PrometheusRules(dir string) ([]byte, error) {
	files, err := RuleFiles(dir)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	out.WriteString("# Made by `make generate` of the rule files in the directory above; change those.\n")
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&out, `---
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: elemento-rules-%s
  namespace: elemento-system
spec:
`, strings.TrimSuffix(filepath.Base(file), suffix))
		for line := range bytes.Lines(text) {
			if len(bytes.TrimSpace(line)) > 0 {
				out.WriteString("  ")
			}
			out.Write(line)
		}
	}
	return out.Bytes(), nil
}
