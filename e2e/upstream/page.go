package main

import (
	"fmt"
	"strings"
)

const head = `# Cluster API's own e2e specs

The specs of ` + "`sigs.k8s.io/cluster-api/test/e2e`" + `, and what there is of each with our
provider. ` + "`make upstream`" + ` runs those that apply, unchanged, and demands after each that
AtomOS has what it had before, nothing more and nothing less. Made from
e2e/upstream/table.go by ` + "`go run ./e2e/upstream --table > docs/upstream-specs.md`" + `.

| spec | here | |
|---|---|---|
`

// page is the table in Markdown.
func page(table []spec) string {
	var text strings.Builder
	text.WriteString(head)
	for _, s := range table {
		notes := []string{}
		if len(s.cases) > 1 {
			for _, c := range s.cases {
				if c.of == "" {
					notes = append(notes, "as it is")
				} else {
					notes = append(notes, c.of)
				}
			}
		}
		if s.why != "" {
			notes = append(notes, s.why)
		}
		fmt.Fprintf(&text, "| %s | %s | %s |\n", s.name, s.standing, strings.Join(notes, "; "))
	}
	return text.String()
}
