package main

import (
	"strings"
	"testing"
)

func TestFlagsSayWhatIsLoggedAndHow(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		flags string
		wrong string // empty where nothing is
	}{
		{"", ""},
		{"-log-level debug -log-format text", ""},
		{"-log-level loud", `log.level: "loud"; use one of info, debug, warn, error`},
		{"-log-format xml", `log.format: "xml"; use one of json, text`},
		{"more", `unexpected argument "more"`},
	} {
		err := run(append([]string{"-config", "example.yaml", "-check"}, strings.Fields(c.flags)...))
		if c.wrong == "" && err != nil || c.wrong != "" && (err == nil || !strings.Contains(err.Error(), c.wrong)) {
			t.Errorf("%s: %v, want %q", c.flags, err, c.wrong)
		}
	}
}
