package fakeatomos

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"elemento.cloud/cluster-api-provider-elemento/c4"
)

// The specification, the fake and the codes of package c4 name the same things.
func TestTheSpecificationIsComplete(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("../c4/SPEC.md")
	if err != nil {
		t.Fatal(err)
	}
	spec := string(raw)
	specified := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^### ([A-Z]+ \S+) \[([PMA])\]$`).FindAllStringSubmatch(spec, -1) {
		specified[m[1]] = true
	}
	for _, calls := range routes {
		for _, call := range calls {
			if !specified[call.name] {
				t.Errorf("%s is served and not specified", call.name)
			}
			delete(specified, call.name)
		}
	}
	for call := range specified {
		t.Errorf("%s is specified and not served", call)
	}
	for _, code := range c4.Codes() {
		if !strings.Contains(spec, "\n| "+code.String()+" | ") {
			t.Errorf("the recovery from %s is not specified", code)
		}
	}
	for i, line := range strings.Split(spec, "\n") {
		if strings.HasPrefix(line, "### ") && !regexp.MustCompile(`\[[PMA]\]$`).MatchString(line) {
			t.Errorf("line %d has no grade: %s", i+1, line)
		}
	}
}
