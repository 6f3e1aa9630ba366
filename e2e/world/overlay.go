package world

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"elemento.cloud/cluster-api-provider-elemento/e2e/binaries"
)

// Edit replaces a text, which occurs once in a file of this repository, by another.
type Edit struct{ File, Old, New string }

// Overlay returns the files of the repository that the edits change, by their paths in
// it, as they are to be: a mutant, for [Elemento] or [ManagerSettings]. A text that does
// not occur exactly once is an error: the code has changed, and the mutant has to follow.
func Overlay(repository string, edits ...Edit) (map[string]string, error) {
	files := map[string]string{}
	for _, e := range edits {
		content, is := files[e.File]
		if !is {
			raw, err := os.ReadFile(filepath.Join(repository, e.File))
			if err != nil {
				return nil, fmt.Errorf("making a mutant: %w", err)
			}
			content = string(raw)
		}
		if n := strings.Count(content, e.Old); n != 1 {
			return nil, fmt.Errorf("making a mutant: %s has %d times, instead of once, the text\n%s", e.File, n, e.Old)
		}
		files[e.File] = strings.Replace(content, e.Old, e.New, 1)
	}
	return files, nil
}

// writeOverlay writes down for the go command, under a name, which files have other
// content, and returns where; nowhere when none has.
func (w *World) writeOverlay(ctx context.Context, name string, contents map[string]string) (string, error) {
	if len(contents) == 0 {
		return "", nil
	}
	repository, err := binaries.Repository(ctx)
	if err != nil {
		return "", err
	}
	replace := map[string]string{}
	for path, content := range contents {
		file := filepath.Join(repository, filepath.FromSlash(path))
		if _, err := os.Stat(file); err != nil {
			return "", fmt.Errorf("overlay: give paths of files that are there, from the root of the repository: %w", err)
		}
		if replace[file], err = w.state.write(filepath.Join("overlay", name, filepath.FromSlash(path)), []byte(content)); err != nil {
			return "", err
		}
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	return w.state.write(filepath.Join("overlay", name+".json"), overlay)
}
