package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// overlay returns the files of the repository that the edits change, by their
// paths in it, as they are to be. A text that does not occur exactly once is an
// error: the code has changed, and the mutant has to follow.
func overlay(repository string, edits []edit) (map[string]string, error) {
	files := map[string]string{}
	for _, e := range edits {
		content, is := files[e.file]
		if !is {
			raw, err := os.ReadFile(filepath.Join(repository, e.file))
			if err != nil {
				return nil, fmt.Errorf("making a mutant: %w", err)
			}
			content = string(raw)
		}
		if n := strings.Count(content, e.old); n != 1 {
			return nil, fmt.Errorf("making a mutant: %s has %d times, instead of once, the text\n%s", e.file, n, e.old)
		}
		files[e.file] = strings.Replace(content, e.old, e.new, 1)
	}
	return files, nil
}
