package main

import (
	"cmp"
	"fmt"
	"strings"
)

const head = `# Cluster API's own e2e specs

The specs of ` + "`sigs.k8s.io/cluster-api/test/e2e`" + `, and what there is of each with our
provider. ` + "`make upstream`" + ` runs those that have passed before, unchanged, and demands that they
pass, and after each that AtomOS has what it had before, nothing more and nothing less; its
report names the others, which may apply and not pass yet. What passes on container
guests, which are real nodes, is run by ` + "`E2E_PLANE=kind E2E_GUEST=container make upstream`" + `. Made from
e2e/upstream/table.go by ` + "`go run ./e2e/upstream --table > docs/upstream-specs.md`" + `.

| spec | here | |
|---|---|---|
`

// page is the table in Markdown.
func page(table []spec) string {
	var text strings.Builder
	text.WriteString(head)
	for _, s := range table {
		var notes []string
		if len(s.cases) > 1 {
			for _, c := range s.cases {
				notes = append(notes, s.tell(c))
			}
		}
		if s.why != "" {
			notes = append(notes, s.why)
		}
		fmt.Fprintf(&text, "| %s | %s | %s |\n", s.name, s.standing(), strings.Join(notes, "; "))
	}
	return text.String()
}

// tell tells of one of several cases, and where it passes if not where the first does.
func (s spec) tell(c example) string {
	of := cmp.Or(c.of, "as it is")
	if is := c.standing(); is != s.standing() {
		return fmt.Sprintf("%s (%s)", of, is)
	}
	return of
}
